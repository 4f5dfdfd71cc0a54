"""The lint of a whole project: what reads well, and still can't be meant.

    survey(root, registry)  →  content, problems of reading
    check(content, registry, renderer)  →  problems of meaning

`check_directory` tells both at once: a file that can't be read hides no problem of another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as File
from typing import Any

from pydantic import ValidationError

from engine.language import check_dates, check_expressions, check_flow, check_scenarios, check_sources, check_templates
from engine.language.check_templates import Renderer
from engine.language.content import PROJECT, Content, journey_file, survey
from engine.language.errors import Problem, did_you_mean, in_order
from engine.language.project import Project
from engine.language.registry import Registry
from engine.language.words import in_our_words


def check(content: Content, registry: Registry, renderer: Renderer | None) -> list[Problem]:
    """Every problem of meaning in what could be read, by file and line. Without a renderer templates are not looked
    at.
    """
    whole = content
    if content.salvaged:
        rest = {name: salvaged.journey for name, salvaged in content.salvaged.items()}
        content = replace(content, journeys={**content.journeys, **rest})
    problems = list(check_flow.problems(content))
    # Without project.yaml no name is known: to call each of them unknown would bury the one problem there is.
    if PROJECT not in content.broken:
        problems += _providers(content, registry)
        problems += _capped(content)
        problems += check_sources.problems(content, registry)
        problems += check_expressions.problems(content)
        problems += check_scenarios.problems(whole)
        if renderer is not None:
            problems += check_templates.problems(content, renderer)
    faulty = {journey_file(name): salvaged for name, salvaged in content.salvaged.items()}
    if content.rest is not None:
        problems = [p for p in problems if not content.rest.speaks_of_lost(p, PROJECT)]
    return list(in_order(p for p in problems if p.file not in faulty or not faulty[p.file].speaks_of_lost(p.message)))


def check_directory(
    root: File, registry: Registry, renderer: Callable[[File, Project], Renderer] | None
) -> tuple[Content, list[Problem]]:
    """What a project directory holds, and every problem of every file, of reading and of meaning."""
    content, problems = survey(root, registry)
    readable = content.readable
    made = None if renderer is None or PROJECT in readable.broken else renderer(root, readable.project)
    guessed = {(name, line) for name, document in content.documents.items() for line in document.guessed}
    more = [
        problem
        for problem in check(readable, registry, made)
        if (problem.file, problem.line) not in guessed and not any(_echoes(problem, read) for read in problems)
    ]
    return content, list(in_order([*problems, *more]))


def notices(content: Content, renderer: Renderer) -> list[Problem]:
    """What is no problem and worth a look, by file and line."""
    return list(in_order([*check_templates.notices(content, renderer), *check_dates.early_leap_days(content)]))


def _echoes(problem: Problem, read: Problem) -> bool:
    """Whether a problem of meaning only comes of one of reading: it lies there, or where an option of it was left
    out.
    """
    if problem.file != read.file:
        return False
    option = read.path.removeprefix(problem.path + ".")
    return (problem.line, problem.col) == (read.line, read.col) or (option != read.path and "[" not in option)


def _capped(content: Content) -> list[Problem]:
    """The journeys of caps must be there."""
    document = content.documents[PROJECT]
    return [
        document.problem(
            ("caps", n, "journey"), f'there is no journey "{cap.journey}"', did_you_mean(cap.journey, content.journeys)
        )
        for n, cap in enumerate(content.project.caps)
        if cap.journey is not None
        and cap.journey not in content.journeys
        and journey_file(cap.journey) not in content.broken
    ]


def _providers(content: Content, registry: Registry) -> list[Problem]:
    """A channel's provider must be there, and its options must be its own."""
    found: list[Problem] = []
    document = content.documents[PROJECT]
    for name, provider in content.project.channels.items():
        path = ("channels", name)
        cls: Any = registry.channels.get(provider.provider)
        if cls is None:
            hint = did_you_mean(provider.provider, registry.channels)
            message = f'unknown provider "{provider.provider}"'
            found.append(document.problem((*path, "provider"), message, hint))
            continue
        carries = getattr(cls, "carries", (name,))
        if name not in carries:
            message = f"{provider.provider} can't carry {name} messages"
            found.append(document.problem((*path, "provider"), message, "it carries " + ", ".join(sorted(carries))))
        options = getattr(cls, "Options", None)
        if options is None:
            for key in provider.options:
                message = f'{provider.provider} has no option "{key}"'
                found.append(document.problem((*path, key), message, "remove it", on_key=True))
            continue
        try:
            options.model_validate(dict(provider.options), by_alias=True, by_name=False)
        except ValidationError as error:
            found.extend(in_our_words(error, document, path))
    return found
