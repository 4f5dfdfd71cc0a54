"""A story as told and as it happened, compared as a whole and shown side by side. Pure: no engine, no clock.

When a line of a story is: `at` on the customer's clock; `after` so long after the line above; a line without either
in the same minute as the line above (the first one: at the start). Everything is compared to the minute. Within a
minute, what the engine does between two things that happen to the customer may stand in any order.

Everything the engine does must be told, but for what it may do unsaid (`waits`, `takes`); what is told must happen.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Literal
from zoneinfo import ZoneInfo

from engine.language.scenario import OPTIONAL, Line, Scenario

ASIDE = ("enters", "refuses", "notifies")
"""What is shown to whoever looks for a fault, and can't be told in a story."""

HALF = 47
"""The width of a column. Two of them, the number and the mark make 100."""


@dataclass(frozen=True)
class Deed:
    """One thing of a story. `subject` is what it is about (a template, a step, an outcome), `more` what is said besides
    (a reason, a value, properties). `chapter` counts the things that had happened to the customer before it."""

    verb: str
    subject: str
    at: datetime
    zone: str
    chapter: int = 0
    more: str | None = None
    happens: bool = False

    @property
    def minute(self) -> datetime:
        return self.at.replace(second=0, microsecond=0)

    @property
    def unsaid(self) -> bool:
        """Whether the engine may do this without a line."""
        return self.verb in OPTIONAL or self.verb in ASIDE

    def meets(self, told: Deed) -> bool:
        """Whether this is what was told. What the line doesn't say (a reason, a value) may be anything."""
        if self.happens or told.happens:
            return self is told
        same = (self.verb, self.subject, self.minute, self.chapter)
        return same == (told.verb, told.subject, told.minute, told.chapter) and told.more in (None, self.more)

    @property
    def local(self) -> datetime:
        return self.at.astimezone(ZoneInfo(self.zone))

    def __str__(self) -> str:
        return f"{self.verb} {self.subject}".rstrip() + (f", {self.more}" if self.more else "")


@dataclass(frozen=True)
class Told:
    """A line of the story with its moment. `number` counts the lines from 0."""

    number: int
    line: Line
    deed: Deed


Kind = Literal["same", "differs", "missing", "untold", "aside"]


@dataclass(frozen=True)
class Row:
    """A line of the comparison: what was told beside what happened. An `aside` needn't be told."""

    kind: Kind
    told: Deed | None
    happened: Deed | None
    number: int | None = None


def starts(scenario: Scenario, brand_zone: str) -> datetime:
    """The moment a story begins."""
    return scenario.start.local.replace(tzinfo=ZoneInfo(scenario.start.zone or brand_zone)).astimezone(UTC)


def lines_of(scenario: Scenario, brand_zone: str, said: Callable[[Line], tuple[str, str | None]]) -> tuple[Told, ...]:
    """The lines of a story with their moments; `said` gives a line's subject and what it says more.

    Someone who moves (`updates: {timezone: …}`) takes their clock along."""
    zone = scenario.customer.profile.get("timezone") or brand_zone
    at = starts(scenario, brand_zone)
    chapter = 0
    lines = []
    for number, line in enumerate(scenario.story):
        if line.at is not None:
            at = line.at.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
        elif line.after is not None:
            at += line.after
        subject, more = said(line)
        lines.append(Told(number, line, Deed(line.verb, subject, at, zone, chapter, more, line.happens)))
        chapter += line.happens
        if line.happens and line.updates is not None and "timezone" in line.updates:
            zone = line.updates["timezone"] or brand_zone
    return tuple(lines)


def compare(lines: Sequence[Told], happened: Sequence[Deed]) -> tuple[Row, ...]:
    """The story beside what happened, aligned so that as little as can be differs."""
    deeds = _in_order_told(lines, happened)
    n, m = len(lines), len(deeds)
    cost = [[0.0] * (m + 1) for _ in range(n + 1)]
    best: dict[tuple[int, int], _Way] = {}
    for i in range(n, -1, -1):
        for j in range(m, -1, -1):
            if (i, j) != (n, m):
                ways = [(way.cost + cost[way.i][way.j], way.late, way) for way in _ways(lines, deeds, i, j)]
                cost[i][j], _, best[i, j] = min(ways, key=lambda way: way[:2])
    rows = []
    i = j = 0
    while (i, j) != (n, m):
        way = best[i, j]
        line, deed = lines[i] if way.i > i else None, deeds[j] if way.j > j else None
        rows.append(Row(way.kind, line.deed if line else None, deed, line.number if line else None))
        i, j = way.i, way.j
    return tuple(rows)


@dataclass(frozen=True)
class _Way:
    """`late`: the other side's next thing was earlier, so that it stands above where nothing else speaks against it."""

    kind: Kind
    cost: float
    i: int
    j: int
    late: bool = False


def _ways(lines: Sequence[Told], deeds: Sequence[Deed], i: int, j: int) -> Iterator[_Way]:
    """How the comparison can go on: what kind of row, what it costs, and how far it has come then."""
    if i < len(lines) and j < len(deeds):
        if deeds[j].meets(lines[i].deed):
            yield _Way("same", 0.0, i + 1, j + 1)
            return
        likeness = _likeness(lines[i].deed, deeds[j])
        if likeness:
            # What needn't be told costs nothing alone: beside a line that means it, it must cost less than the line
            # alone.
            yield _Way("differs", 0.9 if deeds[j].unsaid else 2.0 - likeness, i + 1, j + 1)
    later = i < len(lines) and j < len(deeds) and lines[i].deed.minute >= deeds[j].minute
    if i < len(lines):
        yield _Way("missing", 1.0, i + 1, j, late=later)
    if j < len(deeds):
        unsaid = deeds[j].unsaid
        yield _Way("aside" if unsaid else "untold", 0.0 if unsaid else 1.0, i, j + 1, late=not later)


def _likeness(one: Deed, other: Deed) -> float:
    """How much speaks for showing these two in one row, from 0 (nothing) to 1."""
    if one.happens or other.happens or other.verb in ASIDE:
        return 0.0
    if one.verb != other.verb and {one.verb, other.verb} != {"sends", "skips"}:
        return 0.0
    if one.verb in OPTIONAL and one.subject.partition(":")[0] != other.subject.partition(":")[0]:
        return 0.0
    return 0.4 + 0.3 * (one.subject == other.subject) + 0.2 * (one.minute == other.minute)


def _in_order_told(lines: Sequence[Told], happened: Sequence[Deed]) -> list[Deed]:
    """What happened, with what lies in one minute and chapter in the order it is told in."""
    deeds = list(happened)
    groups: dict[tuple[int, datetime], list[int]] = defaultdict(list)
    for place, deed in enumerate(deeds):
        if not deed.happens:
            groups[deed.chapter, deed.minute].append(place)
    for (chapter, minute), places in groups.items():
        wanted = [line.deed for line in lines if (line.deed.chapter, line.deed.minute) == (chapter, minute)]
        rest, matched = list(places), []
        for told in wanted:
            found = next((place for place in rest if happened[place].meets(told)), None)
            if found is not None:
                rest.remove(found)
                matched.append(found)
        for place, source in zip(sorted(matched), matched, strict=True):
            deeds[place] = happened[source]
    return deeds


MARKS = {"same": " ", "differs": "!", "missing": "-", "untold": "+", "aside": " "}


def table(rows: Sequence[Row]) -> str:
    """The rows as two columns: `!` differs, `-` was told and did not happen, `+` happened and is not told."""
    number = 5
    head = " " * number + f"{'the story':{HALF}} what happened"
    shown = [head.rstrip()]
    for row in rows:
        name = "" if row.number is None else str(row.number + 1)
        left, right = _cell(row.told), _cell(row.happened, aside=row.kind == "aside")
        for n, (one, other) in enumerate(zip_longest(left, right, fillvalue="")):
            mark = f"{MARKS[row.kind]}{name:>3} " if n == 0 else " " * number
            shown.append(f"{mark}{one:{HALF}} {other}".rstrip())
    return "\n".join(shown)


def _cell(deed: Deed | None, *, aside: bool = False) -> list[str]:
    if deed is None:
        return []
    when = f"{deed.local:%Y-%m-%d %H:%M} "
    text = f"({deed})" if aside else str(deed)
    wrapped = textwrap.wrap(text, HALF - len(when), subsequent_indent="  ", break_on_hyphens=False) or [""]
    return [when + wrapped[0], *(" " * len(when) + more for more in wrapped[1:])]
