"""The addresses in a plain text: where a reader's program sees a link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from unicodedata import category
from urllib.parse import urlsplit

LONGEST = 2_000
"""A longer address is none: programs don't take it, and a text may be made of nothing else."""

_BEGINS = re.compile(r"https?://[^\s<>\"]+", re.IGNORECASE)
_LAST = frozenset(".,;:!?'*~")
"""ASCII that belongs to the sentence, when it ends an address."""
_PAIRS = {")": "(", "]": "[", "}": "{"}


def addresses(text: str) -> Iterator[tuple[int, str]]:
    """Every http(s) address with its place. What ends the sentence around it isn't part of it."""
    for found in _BEGINS.finditer(text):
        address = found[0]
        if len(address) > LONGEST:
            continue
        while _ends_the_sentence(address):
            address = address[:-1]
        if origin(address):
            yield found.start(), address


def _ends_the_sentence(address: str) -> bool:
    last = address[-1]
    if last in _PAIRS:
        return address.count(last) > address.count(_PAIRS[last])
    return last in _LAST if last.isascii() else category(last).startswith("P")


def origin(address: str) -> str | None:
    """`https://shop.example:8443` of an http(s) address; None for one without a host."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    scheme, host = parts.scheme.lower(), parts.netloc.lower()
    return f"{scheme}://{host}" if host and scheme in ("http", "https") else None


def within(address: str, base: str) -> bool:
    """Whether an address is this one, without a slash at its end, or lies below it."""
    return address == base or address.startswith(f"{base}/")


def origins(text: str) -> Iterator[str]:
    """The origin of every address in a text."""
    for _, address in addresses(text):
        if (found := origin(address)) is not None:
            yield found
