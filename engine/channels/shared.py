"""Which mails may share a request: those that are one skeleton with different values in its places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.channels.base import Outgoing

_MOST = 10_000
"""Bytes of values that a person may have in a shared request."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One request: `at` says which of the mails it was made of are in it, `substitutions` what stands in the places of
    each."""

    at: tuple[int, ...]
    messages: tuple[Outgoing, ...]
    subject: str
    html: str
    text: str
    substitutions: tuple[dict[str, str], ...]


def parcels(messages: Sequence[Outgoing], most: int) -> list[Parcel]:
    """The requests that carry these mails, at most `most` in each: who shares nothing goes alone."""
    groups: dict[object, list[int]] = {}
    for at, message in enumerate(messages):
        groups.setdefault(_alike(at, message), []).append(at)
    made = []
    for group in groups.values():
        for start in range(0, len(group), most):
            made.append(_parcel(messages, tuple(group[start : start + most])))
    return made


def _alike(at: int, message: Outgoing) -> object:
    """What mails must have in common; a mail that shares with none has only itself."""
    shared = message.shared
    if shared is None or sum(len(name) + len(value.encode()) for name, value in shared.values.items()) > _MOST:
        return at
    return shared.subject, shared.html, shared.text, message.sender, message.unsubscribe_url is None


def _parcel(messages: Sequence[Outgoing], at: tuple[int, ...]) -> Parcel:
    mine = tuple(messages[one] for one in at)
    content, shared = mine[0].content, mine[0].shared
    if len(at) == 1 or shared is None:
        return Parcel(at, mine, content.subject, content.html, content.text, ({},) * len(mine))
    values = tuple(dict(one.shared.values) for one in mine if one.shared is not None)
    return Parcel(at, mine, shared.subject, shared.html, shared.text, values)
