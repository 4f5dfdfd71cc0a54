"""`karibu preview`: a message as a customer would get it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.shell import CONTENT, WRITE, Json, Root, Told, command, known, opened, say, say_json, warn

if TYPE_CHECKING:
    from engine.app import App
    from engine.runtime.preview import Place, Preview


@command(
    WRITE,
    "karibu preview email/welcome",
    "karibu preview email/welcome --locale sw",
    "karibu preview sms/birthday --as amina",
)
def preview(
    ctx: typer.Context,
    template: Annotated[str, typer.Argument(metavar="TEMPLATE", help="Like email/welcome.")],
    as_customer: Annotated[
        str | None,
        typer.Option("--as", metavar="CUSTOMER", help="For this customer: an id, or an e-mail address."),
    ] = None,
    locale: Annotated[str | None, typer.Option("--locale", metavar="LOCALE", help="In this language, like sw.")] = None,
    journey: Annotated[
        str | None, typer.Option("--journey", metavar="JOURNEY", help="As this journey sends it, where several do.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where a mail's HTML is written.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Show a message as a customer would get it.

    Its text is printed, the HTML of a mail is written to a file, and nothing is sent. Without --as it is filled in
    with made values."""
    with opened(ctx, root) as app:
        from engine.rendering.values import BrokenTemplate, RenderError
        from engine.runtime.preview import places

        ref = template.removeprefix("templates/").rsplit(".", 1)[0] if "." in template else template
        known(ref, sorted(set(app.renderer.refs())), "template")
        found = places(app.content, ref)
        if journey is not None:
            senders = [place.program.name for place in found]
            known(journey, senders, f"journey that sends {ref} called", "its senders: " + ", ".join(senders))
            found = [place for place in found if place.program.name == journey]
        try:
            shown = _shown(app, ref, found[0] if found else None, as_customer, locale)
        except BrokenTemplate as broken:
            raise Told("\n".join(map(str, broken.problems)), "karibu check tells everything", CONTENT) from None
        except RenderError as error:
            who = as_customer or "the made customer"
            raise Told(f"{ref} can't be filled in for {who}: {error.detail}", "give it a default", CONTENT) from None
        file = None
        if shown.rendered.html:
            name = ref.replace("/", "-") + (f".{shown.rendered.locale}" if locale else "") + ".html"
            file = out or app.settings.data / "preview" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(shown.rendered.html, encoding="utf-8")
        _tell(ref, shown, file, as_json)


def _shown(app: App, ref: str, place: Place | None, as_customer: str | None, locale: str | None) -> Preview:
    from engine.runtime.explain import UnknownCustomer, find
    from engine.runtime.preview import preview as render

    now = app.clock.now()
    if as_customer is None:
        return render(None, app.content, app.renderer, ref, place, None, locale, now)
    with app.database.read() as connection:
        try:
            row = find(connection, as_customer)
        except UnknownCustomer:
            raise Told(f'there is no customer "{as_customer}"', "name their id or their e-mail address") from None
        return render(connection, app.content, app.renderer, ref, place, row, locale, now)


def _tell(ref: str, shown: Preview, file: Path | None, as_json: bool) -> None:
    rendered = shown.rendered
    if as_json:
        told: dict[str, Any] = {
            "template": ref,
            "journey": shown.journey,
            "step": shown.step,
            "locale": rendered.locale,
        }
        parts = ("subject", "preheader", "title", "body", "url", "text")
        told |= {part: getattr(rendered, part) for part in parts if getattr(rendered, part)}
        say_json({**told, "html_file": file, "made": list(shown.made)})
        return
    for part in ("subject", "preheader", "title", "body", "url"):
        if value := getattr(rendered, part):
            say(f"{part.capitalize() + ':':<11}{value}", "bold" if part in ("subject", "title") else None)
    if rendered.text:
        say(("\n" if rendered.subject else "") + rendered.text.strip())
    say()
    if file is not None:
        say(f"The mail as it looks: {file}")
    if shown.journey is None:
        warn("No journey sends this template.")
    if shown.made:
        warn("Made up: " + ", ".join(shown.made), None)
