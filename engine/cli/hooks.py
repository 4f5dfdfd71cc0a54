"""Commands about webhooks that could not be taken as events: hooks list, hooks show, hooks replay."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.shell import (
    ASK,
    CONTENT,
    RUN,
    Json,
    Root,
    Told,
    columns,
    command,
    commands,
    counted,
    opened,
    readable,
    say,
    say_json,
)

if TYPE_CHECKING:
    from engine.app import App
    from engine.web.again import Again, Became

hooks = commands("hooks", "See webhooks that are no events yet, and run them again.")

SourceName = Annotated[str | None, typer.Option("--source", metavar="S", help="Only of this source of project.yaml.")]
Topic = Annotated[str | None, typer.Option("--topic", metavar="T", help="Only of this topic, as hooks list tells it.")]


@command(ASK, "karibu hooks list", "karibu hooks list --source shopify --json", name="list", group=hooks)
def list_(
    ctx: typer.Context, source: SourceName = None, topic: Topic = None, root: Root = None, as_json: Json = False
) -> None:
    """List the webhooks that could not be taken as events.

    Each line is a source, a topic and why: how many are kept, when the last of them came, and its id. They were signed
    with the source's secret; nothing of them has reached a journey."""
    with opened(ctx, root) as app:
        from engine.cli.asking import _words
        from engine.runtime import kept

        words = _words(readable(app))
        with app.database.read() as connection:
            found = kept.heaps(connection, source, topic)
    if as_json:
        say_json({"hooks": [asdict(one) for one in found]})
        return
    if not found:
        say("No webhook is kept: every one was taken as an event.")
        return
    head = ("source", "topic", "kept", "the last", "its id", "why")
    rows = [
        (one.source, one.topic or "-", f"{one.count:,}", words.time(one.last_at), str(one.last_id), one.reason)
        for one in found
    ]
    say(columns([head, *rows], right=(2, 4)))
    say("\nkaribu hooks show ID tells what came. Say in project.yaml what it is here, then: karibu hooks replay")


@command(ASK, "karibu hooks show 17", "karibu hooks show 17 --json", name="show", group=hooks)
def show(
    ctx: typer.Context,
    number: Annotated[int, typer.Argument(metavar="ID", help="Its id, as karibu hooks list tells it.")],
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Show one of them, as it came.

    Its body may hold a customer's data: it is written here and nowhere else. Of its headers only those are kept that
    its source reads, and never a secret."""
    with opened(ctx, root) as app:
        from engine.cli.asking import _words
        from engine.runtime import kept

        words = _words(readable(app))
        with app.database.read() as connection:
            one = kept.one(connection, number)
    if one is None:
        raise _unknown([number])
    headers = one.reading.headers if one.reading else {}
    if as_json:
        said = {"source": one.source, "topic": one.topic, "came": one.received_at, "why": one.reason}
        say_json({**said, "headers": headers, "body": one.body, "replayable": one.reading is not None})
        return
    told = [
        ("source", one.source),
        ("topic", one.topic or "-"),
        ("came", words.time(one.received_at)),
        ("why", one.reason),
        *((f"{name}:", value) for name, value in sorted(headers.items())),
    ]
    say(columns(told))
    say()
    say(one.body)
    if one.reading is None:
        say("\nIt is cut off, or kept in other words than it came: it can't be run again.")


@command(RUN, "karibu hooks replay 17 18", "karibu hooks replay --source shopify --topic refunds/create", group=hooks)
def replay(
    ctx: typer.Context,
    numbers: Annotated[
        list[int] | None, typer.Argument(metavar="[ID]...", help="Their ids; or say --source.", show_default=False)
    ] = None,
    source: SourceName = None,
    topic: Topic = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Run webhooks again that are kept, through the mapping as it is now.

    They become the events they would have been when they came, and let customers in as those do. Each counts once,
    also when it is run twice, or the shop has sent it again. What is an event now, or is to be ignored, is kept no
    longer."""
    with opened(ctx, root) as app:
        from engine.web import again

        ran = list(again.replay(app, _chosen(app, numbers or [], source, topic)))
    if as_json:
        say_json({"hooks": [asdict(one) for one in ran]})
    else:
        _tell(ran)
    if any(one.became == "refused" for one in ran):
        raise Told("the events could not all be written", "run it again: what has been taken counts once", CONTENT)


def _chosen(app: App, numbers: list[int], source: str | None, topic: str | None) -> list[int]:
    from engine.runtime import kept

    if bool(numbers) == (source is not None or topic is not None):
        raise Told("say which: their ids, or --source, --topic or both", "karibu hooks list tells them")
    with app.database.read() as connection:
        there = kept.ids(connection, source, topic)
    if not numbers:
        return there
    if missing := sorted({*numbers} - {*there}):
        raise _unknown(missing)
    return sorted({*numbers})


def _unknown(numbers: list[int]) -> Told:
    which = ", ".join(map(str, numbers))
    return Told(f"nothing is kept under {which}", "what was run again and taken is kept no longer: karibu hooks list")


def _tell(ran: list[Again]) -> None:
    if not ran:
        say("There is nothing of it to run again.")
        return
    became = Counter(one.became for one in ran)
    lines: dict[Became, str] = {
        "taken": f"taken, as {counted(sum(one.accepted for one in ran if one.became == 'taken'), 'event')}",
        "before": "had come before, so nothing is counted twice",
        "nothing": "told no event, as project.yaml has it: kept no longer",
        "gone": "taken meanwhile by another replay",
        "refused": "not run: the database was away",
    }
    for name, words in lines.items():
        if became[name]:
            say(f"{counted(became[name], 'webhook')} {words}")
    for reason, n in sorted(Counter(one.reason for one in ran if one.became == "kept").items()):
        say(f"{counted(n, 'webhook')} still kept: {reason}")
