"""Published versions that the project's files no longer know the words of.

A version keeps its own text, but its names and types are those of today's project.yaml: take an attribute away, and the
customers inside an older version that asks for it can't go on. That is told before it happens.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from sqlalchemy import Connection, and_, not_, or_, select

from engine.language import check_expressions
from engine.language.content import Content, journey_file
from engine.language.errors import Problem
from engine.language.journey import Journey
from engine.language.registry import Registry
from engine.language.words import read_model
from engine.language.yaml import read
from engine.runtime.versions import somebody_inside
from engine.store.tables import journey_version


def outlived(
    connection: Connection, content: Content, registry: Registry, renewed: Collection[str] = ()
) -> dict[tuple[str, int], list[Problem]]:
    """What is wrong with versions that take entries or hold customers and aren't what the files say: by journey and
    number, those with nothing wrong left out. A stopped one waits, so nothing is asked of it.

    `renewed`: journeys about to be published: their versions will take no more entries, and none will be stopped."""
    state, anew = journey_version.c.state, journey_version.c.journey.in_(renewed)
    at_work = or_(and_(state == "live", not_(anew)), and_(or_(state == "retired", anew), somebody_inside()))
    rows = connection.execute(
        select(journey_version.c.journey, journey_version.c.number, journey_version.c.source)
        .where(at_work)
        .order_by(journey_version.c.journey, journey_version.c.number)
    )
    return {
        (row.journey, row.number): problems
        for row in rows
        if content.sources.get(row.journey) != row.source
        and (problems := list(_problems(content, registry, row.journey, row.number, row.source)))
    }


def _problems(content: Content, registry: Registry, name: str, number: int, source: str) -> Iterator[Problem]:
    document = read(source, f"{journey_file(name)}@{number}")
    problems = list(document.problems)
    journey = read_model(Journey, document, registry, problems)
    yield from problems
    if journey is not None:
        documents = {**content.documents, journey_file(name): document}
        alone = replace(content, journeys={name: journey}, documents=documents, salvaged={})
        yield from (problem for problem in check_expressions.problems(alone) if problem.file == document.file)
