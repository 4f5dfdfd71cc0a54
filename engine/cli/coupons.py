"""Commands about pools of coupon codes: coupons list, coupons load."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.shell import (
    RUN,
    Json,
    Root,
    Told,
    columns,
    command,
    commands,
    counted,
    known,
    opened,
    readable,
    say,
    say_json,
    warn,
)

if TYPE_CHECKING:
    from engine.runtime.coupons import Stock

coupons = commands("coupons", "List pools of coupon codes, and load codes into them.")

STATES = ("available", "reserved", "issued", "redeemed", "expired", "released")


@command(RUN, "karibu coupons list", name="list", group=coupons)
def list_(ctx: typer.Context, root: Root = None, as_json: Json = False) -> None:
    """List the pools of coupon codes, with their codes by state.

    A code is available, reserved for somebody, issued once a message with it was accepted, then redeemed or expired; it
    is released when its message was never sent, and given to somebody else."""
    with opened(ctx, root) as app:
        from engine.runtime.coupons import stock

        content = readable(app)
        with app.database.read() as connection:
            found = list(stock(connection, content.project.coupons))
    if as_json:
        say_json({"pools": [asdict(one) for one in found]})
        return
    if not found:
        say("There is no pool of coupons: coupons: in project.yaml names them.")
        return
    rows: list[tuple[str, ...]] = [("pool", *STATES, "left")]
    for one in found:
        left = "any number" if one.left is None else f"{one.left:,}"
        rows.append((one.pool, *(f"{one.counts[state]:,}" for state in STATES), left))
    say(columns(rows, right=(1, 2, 3, 4, 5, 6, 7)))
    for note in notes(found):
        say("\n" + note)


def notes(found: list[Stock]) -> list[str]:
    """What to say of pools that run low, or that no file names any more."""
    low = [f"{one.pool}: only {counted(one.left or 0, 'code')} left: karibu coupons load" for one in found if one.low]
    gone = [f"{one.pool}: project.yaml no longer names this pool" for one in found if not one.known]
    return low + gone


@command(RUN, "karibu coupons load comeback-10 codes.csv", name="load", group=coupons)
def load(
    ctx: typer.Context,
    pool: Annotated[str, typer.Argument(metavar="POOL", help="A pool of project.yaml.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A file with a column code. [default: the pool's own]")
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Load coupon codes into a pool, from a CSV file with a column named code.

    Loading a file again adds nothing: a code is in one pool once, whatever the case of its letters. Customers who wait
    for a code get one."""
    with opened(ctx, root) as app:
        from engine.cli.journeys import engine_of
        from engine.imports import Unreadable, codes

        pools = readable(app).project.coupons
        known(pool, list(pools), "pool", "project.yaml names pools under coupons:")
        if pools[pool].from_ is None:
            raise Told(f"{pool} makes its codes itself", "a pool whose codes are loaded says from: FILE")
        where = file or app.settings.root / str(pools[pool].from_)
        try:
            loaded = codes.load(engine_of(app), pool, where)
        except (Unreadable, ValueError) as error:
            raise Told(f"{where}: {error}") from None
    if as_json:
        say_json({"pool": pool, **asdict(loaded)})
        return
    say(f"{counted(loaded.new, 'code')} added to {pool}.")
    for n, lines, what in (
        (loaded.known, loaded.known_at, "in a pool already, or twice in the file"),
        (loaded.wrong, loaded.wrong_at, "no code: empty, too long, or not printable"),
    ):
        if n:
            more = ", …" if n > len(lines) else ""
            warn(f"{counted(n, 'line')} {what}: line {', '.join(map(str, lines))}{more}")
