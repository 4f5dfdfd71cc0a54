"""The registry: one door for built-ins and third parties."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

import engine.steps.branch
from engine.language.check import check_directory
from engine.language.content import load_journey_source
from engine.language.errors import ContentError
from engine.language.fields import DateAttribute
from engine.language.journey import StepModel, TriggerModel
from engine.language.moments import text_or
from engine.language.registry import Registry, RegistryError, step, trigger
from tests.language.support import HEAD, project, registry


@step("greet")
class Greet(StepModel):
    greet: str


@step("greet")
class OtherGreet(StepModel):
    greet: str


@step("later")
class Later(StepModel):
    available = False
    later: str


@trigger("moon", "phase")
class Moon(TriggerModel):
    moon: str | None = None
    phase: str | None = None


class Undeclared(StepModel):
    pass


THEIRS = Registry.of(Greet, Later, Moon)


def test_a_class_is_known_by_the_name_it_was_declared_with() -> None:
    assert {name: model.__name__ for name, model in THEIRS.steps.items()} == {"greet": "Greet", "later": "Later"}
    assert {name: model.__name__ for name, model in THEIRS.triggers.items()} == {"moon": "Moon"}
    assert Greet(greet="x").type == "greet"


def test_a_module_gives_the_classes_it_defines_and_not_those_it_imports() -> None:
    assert list(Registry.of(engine.steps.branch).steps) == ["branch"]


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(RegistryError, match='two classes are the step "greet"'):
        Registry.of(Greet, OtherGreet)


def test_a_class_without_a_name_is_refused() -> None:
    with pytest.raises(RegistryError, match=r"Undeclared has no @step, @trigger, @channel, @source or @returns"):
        Registry.of(Undeclared)


def test_a_third_partys_step_and_trigger_are_read_like_ours() -> None:
    journey = load_journey_source("journey: j\nenter: {phase: full}\nsteps: [{greet: hello}]\n", THEIRS)
    assert journey.steps == (Greet(greet="hello"),)
    assert journey.enter == Moon(phase="full")


def test_a_step_that_is_not_available_yet_is_refused_by_name() -> None:
    with pytest.raises(ContentError) as caught:
        load_journey_source("journey: j\nenter: {moon: full}\nsteps: [{later: x, any: y}]\n", THEIRS)
    assert [problem.message for problem in caught.value.problems] == ["later is not available yet"]


def test_every_step_of_the_program_has_its_fields_documented() -> None:
    for name, model in {**registry().steps, **registry().triggers}.items():
        assert model.__doc__ and model.__doc__.strip(), name


@dataclass(frozen=True)
class Until:
    date: DateAttribute | None = None


@step("rest")
class Rest(StepModel):
    rest: Annotated[Until, text_or(Until, lambda text: Until(date=text.removeprefix("until ")))]


def test_an_expression_inside_a_text_form_is_found_where_it_was_typed(tmp_path: Path) -> None:
    journey = HEAD + "steps:\n  - rest: until customer.tier\n  - rest: until customer.renewl\n"
    known = Registry.of(Rest, *registry().triggers.values(), *registry().channels.values())
    _, problems = check_directory(project(tmp_path, j=journey), known, None)
    assert [problem.headline for problem in problems] == [
        "workflows/j.yaml:5:17 steps[0].rest: a date is expected here, and this is a text",
        'workflows/j.yaml:6:26 steps[1].rest: unknown name "customer.renewl" (did you mean "renewal"?)',
    ]
