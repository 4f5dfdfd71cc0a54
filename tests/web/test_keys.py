"""API keys in the database."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from sqlalchemy import select

from engine.runtime import keys
from engine.runtime.keys import KeyWrong, Minted, Scope
from engine.store.database import Database
from engine.store.tables import api_key

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)


def made(database: Database, scope: Scope = "write", *, browser: bool = False, rate: int | None = None) -> Minted:
    with database.write() as connection:
        return keys.create(connection, "web shop", scope, NOW, browser=browser, rate=rate)


def revoked(database: Database, prefix: str, at: datetime = NOW) -> bool:
    with database.write() as connection:
        return keys.revoke(connection, prefix, at)


def test_a_key_is_kept_without_its_secret(database: Database) -> None:
    minted = made(database, "read", rate=20)
    assert re.fullmatch(r"kb_[a-z0-9]{8}_[A-Za-z0-9]{43}", minted.text)
    with database.read() as connection:
        row = connection.execute(select(api_key)).one()
        (kept,) = keys.every(connection)
    assert minted.secret not in str(row)
    assert minted.secret not in repr(minted)
    assert row.secret_hash == sha256(minted.secret.encode()).hexdigest()
    assert (kept.name, kept.prefix, kept.scope, kept.browser, kept.rate) == (
        "web shop",
        minted.prefix,
        "read",
        False,
        20,
    )
    assert (kept.created_at, kept.revoked_at) == (NOW, None)


def test_no_two_keys_are_alike() -> None:
    some = [keys.mint() for _ in range(200)]
    assert len({one.prefix for one in some}) == len({one.secret for one in some}) == 200


def test_only_the_whole_key_is_that_key(database: Database) -> None:
    minted, other = made(database), made(database)
    with database.read() as connection:
        live = keys.live(connection)
    found = keys.matching(live, minted.text)
    assert found is not None and found.prefix == minted.prefix
    wrong = [
        "",
        "kb",
        "kb__",
        f"kb_{minted.prefix}_",
        f"kb_{minted.prefix}",
        minted.secret,
        minted.text[:-1],
        minted.text + "x",
        minted.text.upper(),
        minted.text.replace("kb_", "kc_"),
        replace(minted, secret=other.secret).text,
        f"kb_{minted.prefix}_{sha256(minted.secret.encode()).hexdigest()}",
        f"kb_{minted.prefix}_\udcff",
    ]
    assert [text for text in wrong if keys.matching(live, text)] == []


def test_a_revoked_key_is_dead_for_ever_and_its_row_stays(database: Database) -> None:
    old, new = made(database), made(database)
    assert revoked(database, old.prefix)
    assert not revoked(database, old.prefix, NOW + timedelta(days=1))
    assert not revoked(database, "nobody")
    with database.read() as connection:
        assert set(keys.live(connection)) == {new.prefix}
        assert [(key.prefix, key.revoked_at) for key in keys.every(connection)] == [
            (old.prefix, NOW),
            (new.prefix, None),
        ]


def test_a_prefix_is_given_once_even_when_its_key_is_revoked(database: Database) -> None:
    first = made(database)
    revoked(database, first.prefix)
    again, fresh = replace(keys.mint(), prefix=first.prefix), keys.mint()
    chance = iter([again, again, fresh])
    with database.write() as connection:
        assert keys.create(connection, "other", "write", NOW, minting=lambda: next(chance)) == fresh
    with database.read() as connection:
        assert [key.prefix for key in keys.every(connection)] == [first.prefix, fresh.prefix]
        assert keys.matching(keys.live(connection), again.text) is None


@pytest.mark.parametrize(
    ("name", "scope", "browser", "rate", "said"),
    [
        ("", "write", False, None, "name"),
        (" ", "write", False, None, "name"),
        ("a\nb", "write", False, None, "name"),
        ("a\0", "write", False, None, "name"),
        ("a" * 101, "write", False, None, "name"),
        ("page", "read", True, None, "may only write, not read"),
        ("page", "admin", True, None, "may only write, not admin"),
        ("shop", "write", False, 0, "at least 1"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(
    sqlite_database: Database, name: str, scope: Scope, browser: bool, rate: int | None, said: str
) -> None:
    with pytest.raises(KeyWrong, match=said), sqlite_database.write() as connection:
        keys.create(connection, name, scope, NOW, browser=browser, rate=rate)


def test_only_a_live_secret_key_that_may_write_guards_a_service(database: Database) -> None:
    def guarded() -> bool:
        with database.read() as connection:
            return keys.guards(connection)

    assert not guarded()
    made(database, "read")
    made(database, "write", browser=True)
    assert not guarded()
    for scope in ("write", "admin"):
        key = made(database, scope)
        assert guarded()
        revoked(database, key.prefix)
        assert not guarded()
