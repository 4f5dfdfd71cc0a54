"""The command `events`: what the shop sends, against what project.yaml declares."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from engine.cli.shell import ASK, Json, Root, columns, command, counted, opened, readable, say, say_json

if TYPE_CHECKING:
    from engine.runtime.heard import EventHeard, PropertyHeard, Wrong
    from engine.runtime.words import Words

SHOWN = 3
"""Wrong types that `karibu status` tells."""

WANTED = {
    "email": "an e-mail address",
    "phone": "a phone number",
    "telegram": "a chat of Telegram's bot",
    "timezone": "a time zone",
}
"""What these texts should be."""


@command(ASK, "karibu events", "karibu events --json")
def events(ctx: typer.Context, root: Root = None, as_json: Json = False) -> None:
    """List the events that came, with their properties and types.

    Against what project.yaml declares: what never came, what nobody declared, and values of a wrong type, which are
    kept and which no expression sees. Properties are counted at the door, since there is the table for it."""
    from engine.cli.asking import _words

    with opened(ctx, root) as app:
        from engine.runtime.heard import heard

        content = readable(app)
        with app.database.read() as connection:
            found, attributes = heard(connection, content.project, content.vocabulary)
        words = _words(content)
    if as_json:
        say_json(
            {
                "events": [{**asdict(one), "never": one.never} for one in found],
                "customer": [asdict(one) for one in attributes],
            }
        )
        return
    came = [one for one in found if not one.never]
    for one in came:
        say(_head(one, words), "bold")
        _tell(one.properties, words)
        say()
    if any(one.kinds for one in attributes):
        say("what was said of customers", "bold")
        _tell(attributes, words)
        say()
    never = [one.event for one in found if one.never]
    if never:
        say("Declared, and never came: " + ", ".join(never))
    elif not found:
        say("There are no events: workflows/project.yaml names them.")


def _head(one: EventHeard, words: Words) -> str:
    name = "all the other names" if one.event == "*" else one.event
    undeclared = "" if one.declared else " (not in project.yaml: kept, and no journey sees it)"
    told = f"{counted(one.times, 'time')}, {counted(one.customers, 'customer')}"
    if one.last_at is not None:
        told += f", the last {words.time(one.last_at)}"
    elif one.seen_at is not None:
        told = f"seen {counted(one.seen, 'time')} and not taken, the last {words.time(one.seen_at)}"
    return f"{name}{undeclared}: {told}"


def _tell(properties: tuple[PropertyHeard, ...], words: Words) -> None:
    rows = [_row(one, words) for one in properties]
    if rows:
        say(columns(rows, indent="  ", right=(2,)))


def _row(one: PropertyHeard, words: Words) -> tuple[str, ...]:
    name = "all the others" if one.property == "*" else one.property
    if one.last_at is None:
        return (name, one.declared or "-", "", "never came", "")
    kinds = ", ".join(kind if len(one.kinds) == 1 else f"{kind} {n:,}" for kind, n in one.kinds.items())
    wrong = sum(one.wrong.values())
    notes = [f"last seen {words.time(one.last_at)}"]
    if wrong:
        notes.append(f"{wrong:,} of a wrong type")
    return (name, one.declared or "not declared", f"{sum(one.kinds.values()):,}", f"as {kinds}", "; ".join(notes))


def wrong_types(found: tuple[Wrong, ...]) -> list[str]:
    """The lines about wrong types that `karibu status` ends with."""
    lines = []
    for one in found[:SHOWN]:
        of = f"{one.event}.{one.property}" if one.event else f"customer.{one.property}"
        wanted = WANTED.get(one.property, one.declared) if not one.event else one.declared
        lines.append(f"{of}: {counted(one.count, 'value')} of a wrong type ({one.kind} for {wanted})")
    if lines:
        more = len(found) - len(lines)
        lines[-1] += f"; {more} more" if more else ""
        lines.append("No expression sees these values: karibu events")
    return lines


def plain(found: tuple[Wrong, ...]) -> list[dict[str, Any]]:
    """The same as JSON."""
    return [asdict(one) for one in found]
