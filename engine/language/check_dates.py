"""What a journey says of days, and is no fault of its file: a day that has gone by was right when it was written, and
isn't meant any more; a leap day that is meant in March is asked about as one in February. Told beside the problems, and
nothing is refused for it.
"""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from engine.language.content import Content, journey_file
from engine.language.errors import Path, Problem, in_order
from engine.language.graph import placed
from engine.language.journey import Dated
from engine.language.yaml import Scalar, walk

_OF_BIRTHDAYS = re.compile(r"\b(?:age|days_until)\(\s*customer\.birthday\s*\)|^\s*until\s+customer\.birthday\b")


def gone_by(content: Content, now: datetime) -> tuple[Problem, ...]:
    """The moments in what could be read of all journeys that lie before `now` on the brand's clock."""
    salvaged = {name: rest.journey for name, rest in content.salvaged.items()}
    local = now.astimezone(ZoneInfo(content.project.brand.timezone)).replace(tzinfo=None)
    found: list[Problem] = []
    for name, journey in {**content.journeys, **salvaged}.items():
        document = content.documents[journey_file(name)]
        dated: list[tuple[Path, Dated]] = [(("enter",), one) for one in journey.enter.dated()]
        for place in placed(journey):
            dated += [(place.path, one) for one in place.step.dated()]
        for below, one in dated:
            if one.moment < local:
                message = f"{one.moment:%Y-%m-%d %H:%M} has gone by: {one.then}"
                hint = f"it is {local:%Y-%m-%d %H:%M} in {content.project.brand.timezone}"
                found.append(document.problem((*below, *one.path), message, hint))
    return in_order(found)


def early_leap_days(content: Content) -> list[Problem]:
    """Where a journey whose trigger means 1 March asks about a birthday: for that, 29 February is the 28th in a year
    without one."""
    found: list[Problem] = []
    for name, journey in content.journeys.items():
        document = content.documents[journey_file(name)]
        if document.root is None or not journey.enter.leap_day_in_march():
            continue
        for path, node in walk(document.root):
            if isinstance(node, Scalar) and (said := _OF_BIRTHDAYS.search(node.text)):
                message = f"for `{said[0].strip()}` a birthday on 29 February is on the 28th where a year has none"
                hint = "leap_day: mar1 moves the day of the trigger only; a wait of so many days from there fits it"
                found.append(document.problem(path, message, hint))
    return found
