"""What a journey says of days that have gone by: no fault of its file, which was right when it was written, but nothing
that is still meant. Told beside the problems, and nothing is refused for it.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from engine.language.content import Content, journey_file
from engine.language.errors import Path, Problem, in_order
from engine.language.graph import placed
from engine.language.journey import Dated


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
