"""What project.yaml says of its sources: the kinds must be there, their options their own, the names the project's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from engine.language.content import PROJECT, Content
from engine.language.errors import Path, Problem, did_you_mean
from engine.language.fields import Refers, marked
from engine.language.registry import Registry
from engine.language.words import in_our_words

IGNORE = "ignore"
"""Written instead of an event's name: this topic is no event."""


def problems(content: Content, registry: Registry) -> Iterator[Problem]:
    """Every problem of `sources:`."""
    document = content.documents[PROJECT]
    for name, connected in content.project.sources.items():
        path: Path = ("sources", name)
        kind = connected.source or name
        cls: Any = registry.sources.get(kind)
        if cls is None:
            message, hint = f'there is no source "{kind}"', did_you_mean(kind, registry.sources)
            if connected.source is None:
                yield document.problem(path, message, hint, on_key=True)
            else:
                yield document.problem((*path, "source"), message, hint)
            continue
        try:
            options = cls.Options.model_validate(dict(connected.options), by_alias=True, by_name=False)
        except ValidationError as error:
            yield from in_our_words(error, document, path)
            continue
        yield from _topics(content, cls, kind, options, path)
        yield from _names(content, options, path)


def _topics(content: Content, cls: Any, kind: str, options: Any, path: Path) -> Iterator[Problem]:
    document, events = content.documents[PROJECT], content.project.events
    for topic, event in options.events.items():
        here = (*path, "events", topic)
        if cls.topics is not None and topic not in cls.topics:
            message = f'{kind} has no topic "{topic}"'
            yield document.problem(here, message, did_you_mean(topic, cls.topics), on_key=True)
        if event != IGNORE and event not in events:
            yield document.problem(here, f'unknown event "{event}"', did_you_mean(event, {*events, IGNORE}))


def _names(content: Content, options: Any, path: Path) -> Iterator[Problem]:
    document, project = content.documents[PROJECT], content.project
    for marker, known in ((Refers("topic"), project.topics), (Refers("event"), project.events)):
        for found in marked(options):
            if found.marker == marker and found.text not in known:
                hint = did_you_mean(found.text, known)
                yield document.problem((*path, *found.path), f'unknown {marker.to} "{found.text}"', hint)
