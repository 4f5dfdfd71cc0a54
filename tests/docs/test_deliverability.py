"""The page about reaching the inbox names what there is, and every figure of a provider has its source."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import typer

import engine.cli  # noqa: F401  adds the commands
from engine.channels import mime
from engine.channels.base import Outgoing, Sender
from engine.cli.shell import app
from engine.rendering.values import Rendered
from engine.settings import Settings
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs/deliverability.md").read_text(encoding="utf-8")


def test_the_settings_and_commands_on_the_page_are_there() -> None:
    settings = set(re.findall(r"KARIBU_([A-Z_]+)", PAGE))
    assert settings and {name.lower() for name in settings} <= Settings.model_fields.keys()
    commands = set(re.findall(r"`karibu ([a-z-]+)", PAGE))
    assert commands == {"send-test", "pause"}
    group = typer.main.get_command(app)
    assert commands <= set(group.commands)  # type: ignore[attr-defined]


def test_a_marketing_mail_has_the_headers_of_the_page() -> None:
    url = "https://mail.duka.example/u/token"
    sender = Sender("Duka", "hello@duka.example")
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    made = mime.build(
        Outgoing(
            "1-1",
            "email",
            "amina@shop.example",
            Rendered("email", "Hi", text="x"),
            sender,
            moment,
            "news",
            unsubscribe_url=url,
        )
    ).decode()
    for line in re.findall(r"^    (List-Unsubscribe.*)$", PAGE, re.M):
        assert line.replace("https://mail.duka.example/u/…", url) in made


def test_every_row_about_a_provider_has_a_source() -> None:
    table = PAGE.partition("## What Gmail, Yahoo and Outlook ask for")[2].partition("\n## ")[0]
    hosts = ("support.google.com", "senders.yahooinc.com", "techcommunity.microsoft.com")
    assert all(host in table for host in hosts)
