"""Commands that show a message before a customer sees it: preview, send-test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.shell import (
    CONTENT,
    WRITE,
    Json,
    Root,
    Told,
    command,
    journey_name,
    known,
    opened,
    say,
    say_json,
    warn,
)

if TYPE_CHECKING:
    from engine.app import App
    from engine.runtime.preview import Place, Preview

As = Annotated[
    str | None, typer.Option("--as", metavar="CUSTOMER", help="For this customer: an id, or an e-mail address.")
]
Locale = Annotated[str | None, typer.Option("--locale", metavar="LOCALE", help="In this language, like sw.")]
Sender = Annotated[
    str | None, typer.Option("--journey", metavar="JOURNEY", help="As this journey sends it, where several do.")
]


@dataclass(frozen=True)
class Chosen:
    """A template, the step that sends it, if one does, and the journey that was asked for."""

    ref: str
    place: Place | None
    journey: str | None


@command(
    WRITE,
    "karibu preview email/welcome",
    "karibu preview email/welcome --locale sw --screenshot welcome.png",
    "karibu preview sms/birthday --as amina",
    'karibu preview email/bestsellers --scenario "somebody who reads along is shown what others love"',
)
def preview(
    ctx: typer.Context,
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help="Like email/welcome, or JOURNEY.STEP like welcome.hello.")
    ],
    as_customer: As = None,
    scenario: Annotated[
        str | None,
        typer.Option("--scenario", metavar="NAME", help="For the customer of a scenario, as it is sent there."),
    ] = None,
    locale: Locale = None,
    journey: Sender = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where a mail's HTML is written.")] = None,
    screenshot: Annotated[
        Path | None, typer.Option("--screenshot", metavar="FILE", help="A picture of a mail, as PNG.")
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Show a message as a customer would get it.

    Its text is printed, the HTML of a mail is written to a file, and nothing is sent. Without --as or --scenario it is
    filled in with made values."""
    with opened(ctx, root) as app:
        if scenario is not None and (as_customer is not None or locale is not None):
            raise Told("a scenario has its own customer, with their language", "leave out --as and --locale")
        chosen = _chosen(app, template, journey)
        if screenshot is not None and not chosen.ref.startswith("email/"):
            raise Told(f"{chosen.ref} looks as the phone shows it", "--screenshot is for mail")
        if scenario is None:
            shown = _shown(app, chosen, as_customer, locale)
        else:
            shown = _played(app, chosen.ref, scenario, chosen.journey)
        file = None
        if shown.rendered.html:
            name = chosen.ref.replace("/", "-") + (f".{shown.rendered.locale}" if locale else "") + ".html"
            file = out or app.settings.data / "preview" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(shown.rendered.html, encoding="utf-8")
        if screenshot is not None:
            from engine.cli import picture

            picture.take(shown.rendered.html, screenshot)
        _tell(chosen.ref, shown, file, screenshot, as_json)


@command(
    WRITE,
    "karibu send-test email/welcome --to me@shop.example",
    "karibu send-test win-back.hello --to me@shop.example --as amina",
    name="send-test",
)
def send_test(
    ctx: typer.Context,
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help="Like email/welcome, or JOURNEY.STEP like welcome.hello.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="An address, or a phone number, of yours.")],
    as_customer: As = None,
    locale: Locale = None,
    journey: Sender = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Send a message to yourself, as a customer would get it.

    It goes through the project's channel, marked as a test. It is no customer's: it counts for no cap, no goal and no
    segment, its unsubscribe link ends nothing, and `karibu messages --tests` lists it. A pause doesn't hold it."""
    with opened(ctx, root) as app:
        from engine.runtime import trial

        chosen = _chosen(app, template, journey)
        shown = _shown(app, chosen, as_customer, locale)
        topic = chosen.place.program.topic if chosen.place is not None else None
        try:
            sent = trial.send(app.database, app.door, app.post, chosen.ref, shown, topic, to, app.clock.now())
        except trial.NotSent as why:
            raise Told(why.message, why.hint) from None
    if as_json:
        told = {"ref": sent.ref, "template": sent.template, "journey": sent.journey, "step": sent.step}
        say_json(told | {"state": sent.state, "reason": sent.reason, "made": list(shown.made)})
    elif sent.state == "accepted":
        say(f"Sent {chosen.ref} to {sent.to}, as {sent.ref}.", "green")
        if shown.made:
            warn("Made up: " + ", ".join(shown.made), None)
    if sent.state != "accepted":
        what = "did not take it" if sent.state == "refused" else "didn't say whether it took it"
        raise Told(f"{chosen.ref}: the provider {what}: {sent.reason}", f"see {sent.channel} in workflows/project.yaml")


def _chosen(app: App, written: str, journey: str | None) -> Chosen:
    """What `email/welcome`, `templates/email/welcome.mjml` or `welcome.hello` means. Told when it means nothing."""
    from engine.runtime.preview import place_of, places

    if "/" not in written and "." in written:
        name, _, step = written.partition(".")
        place = place_of(app.content, journey_name(app, name), step)
        if place is None:
            sending = [node.id for node in app.content.graphs[name].nodes.values() if node.type == "send"]
            known(step, sending, f"step of {name} that sends called", "they are: " + ", ".join(sending))
            raise AssertionError("a step that sends has a place")
        return Chosen(next(iter(place.step.templates().values())), place, name)
    ref = written.removeprefix("templates/").rsplit(".", 1)[0] if "." in written else written
    known(ref, sorted(set(app.renderer.refs())), "template")
    found = places(app.content, ref)
    if journey is not None:
        senders = [place.program.name for place in found]
        known(journey, senders, f"journey that sends {ref} called", "its senders: " + ", ".join(senders))
        found = [place for place in found if place.program.name == journey]
    return Chosen(ref, found[0] if found else None, journey)


def _shown(app: App, chosen: Chosen, as_customer: str | None, locale: str | None) -> Preview:
    from engine.rendering.values import BrokenTemplate, RenderError
    from engine.runtime.explain import UnknownCustomer, find
    from engine.runtime.preview import preview as render

    now = app.clock.now()
    try:
        if as_customer is None:
            return render(None, app.content, app.renderer, chosen.ref, chosen.place, None, locale, now)
        with app.database.read() as connection:
            row = find(connection, as_customer)
            return render(connection, app.content, app.renderer, chosen.ref, chosen.place, row, locale, now)
    except UnknownCustomer:
        raise Told(f'there is no customer "{as_customer}"', "name their id or their e-mail address") from None
    except BrokenTemplate as broken:
        raise Told("\n".join(map(str, broken.problems)), "karibu check tells everything", CONTENT) from None
    except RenderError as error:
        who = as_customer or "the made customer"
        raise Told(f"{chosen.ref} can't be filled in for {who}: {error.detail}", "give it a default", CONTENT) from None


def _played(app: App, ref: str, scenario: str, journey: str | None) -> Preview:
    """The message as it is sent in a scenario, by the engine itself."""
    from engine.runtime.preview import Preview, places
    from engine.runtime.simulate import sent_in
    from engine.runtime.stage import EngineFailed

    steps = {(place.program.name, place.id) for place in places(app.content, ref)}
    told = {
        one.scenario: (name, one)
        for name in sorted({name for name, _ in steps} if journey is None else {journey})
        for one in app.content.scenarios.get(name, ())
    }
    known(scenario, list(told), f"scenario of a journey that sends {ref} called", "there is none")
    name, chosen = told[scenario]
    try:
        sent = sent_in(app.content, app.registry, name, chosen)
    except EngineFailed as failure:
        raise Told(f"the scenario can't be played: {failure}", "karibu test shows it", CONTENT) from None
    channel = ref.partition("/")[0]
    for one in sent:
        step = one.labels.get("step", "")
        if one.channel == channel and (name, step) in steps:
            rendered: Any = one.content
            return Preview(rendered, name, step, (), one.unsubscribe_url)
    raise Told(f"{ref} is not sent in that scenario", "name one that has a line `sends: " + ref + "`")


def _tell(ref: str, shown: Preview, file: Path | None, picture: Path | None, as_json: bool) -> None:
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
        say_json({**told, "html_file": file, "screenshot": picture, "made": list(shown.made)})
        return
    for part in ("subject", "preheader", "title", "body", "url"):
        if value := getattr(rendered, part):
            say(f"{part.capitalize() + ':':<11}{value}", "bold" if part in ("subject", "title") else None)
    if rendered.text:
        say(("\n" if rendered.subject else "") + rendered.text.strip())
    say()
    if file is not None:
        say(f"The mail as it looks: {file}" + (f", {picture}" if picture is not None else ""))
    if shown.journey is None:
        warn("No journey sends this template.")
    if shown.made:
        warn("Made up: " + ", ".join(shown.made), None)
