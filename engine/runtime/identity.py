"""Who is meant: a customer by the shop's id, by an anonymous id (of a browser or a device), by e-mail address or phone.

Each way to name somebody is a text, so that an event can carry any of them as its customer:

    amina             the shop's own id
    anonymous:4f2…    an anonymous id
    email:9ac…        the keyed hash of an address: for senders who know no id
    phone:77e…        the keyed hash of a phone number

The text is also the external id of the customer who is made where nobody has heard of them. Two customers may have the
same address: it then means the one who was seen first. An address that only a page has told finds nobody: anybody could
have what is said of its owner come to somebody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Column, Connection, Select, Text, and_, bindparam, func, select

from engine.store.given import among, listed
from engine.store.tables import customer, identity

ANONYMOUS, EMAIL, PHONE = "anonymous:", "email:", "phone:"
ID, DEVICE = "id", "anonymous"
"""Kinds of identities."""

_HASHES: Mapping[str, Column[str]] = {EMAIL: customer.c.email_hash, PHONE: customer.c.phone_hash}


@dataclass(frozen=True)
class Who:
    """Somebody, by all that a sender knows of them. Addresses are their keyed hashes (`door.who_of` makes them).
    `page`: the sender is a page with a browser key, so anybody. `renamed`: the anonymous id may be an external id that
    they had before."""

    external_id: str | None = None
    anonymous_id: str | None = None
    email_hash: str | None = None
    phone_hash: str | None = None
    page: bool = False
    renamed: bool = False

    @property
    def former(self) -> str | None:
        """The external id that they may have had before. A page's word for it counts for nothing."""
        return self.anonymous_id if self.renamed and not self.page else None

    @property
    def names(self) -> tuple[str, ...]:
        """The texts that name them, the surest first; empty for nobody."""
        parts = (
            ("", self.external_id),
            (ANONYMOUS, self.anonymous_id),
            (EMAIL, self.email_hash),
            (PHONE, self.phone_hash),
        )
        return tuple(prefix + value for prefix, value in parts if value)

    @property
    def several(self) -> bool:
        """Whether this says of several names that they are one person's. Of somebody without an id no page may."""
        return len(self.names) > 1 and not (self.page and self.external_id is None)

    @property
    def name(self) -> str:
        """The text an event of theirs carries as its customer. Raises ValueError for nobody."""
        if not self.names:
            raise ValueError("nobody is meant: an id, an anonymous id, an e-mail address or a phone number is needed")
        return self.names[0]


def nameless(external_id: str) -> bool:
    """Whether a customer is known by an anonymous id or an address only."""
    return external_id.startswith((ANONYMOUS, EMAIL, PHONE))


def addressed(name: str) -> bool:
    """Whether this name is the hash of an address."""
    return name.startswith((EMAIL, PHONE))


def identified(name: str) -> tuple[str, str]:
    """Kind and value of the identity that leads from this name to another customer's."""
    return (DEVICE, name.removeprefix(ANONYMOUS)) if name.startswith(ANONYMOUS) else (ID, name)


def known(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """The row ids of the customers with these names; who nobody has heard of is left out.

    One lookup for all, and further ones only for those who have no row of their own."""
    wanted = sorted(set(names))
    found = own(connection, wanted)
    if missing := [name for name in wanted if name not in found]:
        found |= _identities(connection, missing)
    for prefix, column in _HASHES.items():
        if missing := [name for name in wanted if name.startswith(prefix) and name not in found]:
            found |= _addresses(connection, prefix, column, missing)
    return found


def external_id_of(connection: Connection, row_id: int) -> str | None:
    """The external id of the customer with this row id; None where there is none."""
    return connection.scalar(select(customer.c.external_id).where(customer.c.id == row_id))


def own(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """The row ids of the customers whose own external ids these are."""
    dialect = connection.dialect.name
    return dict(connection.execute(_own(dialect), {"names": listed(dialect, sorted(set(names)))}).all())


@cache
def _own(dialect: str) -> Select[str, int]:
    return select(customer.c.external_id, customer.c.id).where(among(dialect, customer.c.external_id, "names"))


def _identities(connection: Connection, names: list[str]) -> dict[str, int]:
    wanted = {identified(name): name for name in names}
    kinds = {kind: sorted(value for k, value in wanted if k == kind) for kind in {kind for kind, _ in wanted}}
    dialect = connection.dialect.name
    found: dict[str, int] = {}
    for kind, values in sorted(kinds.items()):
        rows = connection.execute(_led(dialect), {"kind": kind, "values": listed(dialect, values)})
        found |= {wanted[kind, value]: customer_id for value, customer_id in rows}
    return found


@cache
def _led(dialect: str) -> Select[str, int]:
    mine = and_(identity.c.kind == bindparam("kind", type_=Text), among(dialect, identity.c.value, "values"))
    return select(identity.c.value, identity.c.customer_id).where(mine)


def _addresses(connection: Connection, prefix: str, column: Column[str], names: list[str]) -> dict[str, int]:
    hashes = {name.removeprefix(prefix): name for name in names}
    told_by_shop = func.coalesce(customer.c.said_at[prefix.removesuffix(":")].as_float(), 0) >= 0
    rows = select(column, func.min(customer.c.id)).where(column.in_(sorted(hashes)), told_by_shop).group_by(column)
    return {hashes[address]: customer_id for address, customer_id in connection.execute(rows)}
