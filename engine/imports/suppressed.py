"""Lists of addresses nothing may be sent to: read from CSV row by row, written without an address in them.

email,reason,since          or phone, or telegram, or address with --channel, or channel and address_hash of an export
amina@shop.example,asked by telephone,2026-03-01T09:00:00+03:00
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

from engine.cohort.gate import ADDRESS
from engine.runtime.door import LONGEST_LABEL, NO_CHAT, Door
from engine.store.suppressions import MANUAL, Suppressed

OF_CHANNEL = {"email": "email", "phone": "sms", "telegram": "telegram"}
"""Columns that say by their name of which channel their addresses are."""

EXPORTED = ("channel", "address_hash", "reason", "since")
_HASH = 32
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Fault:
    """A row that can't be used: the line in which it ends, and why. The address isn't in it."""

    line: int
    reason: str


class NoColumns(ValueError):
    """The file's first line names no column of addresses. The message says which there may be."""


def read(file: TextIO, door: Door, channel: str | None, now: datetime) -> Iterator[Suppressed | Fault]:
    """The rows of a file that was opened with newline="". `channel`: of a column `address`. Raises NoColumns."""
    start = file.readline()
    head = next(csv.reader([start], delimiter=_delimiter(start)), [])
    names = [name.strip().lower().removeprefix("\ufeff") for name in head]
    column = next((name for name in (*OF_CHANNEL, "address", "address_hash") if name in names), None)
    if column is None or (column == "address" and channel is None):
        if column:
            raise NoColumns("its addresses are of a channel that nothing names: add --channel")
        known = ", ".join(OF_CHANNEL)
        raise NoColumns(f"its first line names no column of addresses: {known}, address or address_hash")
    rows = csv.reader(file, delimiter=_delimiter(start))
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Fault(rows.line_num + 1, f"this is no row of a CSV file: {error}")
            continue
        if any(cell.strip() for cell in cells):
            row = {name: _plain(cell) for name, cell in zip(names, cells, strict=False)}
            yield _suppressed(row, column, rows.line_num + 1, door, channel, now)


def _suppressed(
    row: dict[str, str], column: str, line: int, door: Door, channel: str | None, now: datetime
) -> Suppressed | Fault:
    by = OF_CHANNEL.get(column) or row.get("channel") or channel or ""
    by = channel if channel is not None and column == "phone" else by
    if by not in ADDRESS:
        return Fault(line, f"its channel is none of {', '.join(ADDRESS)}")
    reason = row.get("reason") or MANUAL
    if len(reason) > LONGEST_LABEL or "\0" in reason:
        return Fault(line, f"its reason has more than {LONGEST_LABEL} characters, or one that can't be kept")
    at = _moment(row.get("since", ""), now)
    if at is None:
        return Fault(line, "its since is no time with a zone, like 2026-12-24T18:00:00+03:00, or lies ahead")
    address = row.get(column, "")
    if column == "address_hash":
        if len(address) != _HASH or not set(address) <= set("0123456789abcdef"):
            return Fault(line, "this is no hash of an address")
        return Suppressed(by, address, reason, at)
    found = door.hashed(by, address) if address and "\0" not in address else None
    if found is None:
        return Fault(line, wanted(by))
    return Suppressed(by, found, reason, at)


def wanted(channel: str) -> str:
    """What an address of a channel should have been."""
    if channel == "email":
        return "this is no e-mail address"
    if channel == "telegram":
        return NO_CHAT
    return "this is no address" if channel == "push" else "this is no phone number; write it like +254712345678"


def write(file: TextIO, addresses: Iterable[Suppressed]) -> int:
    """Write an export; how many there are. A cell that a spreadsheet would take for a formula gets an apostrophe."""
    rows, n = csv.writer(file, lineterminator="\n"), 0
    rows.writerow(EXPORTED)
    for one in addresses:
        since = one.at.astimezone(UTC).isoformat().replace("+00:00", "Z")
        rows.writerow([_safe(cell) for cell in (one.channel, one.address_hash, one.reason, since)])
        n += 1
    return n


def _delimiter(line: str) -> str:
    return max((",", ";", "\t"), key=line.count)


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _plain(cell: str) -> str:
    cell = cell.strip()
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _moment(text: str, now: datetime) -> datetime | None:
    if not text:
        return now
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo is not None and found <= now else None
    except (ValueError, OverflowError):
        return None
