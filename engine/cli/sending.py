"""Commands about messages on their way: pause, resume, messages, resolve."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.cli.shell import (
    ASK,
    RUN,
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
    from sqlalchemy import Connection

    from engine.app import App
    from engine.runtime.words import Words

MEANS = {
    "sent": "it went out: it counts as sent",
    "not-sent": "it didn't: it counts as refused, its room under the caps is given back, nothing is sent",
    "again": "send it once more: its reader may get it twice",
}
"""What each way to settle a doubt does."""

DONE = {
    "sent": "counts as sent",
    "not-sent": "counts as refused, and is not sent again",
    "again": "is sent once more, if the send gate lets it",
}

Journey = Annotated[str | None, typer.Argument(metavar="JOURNEY", help="Only this one. [default: all]")]


@command(RUN, "karibu pause", 'karibu pause win-back --why "the price is wrong"')
def pause(
    ctx: typer.Context,
    journey: Journey = None,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="For whoever wonders.")] = "",
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Send nothing from now on, of one journey or of all.

    It counts at once, for every service on the database. Events are taken and customers go on, to their next message
    at most; when the pause ends, every message passes the send gate again."""
    with opened(ctx, root) as app:
        from engine.runtime import pausing

        # Not a word of the content is needed: this must work whatever is wrong with the files.
        with app.database.write() as connection:
            chosen = _chosen(connection, journey)
            done = pausing.pause(connection, chosen, app.clock.now(), why)
    if as_json:
        say_json({"journey": journey, "paused": True, "changed": done})
        return
    of = journey or "all journeys"
    say(f"Nothing of {of} is sent any more." if done else f"{of}: paused already.")
    say(f"karibu resume{f' {journey}' if journey else ''} ends it.")


@command(RUN, "karibu resume", "karibu resume win-back")
def resume(ctx: typer.Context, journey: Journey = None, root: Root = None, as_json: Json = False) -> None:
    """End a pause.

    What has waited is sent, unless the send gate says otherwise by now."""
    with opened(ctx, root) as app:
        from engine.runtime import pausing

        with app.database.write() as connection:
            done = pausing.resume(connection, _chosen(connection, journey))
            left = sorted(pausing.pauses(connection))
    if as_json:
        say_json({"journey": journey, "paused": False, "changed": done, "still_paused": left})
        return
    of = journey or "all journeys"
    say(f"{of}: messages are sent again." if done else f"{of}: not paused.")
    for one in left:
        say(f"Still paused: {one or 'all journeys'} (karibu resume{f' {one}' if one else ''})")


def _chosen(connection: Connection, journey: str | None) -> str:
    from engine.runtime import byhand, pausing

    if journey is None:
        return pausing.ALL
    known(journey, byhand.published(connection), "published journey", "karibu status shows which there are")
    return journey


@command(ASK, "karibu messages", "karibu messages --in-doubt --limit 500 --json")
def messages(
    ctx: typer.Context,
    in_doubt: Annotated[
        bool, typer.Option("--in-doubt", help="Only those of which nobody knows whether they went out.")
    ] = False,
    tests: Annotated[bool, typer.Option("--tests", help="Those of karibu send-test instead.")] = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="The newest N.")] = 50,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """List the newest messages, and what became of them.

    In doubt means: it was handed to the provider, and no answer came (the line broke, time ran out, the provider or
    Karibu failed at that moment), so its reader may have got it or not. A doubt ends when the provider's webhook tells
    of the message, or when you look at the provider's page and say what you found: `karibu resolve`. Until then a
    marketing message stays in doubt and is never sent again; a transactional one, like an order's confirmation, is sent
    once more after ten minutes of silence."""
    with opened(ctx, root) as app:
        from engine.cli.asking import _words
        from engine.runtime import outbox

        words = _words(readable(app))
        if tests:
            _tests(app, words, limit, as_json)
            return
        with app.database.read() as connection:
            found = outbox.latest(connection, limit, in_doubt=in_doubt)
            count = outbox.doubtful(connection)
    if as_json:
        say_json({"in_doubt": count, "messages": [asdict(one) for one in found]})
        return
    if not found:
        say("No message is in doubt." if in_doubt else "There are no messages yet.")
        return
    head = ("message", "journey", "step", "customer", "channel", "state", "at", "why")
    rows = [
        (
            one.ref,
            one.journey,
            one.step,
            one.customer,
            one.channel,
            (one.delivery or one.state).replace("_", " "),
            words.time(one.at),
            one.reason or "",
        )
        for one in found
    ]
    say(columns([head, *rows]))
    if count:
        say(f"\n{counted(count, 'message')} in doubt: handed to the provider, and nobody knows whether it went out.")
        say("Look for it on the provider's page, then say what you found, and how you know:")
        say(columns([(f"  karibu resolve MESSAGE {one} --why TEXT", means) for one, means in MEANS.items()]))
    if again := sum(one.repeats for one in found):
        say(f"{again:,} of these, transactional, will be sent once more if the provider stays silent.")


def _tests(app: App, words: Words, limit: int, as_json: bool) -> None:
    from engine.runtime import trial

    with app.database.read() as connection:
        found = trial.latest(connection, limit)
    if as_json:
        say_json({"tests": [asdict(one) for one in found]})
    elif not found:
        say("There are no test messages: karibu send-test sends one.")
    else:
        head = ("message", "template", "sent to", "state", "at", "why")
        rows = [(one.ref, one.template, one.to, one.state, words.time(one.at), one.reason or "") for one in found]
        say(columns([head, *rows]))


@command(RUN, 'karibu resolve 4711-2 sent --why "their log has it"')
def resolve(
    ctx: typer.Context,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="Its id, as karibu messages shows it.")],
    outcome: Annotated[
        Literal["sent", "not-sent", "again"],
        typer.Argument(metavar="OUTCOME", help="What is to be done: sent, not-sent or again, as above."),
    ],
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="How you know; karibu explain tells it.")],
    root: Root = None,
) -> None:
    """Settle a message in doubt: say whether it went out.

    In doubt means that it was handed to the provider and nobody knows whether it went out. Look for it on the
    provider's page first.

    sent: it went out. It counts as sent.

    not-sent: it didn't. It counts as refused, its room under the caps is given back, and nothing is sent.

    again: send it once more, unless the send gate says otherwise by now (an opt-out, a stop). If it did go out the
    first time, its reader gets it twice.

    None of them moves the customer, who has gone on in the journey when the doubt arose."""
    with opened(ctx, root) as app:
        from engine.runtime import doubts

        try:
            with app.database.write() as connection:
                if not doubts.resolve(connection, message, outcome, why, app.clock.now()):
                    raise Told(f'no message "{message}" is in doubt', "karibu messages --in-doubt lists them")
        except doubts.NoReason:
            raise Told("--why is empty", "say how you know: whoever asks karibu explain later is told") from None
    say(f"{message}: {DONE[outcome]}.")
