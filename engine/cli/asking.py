"""Commands that only ask: status, explain, segments."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from engine.cli.shell import (
    ASK,
    Json,
    Root,
    Told,
    columns,
    command,
    counted,
    known,
    opened,
    readable,
    say,
    say_json,
)

if TYPE_CHECKING:
    from engine.language.content import Content
    from engine.runtime.explain import Agreed, Explained, Story
    from engine.runtime.status import JourneyStatus
    from engine.runtime.words import Words


@command(ASK, "karibu status", "karibu status win-back --json")
def status(
    ctx: typer.Context,
    journey: Annotated[str | None, typer.Argument(metavar="JOURNEY", help="Only this one.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Show how the journeys stand.

    Who is inside, what was sent, what was stopped and why, what it brought, and what comes next. Times are the
    brand's."""
    with opened(ctx, root) as app:
        from engine.cli import coupons, hearing
        from engine.runtime.coupons import stock
        from engine.runtime.heard import wrong_types
        from engine.runtime.status import status as read

        content = readable(app)
        with app.database.read() as connection:
            found = read(connection, content, app.registry, app.clock.now())
            wrong = wrong_types(connection, content.vocabulary)
            pools = list(stock(connection, content.project.coupons))
        words = _words(content)
        if journey is not None:
            known(journey, [one.journey for one in found.journeys], "journey")
        chosen = [one for one in found.journeys if journey in (None, one.journey)]
    if as_json:
        told = {"customers": found.customers, "events": found.events, "hooks_kept": dict(found.kept)}
        told["paused"] = {name or "all": asdict(one) for name, one in found.paused.items()}
        told["coupons"] = [asdict(one) for one in pools]
        told["journeys"] = [asdict(one) for one in chosen]
        say_json(told | {"wrong_types": hearing.plain(wrong)})
        return
    say(f"{counted(found.customers, 'customer')}, {counted(found.events, 'event')}\n")
    for name, one in found.paused.items():
        why = f" ({one.why})" if one.why else ""
        of = name or "all journeys"
        say(f"Nothing of {of} is sent since {words.time(one.since)}{why}: karibu resume {name}".rstrip() + "\n")
    head = ("journey", "version", "state", "inside", "entered", "held out", "sent", "not sent", "goals", "value")
    rows = [head, *(_row(one, words) for one in chosen)]
    say(columns(rows, right=(1, 3, 4, 5, 6, 7, 8, 9)))
    notes = [note for one in chosen for note in _notes(one, words)]
    kept = ((name, counted(n, "webhook")) for name, n in found.kept.items())
    notes += [f"{name}: {webhooks} could not be taken as an event: karibu hooks list" for name, webhooks in kept]
    notes += coupons.notes(pools)
    if notes:
        say("\n" + "\n".join(notes))
    if wrong:
        say("\n" + "\n".join(hearing.wrong_types(wrong)))
    if all(one.state == "unpublished" for one in chosen):
        say("\nNothing is published yet: karibu publish")


def _row(one: JourneyStatus, words: Words) -> tuple[str, ...]:
    value = "" if one.value is None else words.money(one.value) if one.money else f"{one.value:,g}"
    state = one.state + (", changed" if one.changed and one.state == "live" else "")
    numbers = (one.inside, one.entered, one.held_out, one.sent, sum(one.stopped.values()), one.goals)
    return (one.journey, str(one.version or "-"), state, *(f"{n:,}" for n in numbers), value)


def _notes(one: JourneyStatus, words: Words) -> list[str]:
    said = []
    if one.changed and one.state == "live":
        said.append("the file has changed since it was published: karibu publish " + one.journey)
    if one.state == "gone":
        said.append("its file is gone; the published version goes on until karibu stop " + one.journey)
    for number, message in one.stuck.items():
        said.append(f"version {number} can't go on: {message}; put it back, or karibu stop {one.journey}")
    if len(one.inside_by_version) > 1 or (one.inside_by_version and one.version not in one.inside_by_version):
        said.append("inside: " + ", ".join(f"{n:,} in version {number}" for number, n in one.inside_by_version.items()))
    if one.stopped:
        said.append("not sent: " + ", ".join(f"{n:,} {_plain(reason)}" for reason, n in one.stopped.items()))
    if one.refused:
        said.append("not let in: " + ", ".join(f"{n:,} {_plain(reason)}" for reason, n in one.refused.items()))
    if one.at_the_door:
        said.append(f"{one.at_the_door:,} at the door")
    if one.came_back:
        said.append("came back: " + ", ".join(f"{n:,} {_plain(kind)}" for kind, n in one.came_back.items()))
    if one.queued:
        said.append(f"{counted(one.queued, 'message')} on the way")
    if one.held and one.held_until is not None:
        held = ", ".join(f"{n:,} {_HELD[reason]}" for reason, n in one.held.items())
        said.append(f"messages held: {held}; the first is due at {words.time(one.held_until)}")
    for step, slice_ in one.watched.items():
        ends = "has yet to go out" if slice_.until is None else f"is watched until {words.time(slice_.until)}"
        said.append(f"{step}: a first slice {ends}; {counted(slice_.waiting, 'message')} behind it")
    if one.in_doubt:
        said.append(f"{counted(one.in_doubt, 'message')} in doubt: nobody can say whether the provider took them")
    if one.parked:
        said.append(f"{counted(one.parked, 'event')} could not be matched with it; kept for another try")
    if one.given_up:
        tried = f"{counted(one.given_up, 'event')} could not be matched with it in days of trying, and given up"
        said.append(f"{tried}; mend the journey, and karibu publish {one.journey} tries again")
    if one.next_fire is not None:
        said.append(f"lets customers in next at {words.time(one.next_fire)}")
    if one.next_due is not None:
        said.append(f"the next wait ends at {words.time(one.next_due)}")
    return [f"{one.journey}: {note}" for note in said]


_HELD = {"quiet_hours": "till quiet hours end", "capped": "till a cap has room"}


def _plain(reason: str) -> str:
    return reason.replace("_", " ")


def _words(content: Content) -> Words:
    from engine.runtime.words import Words

    brand = content.project.brand
    return Words(ZoneInfo(brand.timezone), brand.currency, content.vocabulary.digits)


@command(ASK, "karibu segments")
def segments(ctx: typer.Context, root: Root = None, as_json: Json = False) -> None:
    """Count the members of each segment.

    And tell how each is kept up to date."""
    with opened(ctx, root) as app:
        from engine.runtime.status import segment_status
        from engine.runtime.words import often
        from engine.segments.membership import BEAT

        content = readable(app)
        with app.database.read() as connection:
            found = segment_status(connection, content)
        words = _words(content)
    if as_json:
        say_json({"segments": [asdict(one) for one in found]})
        return
    if not found:
        say("There are no segments: workflows/segments.yaml names them.")
        return
    rows = [("segment", "members", "as of", "kept up to date")]
    for one in found:
        members = "-" if one.members is None else f"{one.members:,}"
        seen = "not filled yet" if one.seen_at is None else words.time(one.seen_at)
        how = "at each tick" if one.whole_because is None else f"{often(BEAT)}, as a whole, for its {one.whole_because}"
        rows.append((one.segment, members, seen, how))
    say(columns(rows, right=(1,)))
    say()
    say(columns([(one.segment, " ".join(one.when.split())) for one in found]))


@command(ASK, "karibu explain amina", "karibu explain amina win-back", "karibu explain amina@shop.example --json")
def explain(
    ctx: typer.Context,
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="Their id, or their e-mail address.")],
    journey: Annotated[str | None, typer.Argument(metavar="JOURNEY", help="Only this one.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Tell what happened to one customer, and why.

    Why they got a message, or none; why they left; or why they never came in. Times are the customer's own."""
    with opened(ctx, root) as app:
        from engine.runtime.byhand import published
        from engine.runtime.explain import UnknownCustomer
        from engine.runtime.explain import explain as read

        content = readable(app)
        try:
            with app.database.read() as connection:
                names = {*content.journeys, *published(connection)}
                chosen = None if journey is None else [known(journey, sorted(names), "journey")]
                found = read(connection, content, app.registry, customer, app.clock.now(), chosen)
        except UnknownCustomer:
            raise Told(
                f'there is no customer "{customer}"',
                "name their id or their e-mail address; karibu import FILE and events bring customers in",
            ) from None
    if as_json:
        say_json(asdict(found))
        return
    _tell(found)


def _tell(found: Explained) -> None:
    name = f"{found.name} ({found.customer})" if found.name else found.customer
    say(f"{name}, times in {found.zone}", "bold")
    never = [story for story in found.stories if not story.ways and not story.refused]
    for story in found.stories:
        if story not in never:
            _tell_story(story)
    if never:
        say()
        for story in never:
            say(f"{story.journey}: {story.not_in}")
    if found.agreed:
        say("\nwhat they have said of messages", "bold")
        say(columns([_agreed(one) for one in found.agreed], indent="  "))


def _agreed(one: Agreed) -> tuple[str, ...]:
    word = one.word
    said = {"on": "yes", "off": "no", "pending": "yes, to be confirmed"}[word.state]
    return one.local, f"{word.channel}/{word.topic}", said, word.source, f'"{word.proof}"' if word.proof else ""


def _tell_story(story: Story) -> None:
    for way in story.ways:
        key = f" [{way.key}]" if way.key else ""
        say(f"\n{story.journey}{key}, version {way.version}: {way.state}", "bold")
        for line in _shown(way.lines):
            say(line)
    if story.refused:
        if not story.ways:
            say(f"\n{story.journey}: {story.not_in}", "bold")
        for line in _shown(story.refused):
            say(line)


def _shown(lines: Any) -> list[str]:
    width = max((len(line.step or "") for line in lines), default=0)
    if not width:
        return [f"  {line.local}  {line.words}" for line in lines]
    return [
        f"  {line.local}  {(line.step or '').ljust(width)}  {line.words}".rstrip() for line in lines if not line.aside
    ]
