"""Commands about addresses nothing may be sent to: suppressions list, add, remove, import, export."""

from __future__ import annotations

import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.cli.shell import (
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
    say,
    say_json,
    warn,
)

if TYPE_CHECKING:
    from engine.app import App
    from engine.imports.suppressed import Fault

suppressions = commands("suppressions", "List, add and remove addresses that nothing is sent to.")

SOURCE = "command line"
SHOWN = 20
"""Suppressions, and faults of a file, that are shown."""

BATCH = 1000

HASHED = "Addresses aren't kept: an export holds their keyed hashes, which only this secret key can make again."

Channel = Literal["email", "sms", "whatsapp", "telegram", "push"]
OfChannel = Annotated[Channel, typer.Argument(metavar="CHANNEL", help="email, sms, whatsapp, telegram or push.")]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="Like amina@shop.example or +254712345678.")]
Only = Annotated[Channel | None, typer.Option("--channel", metavar="CHANNEL", help="Only this one.")]


@command(RUN, "karibu suppressions list", "karibu suppressions list --channel email", name="list", group=suppressions)
def list_(ctx: typer.Context, channel: Only = None, root: Root = None, as_json: Json = False) -> None:
    """Count the suppressed addresses, and show the newest.

    By channel and reason: bounced, complained (called spam), stop (answered STOP), manual, or one that somebody wrote.
    Addresses are kept as keyed hashes, so they can't be shown; times are UTC."""
    from engine.store.suppressions import counts, every

    with opened(ctx, root) as app, app.database.read() as connection:
        found = [one for one in counts(connection) if channel in (None, one[0])]
        newest = list(every(connection, channel, SHOWN))
    if as_json:
        say_json(
            {
                "counts": [{"channel": c, "reason": reason, "count": n} for c, reason, n in found],
                "newest": [asdict(one) for one in newest],
            }
        )
        return
    if not found:
        say("Nothing is suppressed.")
        return
    say(columns([("channel", "reason", "addresses"), *((c, r, f"{n:,}") for c, r, n in found)], right=(2,)))
    say("\nThe newest:")
    rows = [(f"{one.at:%Y-%m-%d %H:%M}", one.channel, one.reason, one.address_hash) for one in newest]
    say(columns(rows, indent="  "))


@command(
    RUN,
    "karibu suppressions add email amina@shop.example",
    'karibu suppressions add sms +254712345678 --reason "asked by telephone"',
    name="add",
    group=suppressions,
)
def add(
    ctx: typer.Context,
    channel: OfChannel,
    address: Address,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why. Not the address itself.")] = "manual",
    root: Root = None,
) -> None:
    """Send nothing to an address any more.

    It counts for every journey and topic, transactional ones too, for whoever has the address, from the next message
    on."""
    from engine.store.suppressions import suppress

    with opened(ctx, root) as app:
        address_hash, now = _hash(app, channel, address), app.clock.now()
        new = app.database.written(lambda connection: suppress(connection, channel, address_hash, reason, now, SOURCE))
    say("Nothing is sent there any more." if new else "It was suppressed already.")


@command(RUN, "karibu suppressions remove email amina@shop.example", name="remove", group=suppressions)
def remove(ctx: typer.Context, channel: OfChannel, address: Address, root: Root = None) -> None:
    """Send to an address again.

    Only who knows that it works again, or that its owner wants it, should say so: a list that bounces or complains is
    soon read by nobody. Consent is asked as before."""
    from engine.store.suppressions import let_go

    with opened(ctx, root) as app:
        address_hash, now = _hash(app, channel, address), app.clock.now()
        was = app.database.written(lambda connection: let_go(connection, channel, address_hash, now, SOURCE))
    if not was:
        raise Told("this address is not suppressed on this channel")
    say("It gets messages again, where there is consent.")


@command(RUN, "karibu suppressions import old-provider.csv", name="import", group=suppressions)
def import_(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV file.", exists=True, dir_okay=False)],
    channel: Annotated[
        Channel | None, typer.Option("--channel", metavar="CHANNEL", help="Of a column address, or of phone numbers.")
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Suppress all addresses of a CSV file.

    Its first line names the columns: email, phone (for sms) or telegram, or address with --channel; reason and since,
    if they are there. An export can be imported, too. What was suppressed already stays as it is, so a file may come
    twice. A row that can't be used is told by its line, and the others are taken."""
    from engine.imports.suppressed import Fault, NoColumns, read
    from engine.store.suppressions import suppress_all

    faults: list[Fault] = []
    rows = new = rejected = 0
    with opened(ctx, root) as app, file.open(encoding="utf-8-sig", errors="replace", newline="") as text:
        found = read(text, app.door, channel, app.clock.now())
        try:
            while some := list(islice(found, BATCH)):
                good = [one for one in some if not isinstance(one, Fault)]
                new += app.database.written(lambda connection: suppress_all(connection, good, "import"))  # noqa: B023
                faults += [one for one in some if isinstance(one, Fault)][: SHOWN - len(faults)]
                rows, rejected = rows + len(some), rejected + len(some) - len(good)
        except NoColumns as wrong:
            raise Told(f"{file}: {wrong}") from None
    if as_json:
        told = {"rows": rows, "new": new, "rejected": rejected, "faults": [asdict(one) for one in faults]}
        say_json({"file": str(file), **told})
    else:
        say(f"{file}: {counted(rows, 'row')}, {counted(new, 'address', 'addresses')} newly suppressed")
        for fault in faults:
            warn(f"  {file}:{fault.line}: {fault.reason}", None)
        if rejected > len(faults):
            warn(f"  … and {rejected - len(faults):,} more", None)
    if rejected:
        raise typer.Exit(CONTENT)


@command(
    RUN,
    "karibu suppressions export > suppressions.csv",
    "karibu suppressions export --channel sms",
    name="export",
    group=suppressions,
)
def export(ctx: typer.Context, channel: Only = None, root: Root = None) -> None:
    """Write all suppressions as CSV: channel, hash, reason and since when.

    Addresses aren't kept, so they can't be exported: there are their keyed hashes, which another Karibu with the same
    secret key understands."""
    from engine.imports.suppressed import write
    from engine.store.suppressions import every

    with opened(ctx, root) as app, app.database.read() as connection:
        n = write(sys.stdout, every(connection, channel))
    warn(f"{counted(n, 'address', 'addresses')}. {HASHED}", None)


def _hash(app: App, channel: str, address: str) -> str:
    from engine.imports.suppressed import wanted

    found = app.door.hashed(channel, address)
    if found is None:
        raise Told(wanted(channel))
    return found
