"""What is known of a customer, each fact with the moment it was said: a newer word wins, in whatever order they come.

A fact is what changes together: an address with its hash, a birthday with its month, day and year, one attribute. The
moment is kept in `customer.said_at`, microseconds by the fact's name. A fact that has no moment there was said before
anybody wrote them down, and any word is newer. Of two words of one moment the greater value stays, so that the order
of their arrival decides nothing.

What came with a browser key may be anybody's word: whoever opens the page can read the key. It counts as said AGES
before, so before 1970, and any word of the shop's is newer. It is never newer than what nobody dated, and it gives
somebody an address only where there is none of any kind: else it could have what is sent to one of them sent to another
as well. For the same reason a page's address ends as soon as the shop tells one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from engine.store.types import micros

_TOGETHER: Mapping[str, tuple[str, ...]] = {
    "email": ("email", "email_hash"),
    "phone": ("phone", "phone_hash"),
    "push_token": ("push_token", "push_hash"),
    "telegram": ("telegram", "telegram_hash"),
    "birthday": ("birth_month", "birth_day", "birth_year"),
}
_FACT_OF = {column: fact for fact, columns in _TOGETHER.items() for column in columns}
ADDRESSES = ("email", "phone", "push_token", "telegram")
"""Facts that messages go to."""

PAGE = ":page"
"""Follows the source of an event that came with a browser key."""

CREATED = "created_at"
AGES = 2**52
"""Microseconds by which a page's word is older than any of the shop's, some 140 years: so it is below 0."""


def fact_of(column: str) -> str:
    """The fact that a column of the customer belongs to."""
    return _FACT_OF.get(column, column)


def attribute(name: str) -> str:
    """The fact of a declared attribute: an attribute may be called like a column."""
    return f"attributes.{name}"


def said(columns: Iterable[str], attributes: Iterable[str], at: datetime) -> dict[str, int]:
    """These facts, said at one moment, in the form of `customer.said_at`."""
    when = micros(at)
    return {**{fact_of(name): when for name in columns}, **{attribute(name): when for name in attributes}}


@dataclass
class Facts:
    """A customer as they are known: values of columns, attributes, and when each fact was said. `changed` and
    `moved`: the columns, and whether the attributes, that `hear` or `join` has changed."""

    columns: dict[str, Any]
    attributes: dict[str, Any]
    said_at: dict[str, int]
    changed: set[str] = field(default_factory=set)
    moved: bool = False
    heard: bool = False

    def hear(
        self, columns: Mapping[str, Any], attributes: Mapping[str, Any], at: datetime, *, page: bool = False
    ) -> None:
        """Take what is newer than what is known. None clears. `page`: it came with a browser key."""
        when = micros(at) - AGES if page else micros(at)
        reachable = page and any(self.columns.get(name) is not None for name in ADDRESSES)
        groups: dict[str, dict[str, Any]] = {}
        for name, value in columns.items():
            groups.setdefault(fact_of(name), {})[name] = value
        for fact, values in groups.items():
            if reachable and fact in ADDRESSES:
                continue
            if self._newer(fact, when, values, {name: self.columns.get(name) for name in values}):
                self._take(values)
        for name, value in attributes.items():
            if self._newer(attribute(name), when, value, self.attributes.get(name)):
                self._set(name, value)
        self._end_addresses_of_pages()

    def join(self, other: Facts, *, page: bool = False) -> None:
        """Become one with somebody else's: of each fact the newer word; of two of one moment one's own. What nobody
        dated fills only gaps, and so does all of it when a `page` says that they are one. Since when they are a
        customer is the earlier of the two."""
        if page:
            other = self._gaps(other)
        theirs = dict.fromkeys(fact_of(name) for name in other.columns.keys() - {CREATED})
        for fact in theirs:
            mine = {name: self.columns.get(name) for name in _TOGETHER.get(fact, (fact,))}
            if self._gives_way(fact, other, any(value is not None for value in mine.values())):
                self._take({name: other.columns.get(name) for name in mine})
        for name in {**self.attributes, **other.attributes, **_attributes(other.said_at)}:
            if self._gives_way(attribute(name), other, name in self.attributes):
                self._set(name, other.attributes.get(name))
        if other.columns[CREATED] < self.columns[CREATED]:
            self._take({CREATED: other.columns[CREATED]})
        for fact, when in other.said_at.items():
            self.said_at[fact] = max(when, self.said_at.get(fact, when))
        self.heard = True
        self._end_addresses_of_pages()

    def _gaps(self, other: Facts) -> Facts:
        """Of somebody else's facts those about which there is no word of one's own."""
        told = {fact_of(name) for name, value in self.columns.items() if value is not None} | self.said_at.keys()
        told |= {attribute(name) for name in self.attributes}
        if told & set(ADDRESSES):
            told |= set(ADDRESSES)
        columns = {name: None if fact_of(name) in told else value for name, value in other.columns.items()}
        columns[CREATED] = self.columns[CREATED]
        attributes = {name: value for name, value in other.attributes.items() if attribute(name) not in told}
        return Facts(columns, attributes, {fact: when for fact, when in other.said_at.items() if fact not in told})

    def _end_addresses_of_pages(self) -> None:
        known = {fact for fact in ADDRESSES if self.columns.get(fact) is not None}
        of_pages = {fact for fact in known if self.said_at.get(fact, 0) < 0}
        if of_pages and known != of_pages:
            for fact in sorted(of_pages):
                self._take(dict.fromkeys(_TOGETHER[fact]))
                del self.said_at[fact]

    def _gives_way(self, fact: str, other: Facts, known: bool) -> bool:
        """Whether the other's word about a fact holds. `known`: there is a word of one's own."""
        mine, theirs = self.said_at.get(fact), other.said_at.get(fact)
        if mine is None:
            return not known or (theirs is not None and theirs >= 0)
        return theirs is not None and theirs > mine

    def _take(self, values: Mapping[str, Any]) -> None:
        self.columns |= values
        self.changed |= values.keys()

    def _set(self, name: str, value: Any) -> None:
        self.moved = True
        if value is None:
            self.attributes.pop(name, None)
        else:
            self.attributes[name] = value

    def _newer(self, fact: str, when: int, value: Any, known: Any) -> bool:
        before = self.said_at.get(fact)
        if before is None and when < 0 and _known(known):
            return False
        if before is not None and (when < before or (when == before and _order(value) <= _order(known))):
            return False
        self.said_at[fact] = when
        self.heard = True
        return True


def _attributes(facts: Iterable[str]) -> dict[str, None]:
    """The attributes among these facts."""
    prefix = attribute("")
    return dict.fromkeys(fact.removeprefix(prefix) for fact in facts if fact.startswith(prefix))


def _known(value: Any) -> bool:
    return any(one is not None for one in value.values()) if isinstance(value, dict) else value is not None


def _order(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
