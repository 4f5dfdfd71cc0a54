"""Commands about the API keys of senders: key create, key list, key revoke."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from engine.cli.shell import RUN, Json, Root, Told, columns, command, commands, known, opened, say, say_json, warn

if TYPE_CHECKING:
    from engine.app import App
    from engine.runtime.keys import Key

key = commands("key", "Make, list and revoke API keys.")


@command(
    RUN,
    "karibu key create shop --scope write",
    "karibu key create checkout-page --browser --rate 50",
    name="create",
    group=key,
)
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who will show it, like shop or warehouse.")],
    scope: Annotated[
        Literal["write", "read", "admin"],
        typer.Option("--scope", help="write sends facts, read asks, admin may do everything."),
    ] = "write",
    browser: Annotated[
        bool, typer.Option("--browser", help="It stands in a page, where everybody can read it: it may only write.")
    ] = False,
    rate: Annotated[
        int | None, typer.Option("--rate", metavar="N", min=1, max=1_000_000, help="At most N requests per second.")
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Make an API key, and show it this once.

    Any number of keys live side by side: to change one, make a new one, give it to its sender, and revoke the old one.
    A service that is up knows the new one within a second."""
    with opened(ctx, root) as app:
        from engine.runtime import keys

        try:
            with app.database.write() as connection:
                minted = keys.create(connection, name, scope, app.clock.now(), browser=browser, rate=rate)
        except keys.KeyWrong as wrong:
            raise Told(str(wrong)) from None
    if as_json:
        made = {"name": name, "prefix": minted.prefix, "scope": scope, "browser": browser, "rate": rate}
        say_json({"key": minted.text, **made})
        return
    say(minted.text)
    warn("Keep it now: only its hash is stored, and it is not shown again.", None)
    warn(f"To end it: karibu key revoke {minted.prefix}", None)


@command(RUN, "karibu key list", name="list", group=key)
def list_(ctx: typer.Context, root: Root = None, as_json: Json = False) -> None:
    """List the API keys, without their secrets.

    The revoked ones too. Times are UTC."""
    with opened(ctx, root) as app:
        found = _every(app)
        chosen, kept = app.settings.api_key is not None, app.settings.data / "api-key"
    if as_json:
        say_json({"keys": [_plain(one) for one in found], "settings": chosen})
        return
    head = ("prefix", "name", "scope", "requests/s", "made", "state")
    if found:
        say(columns([head, *(_row(one) for one in found)], right=(3,)))
    else:
        say("No key has been made: karibu key create NAME")
    where = "KARIBU_API_KEY sets a key" if chosen else f"karibu up keeps a key in {kept}"
    say(f"\nBesides, {where} that may do everything (scope admin).")


@command(RUN, "karibu key revoke h3k9x2ab", name="revoke", group=key)
def revoke(
    ctx: typer.Context,
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="What stands between the first two _ of the key.")],
    root: Root = None,
) -> None:
    """Revoke an API key, for ever.

    Within a second every service refuses it."""
    with opened(ctx, root) as app:
        from engine.runtime import keys

        found = {one.prefix: one for one in _every(app)}
        whole = keys.parts(prefix)  # somebody in a hurry gives the key itself
        which = known(whole[0] if whole else prefix.removeprefix("kb_"), list(found), "key", "karibu key list")
        with app.database.write() as connection:
            ended = keys.revoke(connection, which, app.clock.now())
    one = found[which]
    if ended:
        say(f"{which} ({one.name}) is revoked.")
    else:
        say(f"{which} ({one.name}) was revoked already.")


def _every(app: App) -> list[Key]:
    from engine.runtime import keys

    with app.database.read() as connection:
        return list(keys.every(connection))


def _row(one: Key) -> tuple[str, ...]:
    scope = one.scope + (", browser" if one.browser else "")
    state = "live" if one.revoked_at is None else f"revoked {_minute(one.revoked_at)}"
    return one.prefix, one.name, scope, f"{one.rate:,}" if one.rate else "any", _minute(one.created_at), state


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _plain(one: Key) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name != "secret_hash"}
