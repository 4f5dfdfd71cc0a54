"""Commands about providers and what comes back from them: fake-provider, bounces."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.cli.shell import RUN, Json, Root, Told, command, counted, opened, project_root, say, say_json

TRY_AGAIN = 75
"""What a mail server takes for "not now": EX_TEMPFAIL of sysexits.h."""


@command(RUN, "karibu fake-provider", "karibu fake-provider --port 8025 --mode 429", name="fake-provider")
def fake_provider(
    ctx: typer.Context,
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any that is free.")] = 8025,
    mode: Annotated[str | None, typer.Option("--mode", metavar="MODE", help="accept, 429, hang, accept-500, …")] = None,
    hook: Annotated[
        str | None, typer.Option("--hook", metavar="URL", help="Where it tells what became of mails.")
    ] = None,
    lost: Annotated[float | None, typer.Option("--lost", metavar="PART", help="Of its webhooks, 0 to 1.")] = None,
    twice: Annotated[float | None, typer.Option("--twice", metavar="PART", help="Told a second time.")] = None,
    late: Annotated[float | None, typer.Option("--late", metavar="PART", help="Told ten seconds late.")] = None,
    opens: Annotated[float | None, typer.Option("--opens", metavar="PART", help="Of the people open a mail.")] = None,
    clicks: Annotated[float | None, typer.Option("--clicks", metavar="PART", help="Of those click in it.")] = None,
    pace: Annotated[
        float | None, typer.Option("--pace", metavar="SECONDS", help="Between delivered, opened, clicked.")
    ] = None,
    root: Root = None,
) -> None:
    """Run a provider that sends nothing.

    It speaks as SendGrid, Twilio and Telegram document themselves. What it takes stands in
    .karibu/fake-provider/ledger.jsonl; how it behaves in behaviour.json beside it, which may be changed while it runs.
    Mails to bounce@…, full@…, spam@…, unsubscribe@… and numbers and chats that end in 0000 or 7867 do what they say. It
    calls back to this machine only. karibu up --provider fake starts one by itself."""
    from engine.fake.behaviour import change
    from engine.fake.child import Running
    from engine.fake.server import Provider
    from engine.settings import Settings

    directory = Settings.of(project_root(root)).data / "fake-provider"
    directory.mkdir(parents=True, exist_ok=True)
    given = {"mode": mode, "hook": hook, "lost": lost, "twice": twice, "late": late}
    given |= {"opens": opens, "clicks": clicks, "pace": pace}
    try:
        change(directory, **{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise Told(str(error)) from None
    try:
        provider = Provider(directory, port)
    except OSError as error:
        raise Told(f"nothing can listen on port {port}: {error.strerror}", "choose another: --port N") from None
    say(f"The fake provider listens on {provider.url}; its ledger is {directory / 'ledger.jsonl'}")
    say("An engine sends there, and believes what it calls back, with these settings:")
    environment: dict[str, str] = {}
    Running(provider.url, directory).settings(environment)
    for name, value in environment.items():
        say(f"  {name}={value}")
    with provider:
        provider.serve_forever()


@command(RUN, "karibu bounces bounce.eml", "karibu bounces - < bounce.eml")
def bounces(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A mail that came back; -: standard input.")],
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Take in a mail that came back, or a complaint about one.

    For whoever sends by SMTP: have the mail server pipe what comes to the address of bounces into `karibu bounces -`.
    Delivery reports (RFC 3464) and complaints (RFC 5965) are read; any other mail is left alone. When the database is
    away, the exit code is 75, and mail servers try again."""
    from engine.channels.dsn import LARGEST, read

    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as stream:
            raw = stream.read(LARGEST + 1)
    except FileNotFoundError:
        raise Told(f"there is no file {file}") from None
    told = read(raw[:LARGEST])
    with opened(ctx, root) as app:
        from engine.app import App
        from engine.runtime.feedback import Taken
        from engine.store.failures import DatabaseError
        from engine.web.returns import believed, record

        def take(app: App) -> Taken:
            return record(app, believed(app, told), app.clock.now())

        try:
            taken = take(app)
        except DatabaseError as error:
            raise Told(f"the database can't be used: {error}", "it is tried again", TRY_AGAIN) from None
    unknown = len(told) - taken.recorded - taken.repeated
    if as_json:
        say_json({"recorded": taken.recorded, "repeated": taken.repeated, "unknown": unknown})
        return
    if not told:
        say("This is no report about a mail.")
        return
    said = [f"{counted(taken.recorded, 'report')} taken in"]
    if taken.repeated:
        said.append(f"{taken.repeated:,} known already")
    if unknown:
        said.append(f"{unknown:,} about no message of ours")
    say(", ".join(said) + ".")
