"""Commands that set journeys going and stop them: publish, enter, stop."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.content import as_data
from engine.cli.shell import (
    RUN,
    Json,
    Root,
    Told,
    command,
    counted,
    journey_name,
    known,
    opened,
    progress,
    say,
    say_json,
    warn,
)

if TYPE_CHECKING:
    from pathlib import Path

    from engine.app import App
    from engine.runtime.runtime import Runtime


@command(RUN, "karibu publish", "karibu publish welcome win-back")
def publish(
    ctx: typer.Context,
    journeys: Annotated[list[str] | None, typer.Argument(metavar="JOURNEY", help="Only these.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Make journeys live.

    All of them, or those that are named; one that has changed becomes a new version, one that was stopped goes on. The
    files are checked first, and nothing is published while a problem is left. Customers who are inside stay on the
    version they entered."""
    with opened(ctx, root) as app:
        from engine.language.check_dates import gone_by
        from engine.language.content import journey_file

        check_content(app)
        names = [journey_name(app, name) for name in journeys or ()] or None
        files = {journey_file(name) for name in names or app.content.journeys}
        noticed = [one for one in gone_by(app.content, app.clock.now()) if one.file in files]
        with progress(quiet=as_json) as tell:
            found = engine_of(app).publish(names, tell)
    if as_json:
        told = [
            {
                "journey": one.journey,
                "version": one.number,
                "published": one.changed,
                "resumed": one.resumed,
                "inside": one.in_flight,
            }
            for one in found
        ]
        say_json({"journeys": told, "notices": [as_data(notice) for notice in noticed]})
        return
    for notice in noticed:
        warn(f"{notice}\n")
    width = max((len(one.journey) for one in found), default=0)
    for one in found:
        said = f"{one.journey:<{width}}  version {one.number}, "
        said += "published" if one.changed else "live again" if one.resumed else "unchanged"
        if one.changed and one.in_flight:
            stay = "stays on the version they entered" if one.in_flight == 1 else "stay on the version they entered"
            said += f"; {counted(one.in_flight, 'customer')} inside {stay}"
        say(said)
    if not found:
        say("There are no journeys: workflows/ holds none.")
    elif any(one.changed or one.resumed for one in found):
        say("\nkaribu up runs them; a service that is up takes them within seconds.")


def check_content(app: App) -> None:
    """Raise ContentError with everything that is wrong with the project."""
    from engine.language.check import check_directory
    from engine.language.errors import ContentError
    from engine.rendering.renderer import Renderer

    _, problems = check_directory(app.settings.root, app.registry, Renderer)
    if problems:
        raise ContentError(problems)


def engine_of(app: App) -> Runtime:
    """The engine without its channels: these commands send nothing, so they need no provider's secret."""
    from engine.channels.base import Sender
    from engine.runtime.post import Post
    from engine.runtime.runtime import Runtime

    post = Post({}, app.renderer, Sender(app.content.project.brand.name), lambda subscription: "")
    return Runtime(app.database, app.content, app.registry, app.clock, post)


@command(RUN, "karibu enter recall amina", "karibu enter recall amina baraka chanda")
def enter(
    ctx: typer.Context,
    journey: Annotated[str, typer.Argument(metavar="JOURNEY")],
    customers: Annotated[list[str], typer.Argument(metavar="CUSTOMER", help="Their ids, or e-mail addresses.")],
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Let customers into a journey by hand.

    It must be one whose enter is `manual: true`. Its audience, again and limit still decide."""
    with opened(ctx, root) as app:
        from engine.runtime import byhand
        from engine.runtime.explain import find
        from engine.runtime.words import utc

        name = journey_name(app, journey)
        engine = engine_of(app)
        try:
            program = byhand.by_hand(app.content, engine.programs().values(), name)
        except byhand.NotByHand as why:
            raise Told(str(why), why.hint) from None
        with app.database.read() as connection:
            names = [_customer(find, connection, who).external_id for who in customers]
        now = app.clock.now()
        entering = partial(
            byhand.enter, program=program, names=list(dict.fromkeys(names)), cause=f"manual:{utc(now)}", now=now
        )
        told = app.database.written(entering)
        with app.database.read() as connection:
            words = {who: byhand.in_words(connection, app.content, program, one) for who, one in told.items()}
    if as_json:
        rows = [{"customer": who, "outcome": one.outcome, "reason": one.reason} for who, one in told.items()]
        say_json({"journey": name, "customers": rows})
        return
    for who in told:
        say(f"{who}: {words[who]}")
    if any(one.outcome == "entered" for one in told.values()):
        say("\nkaribu up moves them on; a service that is up does within seconds.")


def _customer(find: Any, connection: Any, who: str) -> Any:
    from engine.runtime.explain import UnknownCustomer

    try:
        return find(connection, who)
    except UnknownCustomer:
        raise Told(
            f'there is no customer "{who}"', "karibu import FILE and events bring customers in; nobody was entered"
        ) from None


def _still(inside: int) -> str:
    if not inside:
        return "nobody is inside"
    return f"{counted(inside, 'customer')} inside {'stands' if inside == 1 else 'stand'} still"


@command(RUN, "karibu stop win-back", "karibu stop win-back --customer amina")
def stop(
    ctx: typer.Context,
    journey: Annotated[str, typer.Argument(metavar="JOURNEY")],
    customer: Annotated[
        str | None, typer.Option("--customer", metavar="ID", help="End it for this customer only.")
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Stop a journey, or end it for one customer.

    Nobody enters a stopped journey, nobody inside is moved, and nothing of it is sent, until `karibu publish JOURNEY`
    resumes it, as the same version if its file says the same. With --customer it ends for that one customer, and goes
    on for everybody else."""
    with opened(ctx, root) as app:
        from engine.language.content import journey_file
        from engine.runtime import byhand
        from engine.runtime.explain import find

        # Not a word of the content is needed: stopping must work whatever is wrong with the files.
        with app.database.read() as connection:
            known(journey, byhand.published(connection), "published journey", "karibu status shows which there are")
            row = None if customer is None else _customer(find, connection, customer)
        now = app.clock.now()
        file = app.settings.root / journey_file(journey)
        with app.database.write() as connection:
            if row is None:
                versions, inside = byhand.stop_journey(connection, journey)
            else:
                ended = byhand.stop_customer(connection, journey, row.id, now)
    if as_json and row is not None:
        say_json({"journey": journey, "customer": row.external_id, "ended": ended})
    elif as_json:
        say_json({"journey": journey, "stopped": versions > 0, "inside": inside})
    elif row is not None:
        said = "ended" if ended else "was not inside"
        say(f"{journey}: {row.external_id} {said}" + (f", {ended} times" if ended > 1 else ""))
    else:
        say(
            f"{journey} is stopped: nobody enters, and {_still(inside)}."
            if versions
            else f"{journey} had been stopped before: {_still(inside)}."
        )
        for line in _what_then(journey, inside, file):
            say(line)


def _what_then(journey: str, inside: int, file: Path) -> list[str]:
    """What can be done with a journey that is stopped."""
    if file.exists():
        return [f"karibu publish {journey} resumes it."]
    said = [f"Its file {file.name} is gone, so it can't be resumed: write workflows/{file.name} first, and publish it."]
    if inside:
        said.append(f"karibu stop {journey} --customer ID ends it for one who is inside.")
    return said
