"""Commands that run things for longer, or elsewhere: up, deploy, demo."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal
from urllib.request import urlopen

import typer

from engine.cli.journeys import engine_of
from engine.cli.shell import RUN, Json, Root, Told, columns, command, opened, project_root, say, say_json, warn


@command(RUN, "karibu up", "KARIBU_PORT=8080 karibu up", "karibu up --provider fake")
def up(
    ctx: typer.Context,
    provider: Annotated[
        Literal["fake"] | None, typer.Option("--provider", help="fake: one that sends nothing, and tells opens.")
    ] = None,
    root: Root = None,
) -> None:
    """Start the service, which stays up.

    It takes events at POST /v1/events, looks at the clock, moves customers and sends, and starts a Prefect server whose
    page shows the runs. Ctrl-C ends it, once what has begun is finished. Killed, it loses nothing that was answered.

    With --provider fake, messages go to a provider of this machine that sends nothing (see karibu fake-provider);
    people who aren't there get, open and click them: karibu status and karibu explain show what became of them."""
    import logging

    with _provider(provider, root) as listening, opened(ctx, root) as app:
        _ = app.content  # what is wrong with it is told before anything starts
        from engine.service import Refused
        from engine.service import up as serve

        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger("karibu").setLevel(logging.INFO)
        try:
            serve(app, say, listening)
        except Refused as refused:
            raise Told(str(refused), refused.hint) from None


@contextmanager
def _provider(provider: str | None, root: Path | None) -> Iterator[Callable[[str], None] | None]:
    """The fake provider, if it is wanted, as the engine's own; it gets to know where the engine listens."""
    if provider is None:
        yield None
        return
    from engine.fake.behaviour import change
    from engine.fake.child import running
    from engine.settings import Settings

    directory = Settings.of(project_root(root)).data / "fake-provider"
    with running(directory) as fake:
        fake.settings(os.environ)
        os.environ["KARIBU_PROVIDER"] = "fake"
        say(f"Messages go to the fake provider, which sends nothing: {directory / 'ledger.jsonl'}")

        def listening(url: str) -> None:
            change(directory, hook=f"{url}/hooks/sendgrid/events")

        yield listening


@command(RUN, "karibu demo", "karibu demo --serve")
def demo(
    serve: Annotated[
        bool, typer.Option("--serve", help="Stay up afterwards, so that Prefect's page can be looked at.")
    ] = False,
) -> None:
    """Replay real purchases through the starter journeys.

    Eight weeks of them, on a virtual clock, through the compiled Prefect flows. It works in .karibu/demo of this
    directory; killed at any time, it goes on where it stopped when it is run again."""
    from engine.demo.households import DataMissing
    from engine.demo.run import DemoIsRunning, run

    try:
        run(serve=serve)
    except DataMissing as missing:
        raise Told(str(missing)) from None
    except DemoIsRunning as other:
        raise Told(str(other), "wait until it has ended, or end it") from None


@command(RUN, "karibu deploy", "karibu deploy --shards 4")
def deploy(
    ctx: typer.Context,
    shards: Annotated[int, typer.Option("--shards", metavar="N", min=1, max=256, help="Deployments a journey.")] = 1,
    pool: Annotated[str, typer.Option("--pool", metavar="NAME", help="The work pool.")] = "karibu",
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Register the published journeys with a Prefect server, for workers.

    The server is the one KARIBU_PREFECT_API_URL names; workers anywhere then take the runs, each with its own
    KARIBU_ settings. With --shards each journey is divided among so many runs, by a hash of the customer."""
    with opened(ctx, root) as app:
        url = app.settings.prefect_api_url
        if url is None:
            raise Told(
                "there is no Prefect server to deploy to",
                "set KARIBU_PREFECT_API_URL to its address, like http://127.0.0.1:4200/api",
            )
        engine = engine_of(app)
        if not engine.programs():
            raise Told("no journey is published", "karibu publish")
        _answers(url)
        from engine.deploy import NotAProcessPool
        from engine.deploy import deploy as register

        try:
            found = register(engine, url, pool=pool, shards=shards)
        except NotAProcessPool as wrong:
            raise Told(str(wrong), "name another with --pool") from None
        here = app.database.dialect == "sqlite"
    if as_json:
        rows = [{"journey": one.journey, "deployment": one.name, "version": one.number} for one in found]
        say_json({"pool": pool, "deployments": rows})
        return
    say(columns([(one.name, f"version {one.number}") for one in found]))
    say(f"\nA worker takes their runs: prefect worker start --pool {pool}")
    if here:
        warn("The data is in a SQLite file: only workers on this machine can use it. Others need PostgreSQL.")


def _answers(url: str) -> None:
    """Told when no Prefect server answers: its own client would try for minutes."""
    try:
        with urlopen(f"{url.rstrip('/')}/health", timeout=10):
            return
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Told(f"no Prefect server answers at {url}: {reason}", "is it running, and is this its address?") from None
