"""The table of the filters that a template may use, each with an example that was run when the page was made."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engine.language.project import Brand
from engine.rendering.filters import FILTERS
from engine.rendering.renderer import Renderer
from engine.rendering.values import Links, Money

VALUES: dict[str, Any] = {
    "now": datetime(2026, 3, 1, 6, 30, tzinfo=UTC),
    "customer": {"timezone": "Africa/Nairobi"},
    "entry": {
        "items": [
            {"sku": "A1", "name": "Tea", "price": Money(120000, "KES")},
            {"sku": "B2", "name": "Bowl", "price": Money(90000, "KES")},
        ]
    },
}
"""What the examples are filled in with: a customer in Nairobi who bought tea and a bowl, on the first of March."""
LAID_OUT = ("escape", "newline_to_br")
"""Filters whose doing shows in HTML."""
_MAIL = (
    "---\nsubject: x\n---\n<mjml><mj-body><mj-section><mj-column><mj-text>»{}«</mj-text></mj-column></mj-section>"
    "</mj-body></mjml>"
)


class _Shop:
    brand = Brand(name="Duka", timezone="Africa/Nairobi", locale="en", currency="KES")


def gives() -> dict[str, str]:
    """What the example of each filter gives, by name."""
    with TemporaryDirectory() as directory:
        root = Path(directory)
        for kind in ("sms", "email"):
            (root / "templates" / kind).mkdir(parents=True)
        for name, one in FILTERS.items():
            (root / f"templates/sms/{name}.txt").write_text(one.example, encoding="utf-8")
            (root / f"templates/email/{name}.mjml").write_text(_MAIL.format(one.example), encoding="utf-8")
        renderer = Renderer(root, _Shop())
        found = {name: renderer.render(f"sms/{name}", "en", VALUES, Links()).text for name in FILTERS}
        for name in LAID_OUT:
            html = renderer.render(f"email/{name}", "en", VALUES, Links()).html
            found[name] = html.partition("»")[2].partition("«")[0]
    return found


def table() -> str:
    """The table, filters of the same doing in one row."""
    shown = gives()
    rows = []
    for name, one in FILTERS.items():
        if one.says.startswith("The same as "):
            continue
        names = [name, *(other for other, two in FILTERS.items() if two.says == f"The same as `{name}`.")]
        usage = ", ".join(f"`{FILTERS[other].usage}`" for other in names)
        cells = (usage, one.says, f"`{one.example}`", f"`{shown[name]}`")
        rows.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(["| filter | meaning | example | gives |", "|---|---|---|---|", *rows])
