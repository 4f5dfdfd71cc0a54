"""The shared text forms of time: durations, times of day, weekdays, dates and local moments.

Durations are `30m 12h 90d 2w`. A local moment (`2026-12-24 18:00`) is a naive datetime: it means a time on the wall
of the customer or of the brand, and who reads it says which.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from engine.language.errors import Wrong

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# A century. Beyond it is a typing error, and sums of dates would leave the calendar.
LONGEST = timedelta(days=36525)

UNIT_WORDS = {
    **dict.fromkeys(("m", "min", "minute"), "m"),
    **dict.fromkeys(("h", "hr", "hour"), "h"),
    **dict.fromkeys(("d", "day", "dayz"), "d"),
    **dict.fromkeys(("w", "wk", "week"), "w"),
}
"""How people write the units, without the s of many."""

_DURATION = re.compile(r"([0-9]{1,9})([mhdw])")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_HOW = "write a number and m, h, d or w, like 30m, 12h, 90d or 2w"


def parse_duration(text: str) -> timedelta:
    """`30m 12h 90d 2w` as a timedelta, zero included. Anything else is Wrong."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise Wrong(f'"{text}" is not a duration', _meant(text) or _HOW)
    size = int(found[1])
    minutes = size * {"m": 1, "h": 60, "d": 1440, "w": 10080}[found[2]]
    if minutes > LONGEST // timedelta(minutes=1):
        raise Wrong(f'"{text}" is longer than a hundred years', _HOW)
    return timedelta(minutes=minutes)


def _meant(text: str) -> str | None:
    """The duration that somebody wrote in their own way."""
    said = re.fullmatch(r"([0-9]{1,9})\s*([a-zA-Z]+)", text.strip())
    unit = UNIT_WORDS.get(said[2].lower().rstrip("s")) if said else None
    if said and unit:
        return f"write {said[1]}{unit}"
    if said := re.fullmatch(r"([0-9]{1,4})h *([0-9]{1,4})m", text.strip()):
        return f"write {int(said[1]) * 60 + int(said[2])}m"
    if re.fullmatch(r"[0-9]+[.,][0-9]+ *[mhdw]", text.strip()):
        return "write a whole number of a smaller unit, like 36h for one and a half days"
    return None


def duration_text(length: timedelta) -> str:
    """The shortest text that parse_duration reads as this length (whole minutes), `-7d` for a negative one."""
    minutes = length // timedelta(minutes=1)
    sign, minutes = ("-", -minutes) if minutes < 0 else ("", minutes)
    for unit, size in (("w", 10080), ("d", 1440), ("h", 60)):
        if minutes and minutes % size == 0:
            return f"{sign}{minutes // size}{unit}"
    return f"{sign}{minutes}m"


def parse_time(text: str) -> time:
    """`09:00` (or `9:00`) as a time of day."""
    found = _TIME.fullmatch(text.strip())
    if not found or int(found[1]) > 23 or int(found[2]) > 59:
        raise Wrong(f'"{text}" is not a time of day', "write hours and minutes, from 00:00 to 23:59")
    return time(int(found[1]), int(found[2]))


def parse_weekday(text: str) -> int:
    """`monday` or `mon`, … as 0 (Monday) to 6 (Sunday)."""
    word = text.strip().lower()
    for n, name in enumerate(WEEKDAYS):
        if word in (name, name[:3]):
            return n
    raise Wrong(f'"{text}" is not a weekday', "write monday, tuesday, wednesday, thursday, friday, saturday or sunday")


def parse_date(text: str) -> date:
    """`2026-12-24` as a date."""
    found = _DATE.fullmatch(text.strip())
    try:
        if found:
            return date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        raise Wrong(f'there is no day "{text}" in the calendar', "dates are written year-month-day") from None
    raise Wrong(f'"{text}" is not a date', "write year-month-day, like 2026-12-24")


def parse_local(text: str) -> datetime:
    """`2026-12-24 18:00` as a naive datetime."""
    day, _, clock = text.strip().replace("T", " ").partition(" ")
    if not clock:
        raise Wrong(f'"{text}" is not a date and time', "write both, like 2026-12-24 18:00")
    return datetime.combine(parse_date(day), parse_time(clock))


def text_or(kind: type, parse: Any) -> PlainValidator:
    """A validator that takes a ready value of `kind` (from Python) or a text that `parse` reads."""

    def read(value: Any) -> Any:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, kind) and not isinstance(value, bool):
            return value
        raise Wrong("a single value is expected here, not a list or a mapping")

    return PlainValidator(read)


def _positive(text: str) -> timedelta:
    length = parse_duration(text)
    if not length:
        raise Wrong(f'"{text}" is no time at all', "write at least 1m")
    return length


def _signed(text: str) -> timedelta:
    text = text.strip()
    if text.startswith(("+", "-")):
        length = parse_duration(text[1:])
        return -length if text.startswith("-") else length
    return parse_duration(text)


_WRITTEN = PlainSerializer(duration_text, return_type=str)

Duration = Annotated[
    timedelta,
    text_or(timedelta, _positive),
    _WRITTEN,
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,9}[mhdw]$", "examples": ["30m", "12h", "90d", "2w"]}),
]
Offset = Annotated[
    timedelta,
    text_or(timedelta, _signed),
    _WRITTEN,
    WithJsonSchema({"type": "string", "pattern": "^[+-]?[0-9]{1,9}[mhdw]$", "examples": ["-7d", "2h"]}),
]
TimeOfDay = Annotated[
    time,
    text_or(time, parse_time),
    PlainSerializer(lambda t: f"{t:%H:%M}", return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^([01]?[0-9]|2[0-3]):[0-5][0-9]$", "examples": ["09:00"]}),
]
Weekday = Annotated[
    int,
    text_or(int, parse_weekday),
    PlainSerializer(lambda n: WEEKDAYS[n], return_type=str),
    WithJsonSchema({"enum": [*WEEKDAYS, *(w[:3] for w in WEEKDAYS)]}),
]
CalendarDate = Annotated[
    date,
    text_or(date, parse_date),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "examples": ["2026-12-24"]}),
]
LocalMoment = Annotated[
    datetime,
    text_or(datetime, parse_local),
    PlainSerializer(lambda m: f"{m:%Y-%m-%d %H:%M}", return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{1,2}:[0-9]{2}$",
            "examples": ["2026-12-24 18:00"],
        }
    ),
]
