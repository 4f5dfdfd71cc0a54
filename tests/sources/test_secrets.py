"""Where a source's secret comes from, and that nobody starts without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.app import App
from engine.language.errors import ContentError
from engine.runtime.clock import SystemClock
from engine.service import Refused, check_links, check_secrets
from engine.settings import Settings
from tests.scenarios.shop import PROJECT

Write = Callable[..., Path]


def test_a_secret_is_a_variable_a_line_of_the_env_file_or_a_mounted_file(
    project: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project({".env": "KARIBU_A_SECRET=from the line\n"})
    settings = Settings.of(root)
    assert settings.secret_of("a_secret") == "from the line"
    assert settings.secret_of("b_secret") is None
    (tmp_path / "karibu_b_secret").write_text("from the file\n")
    monkeypatch.setenv("KARIBU_SECRETS_DIR", str(tmp_path))
    assert settings.secret_of("b_secret") == "from the file"
    monkeypatch.setenv("KARIBU_B_SECRET", "from the variable")
    assert settings.secret_of("b_secret") == "from the variable"


def test_the_service_does_not_start_with_a_source_that_has_no_secret(
    project: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project({"workflows/project.yaml": PROJECT + "sources: {my-shop: {source: shopify}}\n"})
    with pytest.raises(Refused, match="my-shop has no secret") as refused:
        check_secrets(App.of(root))
    assert "KARIBU_MY_SHOP_SECRET" in refused.value.hint
    monkeypatch.setenv("KARIBU_MY_SHOP_SECRET", "s")
    app = App.of(root)
    check_secrets(app)
    assert "'s'" not in repr(app.sources)


def test_what_is_wrong_with_a_source_is_told_before_anything_is_taken(project: Write) -> None:
    root = project({"workflows/project.yaml": PROJECT + "sources: {shopfy: {}}\n"})
    with pytest.raises(ContentError, match='there is no source "shopfy"'):
        check_secrets(App.of(root))


def test_the_service_sends_nothing_with_links_that_nobody_reaches(project: Write) -> None:
    mails = PROJECT.replace("email: {provider: memory}", "email: {provider: smtp}")
    root = project({"workflows/project.yaml": mails})
    with pytest.raises(Refused, match="messages by email leave this machine, and nobody could unsubscribe") as refused:
        check_links(App.of(root))
    assert "KARIBU_BASE_URL" in refused.value.hint
    check_links(App(Settings.of(root, base_url="https://go.duka.example"), SystemClock()))
    check_links(App(Settings.of(root, provider="fake"), SystemClock()))
    check_links(App.of(project({"workflows/project.yaml": PROJECT})))
