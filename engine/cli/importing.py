"""`karibu import`: customers and events from files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from engine.cli.shell import (
    CONTENT,
    RUN,
    Json,
    Root,
    Told,
    command,
    counted,
    known,
    opened,
    progress,
    say,
    say_json,
    warn,
)

if TYPE_CHECKING:
    from engine.imports import Result

COLUMNS = "id, customer, event, at, key, source, with"


@command(
    RUN,
    "karibu import customers.csv",
    "karibu import orders.parquet --event purchase --column customer=CustomerID --column at=InvoiceDate",
    name="import",
)
def import_(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .csv, .tsv, .ndjson, .jsonl (each may be .gz) or .parquet file.")
    ],
    customers: Annotated[bool, typer.Option("--customers", help="Every row is a customer.")] = False,
    events: Annotated[bool, typer.Option("--events", help="Every row is an event.")] = False,
    event: Annotated[str | None, typer.Option("--event", metavar="NAME", help="Every row is this event.")] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", metavar="WHAT=COLUMN", help=f"Which column is what: {COLUMNS}.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--zone", metavar="ZONE", help="Of times that name none. [default: the brand's]")
    ] = None,
    source: Annotated[str, typer.Option("--source", metavar="NAME", help="Whose keys these are.")] = "import",
    live: Annotated[bool, typer.Option("--live", help="These events happen now: they let customers in.")] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Begin at the first row, though an import of this file was broken off.")
    ] = False,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Import customers or events from a file: CSV, JSON lines (gzipped or not), Parquet.

    Customers have a column id, and any of email, phone, telegram, first_name, last_name, locale, timezone, country,
    birthday, created, consent (like email/offers sms/offers), consent_at, tags, and the attributes of project.yaml.
    Events have customer, event and at; their other columns are the event's properties.

    An import that was broken off goes on where it was when it is run again. If the file has changed since, it is
    refused: put the old one back, or say --anew to begin at its first row.

    It is history: counts and segments move, nobody enters a journey, and nothing is sent. Importing a file again counts
    nothing twice: an event is known by its column key, id or order_id, or else by all that its row says. A row with a
    fault is not taken; all its faults are told by its line, and it is kept beside FILE, as orders.rejected.csv of
    orders.csv (.ndjson of other kinds), which can be mended and imported."""
    with opened(ctx, root) as app:
        from engine.cli.journeys import engine_of
        from engine.imports import Changed, Import, Kind, NoColumn, NoKind, Outdated, Unreadable
        from engine.runtime.bounds import AN_ID, NO_ID, id_of
        from engine.runtime.runtime import Runtime
        from engine.store import zones

        if customers and (events or event):
            raise Told("--customers and --events exclude each other")
        if live and customers:
            raise Told("--live is for events: a customer is no happening")
        if event is not None:
            known(event, list(app.content.project.events), "event")
        if zone is not None:
            known(zone, sorted(zones.names()), "time zone", "like Africa/Nairobi")
        if not id_of(source):
            raise Told(f"--source: {NO_ID}", AN_ID)
        engine: Runtime = engine_of(app)
        kind = Kind.CUSTOMERS if customers else Kind.EVENTS if events or event else None
        work = Import(
            engine, app.door, kind, event, _named(column or []), ZoneInfo(zone) if zone else None, source, live, anew
        )
        begun = time.monotonic()
        if not as_json:
            work.going_on = _going_on
        try:
            with progress(quiet=as_json) as tell:
                result = work.run(file, lambda done, rows: tell(done, counted(rows, "row")))
        except Unreadable as unreadable:
            raise Told(str(unreadable)) from None
        except Outdated:
            raise Told(
                "the project was published meanwhile, and its segments may be others now",
                "import the file again: it goes on where it was",
            ) from None
        except NoColumn as no_column:
            raise Told(f"{file}: {no_column}") from None
        except Changed as changed:
            raise Told(
                str(changed),
                "put the file back as it was to go on there, or say --anew to begin at its first row: events that have "
                "a key count once",
            ) from None
        except NoKind as no_kind:
            raise Told(
                f"{file}: {no_kind}", "say --customers or --events, and name columns: --column customer=COLUMN"
            ) from None
        _tell(file, result, time.monotonic() - begun, as_json)
    if result.rejected:
        raise typer.Exit(CONTENT)


def _going_on(rows: int) -> None:
    warn(f"  going on after {counted(rows, 'row')}: an import of this file was broken off there", None)


def _named(given: list[str]) -> dict[str, str]:
    named = {}
    for text in given:
        what, equals, name = text.partition("=")
        if not equals or not name:
            raise Told(f'--column "{text}" names no column', "like --column customer=CustomerID")
        named[known(what, COLUMNS.split(", "), "such column", f"one of {COLUMNS}")] = name
    return named


def _tell(file: Path, result: Result, seconds: float, as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {
            "file": str(file),
            "kind": result.kind.value,
            "rows": result.rows,
            "new": result.new,
            "known": result.known,
            "rejected": result.rejected,
            "faults": [{"line": line, "reason": reason} for line, reason in result.faults],
            "reject_file": result.reject_file,
            "left_out": list(result.left_out),
            "resumed": result.resumed,
        }
        say_json(told)
        return
    one = "customer" if result.kind == "customers" else "event"
    said = [counted(result.new, "new " + one)]
    if result.known:
        were = f"{result.known:,} {'was' if result.known == 1 else 'were'} known already"
        said.append(were + (" and counted once" if one == "event" else ""))
    say(f"{file}: {counted(result.rows, 'row')} in {seconds:.1f} s: {', '.join(said)}")
    for name in result.left_out:
        warn(f"  the column {name} is left out: project.yaml knows no such attribute of a customer")
    if result.rejected:
        warn(f"\n{counted(result.rejected, 'row was', 'rows were')} not taken:", "red")
        for line, reason in result.faults:
            warn(f"  {file}:{line}: {reason}", None)
        if result.rejected > len(result.faults):
            warn(f"  … and {result.rejected - len(result.faults):,} more", None)
        warn(f"All of them, with their reasons: {result.reject_file}. Mend them there and import that file.", None)
