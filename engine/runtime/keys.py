"""The keys of the HTTP side: `kb_PREFIX_SECRET`, made once, shown once, live until they are revoked.

The prefix is public and names the key; the secret is 256 bits of chance, of which only the SHA-256 is kept. (A slow
hash is for what people think up: nobody finds a random secret by trying, however fast the hash is.)

    write   send facts: events, customers
    read    ask: the status, customers
    admin   both, and whatever changes something else

A browser key stands in a page where everybody can read it, so all it may do is write.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import Connection, func, select, update

from engine.store.scratch import insert_ignore
from engine.store.tables import api_key

Scope = Literal["write", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

MARK = "kb"
PREFIX_LENGTH = 8
SECRET_LENGTH = 43
"""Letters and digits: 43 of 62 are 256 bits."""

LONGEST_NAME = 100

_LOWER = string.ascii_lowercase + string.digits
_ALL = string.ascii_letters + string.digits


class KeyWrong(ValueError):
    """No such key can be made; the message says why."""


@dataclass(frozen=True)
class Minted:
    """A prefix and its secret, before they are anybody's. `text` is what its owner gets to see, once."""

    prefix: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        return f"{MARK}_{self.prefix}_{self.secret}"


@dataclass(frozen=True)
class Key:
    """A key as it is kept. `rate`: requests per second, None for any number."""

    name: str
    prefix: str
    secret_hash: str = field(repr=False)
    scope: Scope
    browser: bool
    rate: int | None
    created_at: datetime
    revoked_at: datetime | None


_KEYS = select(*(api_key.c[one.name] for one in fields(Key)))


def mint() -> Minted:
    """A new prefix and secret, from the machine's own source of chance."""
    prefix = "".join(secrets.choice(_LOWER) for _ in range(PREFIX_LENGTH))
    return Minted(prefix, "".join(secrets.choice(_ALL) for _ in range(SECRET_LENGTH)))


def create(
    connection: Connection,
    name: str,
    scope: Scope,
    now: datetime,
    *,
    browser: bool = False,
    rate: int | None = None,
    minting: Callable[[], Minted] = mint,
) -> Minted:
    """Make a key and keep it, without its secret. Raises KeyWrong."""
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise KeyWrong(f"a key's name has 1 to {LONGEST_NAME} characters on one line")
    if browser and scope != "write":
        raise KeyWrong(f"a browser key may only write, not {scope}: everybody who opens the page can read it")
    if rate is not None and rate < 1:
        raise KeyWrong("a rate is at least 1 request per second")
    row = {"name": name, "scope": scope, "browser": browser, "rate": rate, "created_at": now}
    while True:
        minted = minting()
        kept = insert_ignore(connection, api_key).values(**row, prefix=minted.prefix, secret_hash=hashed(minted.secret))
        if connection.scalar(kept.returning(api_key.c.id)) is not None:
            return minted  # else another has this prefix


def revoke(connection: Connection, prefix: str, now: datetime) -> bool:
    """End a key for ever; False when no live key has this prefix."""
    ended = update(api_key).where(api_key.c.prefix == prefix, api_key.c.revoked_at.is_(None)).values(revoked_at=now)
    return connection.execute(ended).rowcount > 0


def every(connection: Connection) -> Sequence[Key]:
    """All the keys, the revoked ones too, oldest first."""
    return [Key(*row) for row in connection.execute(_KEYS.order_by(api_key.c.id))]


def live(connection: Connection) -> Mapping[str, Key]:
    """The keys that open something now, by prefix."""
    rows = connection.execute(_KEYS.where(api_key.c.revoked_at.is_(None)))
    return {key.prefix: key for key in (Key(*row) for row in rows)}


def guards(connection: Connection) -> bool:
    """Whether somebody has made a key to send events with that isn't public."""
    made = select(func.count()).where(
        api_key.c.revoked_at.is_(None), api_key.c.scope.in_(("write", "admin")), api_key.c.browser.is_(False)
    )
    return bool(connection.scalar(made))


def parts(text: str) -> tuple[str, str] | None:
    """Prefix and secret of what somebody shows, None when it isn't of this form."""
    mark, _, rest = text.partition("_")
    prefix, _, secret = rest.partition("_")
    return (prefix, secret) if mark == MARK and prefix and secret else None


def matching(known: Mapping[str, Key], text: str) -> Key | None:
    """The key that this is, whole and right."""
    found = parts(text)
    key = known.get(found[0]) if found else None
    if found is None or key is None:
        return None
    # Compared to the end, so that the time it takes tells nothing.
    return key if hmac.compare_digest(hashed(found[1]), key.secret_hash) else None


def hashed(text: str) -> str:
    """The SHA-256 in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
