"""Reads a project directory as a whole, and tells everything that is wrong with any of its files at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path as File
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from engine.language.errors import ContentError, Problem, in_order
from engine.language.graph import Graph
from engine.language.journey import Journey
from engine.language.project import Brand, Project, Segment, Segments
from engine.language.registry import Registry
from engine.language.salvage import Salvaged, salvage
from engine.language.salvage_project import SalvagedProject, salvage_project
from engine.language.scenario import Scenario, Scenarios
from engine.language.vocabulary import Vocabulary
from engine.language.words import read_model
from engine.language.yaml import Document, read

WORKFLOWS = "workflows"
PROJECT = f"{WORKFLOWS}/project.yaml"
SEGMENTS = f"{WORKFLOWS}/segments.yaml"


@dataclass(frozen=True)
class Content:
    """A project as read. `documents` are by file (`workflows/welcome.yaml`); `sources` are the journeys' texts by name.

    `broken` names files that could not be read: what they would have declared is unknown, so nothing is said of it.
    `salvaged` is what could be read of faulty journeys, `rest` of a faulty project.yaml, and
    `other_segments` of a faulty segments.yaml, for the lint alone.
    """

    root: File
    project: Project
    segments: Segments
    journeys: Mapping[str, Journey]
    scenarios: Mapping[str, tuple[Scenario, ...]]
    documents: Mapping[str, Document]
    broken: frozenset[str] = frozenset()
    salvaged: Mapping[str, Salvaged] = field(default_factory=dict)
    rest: SalvagedProject | None = None
    other_segments: Segments | None = None

    @cached_property
    def readable(self) -> Content:
        """The content with what could be read of project.yaml and segments.yaml in their places."""
        found = self
        if self.rest is not None:
            found = replace(found, project=self.rest.project, broken=found.broken - {PROJECT})
        if self.other_segments is not None:
            found = replace(found, segments=self.other_segments, broken=found.broken - {SEGMENTS})
        return found

    @cached_property
    def sources(self) -> Mapping[str, str]:
        return MappingProxyType({name: self.documents[journey_file(name)].text for name in self.journeys})

    @cached_property
    def graphs(self) -> Mapping[str, Graph]:
        return MappingProxyType({name: Graph.of(journey) for name, journey in self.journeys.items()})

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What expressions may name. Names that a broken file would have declared are not checked."""
        written = {name_of(file) for file in self.documents if is_journey(file)}
        segments = None if SEGMENTS in self.broken else tuple(self.segments)
        return Vocabulary.of(self.project, segments, written)


def _other_segments(document: Document, registry: Registry) -> Segments | None:
    """The segments that can be read, and of the others that they are there."""
    data: Any = document.data
    if not isinstance(data, dict):
        return None
    found = {}
    for name, value in data.items():
        try:
            found[name] = Segment.model_validate(value, context=registry, by_alias=True, by_name=False)
        except ValidationError:
            found[name] = Segment(when="customer.id is set")
    return Segments.model_construct(root=found)


def load(root: File, registry: Registry) -> Content:
    """The content of a project directory. Raises ContentError with every problem of every file."""
    content, problems = survey(root, registry)
    if problems:
        raise ContentError(problems)
    return content


def survey(root: File, registry: Registry) -> tuple[Content, tuple[Problem, ...]]:
    """What can be read of a project directory, and what is wrong with the rest: `check` goes on with the readable
    part.
    """
    problems: list[Problem] = []
    documents: dict[str, Document] = {}
    for file in sorted((root / WORKFLOWS).glob("*")) if (root / WORKFLOWS).is_dir() else ():
        name = f"{WORKFLOWS}/{file.name}"
        if file.suffix == ".yml":
            problems.append(Problem(name, 0, 0, "", "this file is not read", f"name it {file.stem}.yaml"))
        elif file.is_dir() and any(file.glob("**/*.y*ml")):
            problems.append(Problem(name, 0, 0, "", "a directory in here is not read", "put its files into workflows"))
        elif file.suffix == ".yaml" and file.is_file():
            documents[name] = document = _read(file, name)
            problems.extend(document.problems)
    broken = {file for file, document in documents.items() if document.root is None and document.problems}

    project = _model(Project, PROJECT, documents, registry, problems, broken)
    if PROJECT not in documents:
        problems.append(Problem(PROJECT, 0, 0, "", "there is no such file", "karibu init writes a project"))
    rest = salvage_project(documents[PROJECT], registry) if project is None and PROJECT in documents else None
    segments = (
        _model(Segments, SEGMENTS, documents, registry, problems, broken) if SEGMENTS in documents else Segments()
    )
    journeys: dict[str, Journey] = {}
    scenarios: dict[str, tuple[Scenario, ...]] = {}
    salvaged: dict[str, Salvaged] = {}
    for name, document in documents.items():
        if is_journey(name):
            journey = _model(Journey, name, documents, registry, problems, broken)
            if journey is not None:
                journeys[name_of(name)] = journey
                problems.extend(_misnamed(journey, name, document))
            elif (part := salvage(document, registry, name_of(name))) is not None:
                salvaged[name_of(name)] = part
        elif name.endswith(".test.yaml"):
            stories = _model(Scenarios, name, documents, registry, problems, broken)
            scenarios[name_of(name)] = stories.root if stories is not None else ()
            if journey_file(name_of(name)) not in documents:
                problems.append(document.problem((), f'there is no journey "{name_of(name)}" for these scenarios'))
    content = Content(
        root,
        project or _NO_PROJECT,
        segments or Segments(),
        MappingProxyType(journeys),
        MappingProxyType(scenarios),
        MappingProxyType(documents),
        frozenset(broken),
        MappingProxyType(salvaged),
        rest,
        _other_segments(documents[SEGMENTS], registry) if segments is None else None,
    )
    return content, in_order(problems)


def load_journey_source(text: str, registry: Registry, file: str = "the published journey") -> Journey:
    """A journey from the text that was published. Raises ContentError if this program can't read it any more."""
    document = read(text, file)
    problems = list(document.problems)
    journey = read_model(Journey, document, registry, problems)
    if journey is None or problems:
        raise ContentError(problems)
    return journey


def is_journey(file: str) -> bool:
    """Whether a file of workflows/ holds a journey."""
    return file not in (PROJECT, SEGMENTS) and not file.endswith(".test.yaml")


def name_of(file: str) -> str:
    """`workflows/welcome.yaml` and `workflows/welcome.test.yaml` as `welcome`."""
    return file.removeprefix(f"{WORKFLOWS}/").removesuffix(".yaml").removesuffix(".test")


def journey_file(name: str) -> str:
    """`welcome` as `workflows/welcome.yaml`."""
    return f"{WORKFLOWS}/{name}.yaml"


_NO_PROJECT = Project(brand=Brand(name="?", timezone="UTC", locale="en", currency="EUR"))


def _read(file: File, name: str) -> Document:
    try:
        return read(file.read_bytes(), name)
    except OSError as error:
        return Document(name, "", None, (Problem(name, 0, 0, "", f"the file can't be opened: {error.strerror}"),))


def _model(
    model: type[Any],
    file: str,
    documents: Mapping[str, Document],
    registry: Registry,
    problems: list[Problem],
    broken: set[str],
) -> Any:
    """The model of a file; None, its problems told and the file marked broken, if it can't be had."""
    found = read_model(model, documents[file], registry, problems) if file in documents else None
    if found is None:
        broken.add(file)
    return found


def _misnamed(journey: Journey, file: str, document: Document) -> list[Problem]:
    if journey.journey == name_of(file):
        return []
    return [
        document.problem(
            ("journey",),
            f'the journey is called "{journey.journey}" and its file {name_of(file)}.yaml',
            "a journey is named like its file; change one of them",
        )
    ]
