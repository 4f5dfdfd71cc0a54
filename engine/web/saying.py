"""What a source said, in the form the engine takes: `Told` in, `Incoming` out. What has a fault is kept, never lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from engine.language.types import Kind, Type
from engine.runtime.bounds import LONGEST_ID
from engine.runtime.door import Door
from engine.runtime.identity import Who
from engine.runtime.ingest import Incoming
from engine.runtime.kept import Kept, Reading
from engine.runtime.profile import Consented, Profile
from engine.web.reading import read_items
from triggers.sources.base import Said, Told, Untold
from triggers.sources.base import Who as SourceWho

Earlier = Callable[[Sequence[str]], str | None]
"""The customer of one of a source's earlier events, by their keys."""


SECRETS = frozenset({"authorization", "proxy-authorization", "cookie"})
"""Headers that may hold a secret: none is kept."""


class Noted(Mapping[str, str]):
    """Headers that note which of them are asked for: only those are kept with a request that can't be taken."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self.asked: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        value = self._headers[name]
        if name not in SECRETS:
            self.asked[name] = value
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


@dataclass(frozen=True)
class Asked:
    """A request that was read: what of it is kept so that it can be read again. `came`: when, if that was before
    now."""

    payload: Any
    headers: Noted
    came: datetime | None = None

    def kept(self, one: Told | Untold, reason: str, waits: tuple[str, ...] = ()) -> Kept:
        """What of it said this, to be kept."""
        whole = isinstance(one, Told) and one.part is None
        payload = self.payload if whole else one.payload if isinstance(one, Untold) else one.part
        reading = Reading(self.headers.asked, payload is not self.payload)
        return Kept(_topic(one), reason, _text(payload), one.key, reading, waits)


@dataclass
class Heard:
    """Events to be taken, with what was said of each; who of them say themselves when they happened; customers told by
    more than one name, who are to be introduced first, by the places of their events; and what is kept instead."""

    events: list[tuple[Incoming, Told]] = field(default_factory=list)
    dated: set[int] = field(default_factory=set)
    whos: dict[int, Who] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)


def hear(
    said: Said,
    source: str,
    topics: Sequence[str],
    door: Door,
    now: datetime,
    earlier: Earlier,
    *,
    page: bool = False,
    asked: Asked | None = None,
) -> Heard:
    """`topics`: those that a yes or no to marketing is about. `page`: it came with a browser key. `asked`: the request
    that was read; None where what is kept of it can't be read again."""
    heard, came = Heard(), None if asked is None else asked.came
    for one in said:
        if isinstance(one, Untold):
            heard.kept.append(to_keep(one, one.reason, asked))
            continue
        given = _who(one.who, earlier)
        if not given:
            heard.kept.append(to_keep(one, "nobody knows whose it is", asked, one.who.of))
            continue
        posted = read_items([_item(one, given, door, came)], door, now, page=page)
        for fault in posted.faults[:1]:
            heard.kept.append(to_keep(one, f"{fault.path}: {fault.message}", asked))
        for _, incoming in posted.events:
            place = len(heard.events)
            if posted.dated and one.occurred_at is not None and not one.reckoned:
                heard.dated.add(place)
            if posted.whos:
                heard.whos[place] = replace(posted.whos[0], renamed=one.who.renamed)
            profile = _agreed(incoming.profile or Profile(page=page), one, source, topics, door, now)
            heard.events.append((replace(incoming, source=source, profile=profile, said=None), one))
    return heard


def to_keep(one: Told | Untold, reason: str, asked: Asked | None, waits: tuple[str, ...] = ()) -> Kept:
    """What was said, to be kept: as it came, or in our words where that can't be read again, so that nothing comes of
    it either when what it waits for has come."""
    if asked is not None:
        return asked.kept(one, reason, waits)
    if isinstance(one, Untold):
        return Kept(one.topic, reason, _text(one.payload), one.key)
    said = {"who": one.who, "event": one.event, "at": one.occurred_at, "properties": one.properties}
    return Kept(_topic(one), reason, _text(said), one.key)


def _topic(one: Told | Untold) -> str:
    return one.topic or (one.event if isinstance(one, Told) else "")


def _who(who: SourceWho, earlier: Earlier) -> dict[str, str]:
    """Who is meant, in the door's words. The shop's own id wins, then the customer of an earlier event."""
    own = who.id or (earlier(who.of) if who.of else None)
    told = {"id": own, "anonymous_id": who.anonymous, "email": who.email, "phone": who.phone}
    return {name: value.strip() for name, value in told.items() if value and value.strip()}


def _item(told: Told, who: Mapping[str, str], door: Door, came: datetime | None) -> dict[str, Any]:
    foreign, types = _foreign(told, door), door.vocabulary.attributes
    known = {**who, **{name: _fit(value, types.get(name), foreign) for name, value in told.profile.items()}}
    key = told.key if len(told.key) <= LONGEST_ID else f"hash:{hashlib.sha256(told.key.encode()).hexdigest()}"
    item = {
        "event": told.event,
        "customer": {name: value for name, value in known.items() if value is not None},
        "key": key,
        "properties": _fitting(told, door, foreign),
    }
    at = told.occurred_at or came
    return item if at is None else item | {"time": at.isoformat()}


def _foreign(told: Told, door: Door) -> str | None:
    """The currency of its amounts, if it isn't the brand's."""
    currency = told.currency.upper() if told.currency else None
    return None if currency == door.vocabulary.currency else currency


def _fitting(told: Told, door: Door, foreign: str | None) -> dict[str, Any]:
    """The properties as the project declares them: entries of a list lose fields nobody declared, and an amount in
    another currency than the brand's is kept with it, where no condition takes it for one."""
    event = door.vocabulary.events.get(told.event)
    declared: Mapping[str, Type] = {} if event is None else event.properties
    found = dict(told.properties)
    if told.currency and ("currency" in declared or foreign):
        found.setdefault("currency", told.currency.upper())
    return {name: _fit(value, declared.get(name), foreign) for name, value in found.items()}


def _fit(value: Any, type_: Type | None, foreign: str | None) -> Any:
    if type_ is None:
        return value
    if type_.kind is Kind.MONEY and foreign and isinstance(value, str | int | float | Decimal):
        return f"{value} {foreign}"
    if type_.kind is Kind.LIST and isinstance(value, list):
        return [_fields(one, type_, foreign) for one in value]
    if type_.kind is Kind.OBJECT:
        return _fields(value, type_, foreign)
    return value


def _fields(value: Any, type_: Type, foreign: str | None) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: _fit(value[name], inner, foreign) for name, inner in type_.fields if name in value}


def _agreed(profile: Profile, told: Told, source: str, topics: Sequence[str], door: Door, now: datetime) -> Profile:
    consents = door.agreed(
        Consented(said.channel, topic, said.state, source, told.event, said.at and min(said.at, now), said.confirmed)
        for said in told.agreed
        for topic in topics
    )
    return replace(profile, consents=(*profile.consents, *consents)) if consents else profile


def _text(value: Any) -> str:
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:  # nested deeper than anybody writes
        return str(value)
