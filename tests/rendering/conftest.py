"""A project of templates, made for one test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.rendering.renderer import Renderer
from engine.rendering.values import Links, Money, Rendered

LAYOUT = """<mjml lang="{{ locale }}">
  <mj-head><mj-title>{{ subject }}</mj-title><mj-preview>{{ preheader }}</mj-preview></mj-head>
  <mj-body>
{{ content }}
{% include "blocks/footer" %}
  </mj-body>
</mjml>
"""
FOOTER = """<mj-section><mj-column><mj-text>
{{ brand.address }} {% if links.unsubscribe is set %}<a href="{{ links.unsubscribe }}">Unsubscribe</a>{% endif %}
</mj-text></mj-column></mj-section>
"""


@dataclass(frozen=True)
class Brand:
    name: str = "Duka"
    address: str = "14 Kijabe Street, Nairobi"
    timezone: str = "Africa/Nairobi"
    locale: str = "en"
    currency: str = "KES"
    url: str = "https://duka.example"


@dataclass(frozen=True)
class Project:
    brand: Brand = Brand()


@dataclass(frozen=True)
class Shop:
    """A directory of templates to write to, and ways to render them."""

    root: Path

    def write(self, files: dict[str, str]) -> Renderer:
        for name, text in files.items():
            path = self.root / "templates" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return Renderer(self.root, Project())

    def mail(self, body: str, front: str = "subject: Hi", **more: str) -> Renderer:
        """A mail `email/x` of these MJML sections, in the layout."""
        files = {"email/x.mjml": f"---\n{front}\nlayout: main\n---\n{body}"}
        return self.write(files | {"layouts/main.mjml": LAYOUT, "blocks/footer.mjml": FOOTER} | more)

    def text(self, source: str, /, locale: str = "en", **values: Any) -> str:
        """What an SMS of this source says."""
        return self.write({"sms/x.txt": source}).render("sms/x", locale, values, Links()).text

    def problems(self, source: str) -> list[str]:
        return [str(problem) for problem in self.write({"sms/x.txt": source}).problems("sms/x")]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def amina() -> dict[str, Any]:
    return {
        "customer": {
            "first_name": "Amina",
            "timezone": "Africa/Nairobi",
            "nickname": None,
            "spent": Money(150050, "KES"),
        },
        "entry": {
            "cart_id": "c 1",
            "at": datetime(2026, 3, 1, 21, 30, tzinfo=UTC),
            "items": [
                {"name": "Tea & milk", "price": Money(12050, "KES"), "qty": 2},
                {"name": "<b>Bowl</b>", "price": Money(99900, "KES"), "qty": 1},
            ],
        },
    }


SECTION: Callable[[str], str] = "<mj-section><mj-column>{}</mj-column></mj-section>".format
TEXT: Callable[[str], str] = "<mj-section><mj-column><mj-text>{}</mj-text></mj-column></mj-section>".format


def body_of(rendered: Rendered) -> str:
    """The HTML from <body> on."""
    return rendered.html[rendered.html.index("<body") :]
