"""Steps and triggers with faults, as the lint takes them: nothing is said against what could not be read, and all that
could be is linted: the expressions and names in it, and the steps in its arms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import PlainValidator, TypeAdapter, ValidationError, ValidationInfo

from engine.language.errors import Path, dotted
from engine.language.fields import Partly
from engine.language.journey import ArmOf, Block, ExitRule, GivenUp, Goal, StepModel, TriggerModel
from engine.language.naming import first_named
from engine.language.registry import Registry


class Unread(Partly, StepModel):
    """Stands for a step with faults. `blocks` are the lists of steps that stand somewhere in it."""

    blocks: tuple[ArmOf, ...] = ()

    @property
    def type(self) -> str:  # type: ignore[override]
        return self.of.type if self.of is not None and issubclass(self.of, StepModel) else "step"

    def arms(self) -> tuple[ArmOf, ...]:
        # It may be anything, so what follows it can always be reached.
        return (*self.blocks, ArmOf("…", (), ())) if self.blocks else ()

    def may_pass_at_once(self) -> bool:
        return False


class UnreadTrigger(Partly, TriggerModel):
    """Stands for an `enter:` with faults."""

    @classmethod
    def of_plain(cls, given: Any, registry: Registry) -> UnreadTrigger:
        given = given if isinstance(given, Mapping) else {}
        known = registry.trigger_keys()
        of = first_named({key: known[key] for key in given if key in known})
        return cls(of=of or TriggerModel, given=given)

    def entry_event(self) -> str:
        return "?"


class UnreadExit(Partly, ExitRule):
    """Stands for a rule of `exit:` with faults."""

    @classmethod
    def of_plain(cls, given: Any) -> UnreadExit:
        return cls(of=ExitRule, given=given if isinstance(given, Mapping) else {}, event="unread")


class UnreadGoal(Partly, Goal):
    """Stands for a `goal:` with faults."""

    @classmethod
    def of_plain(cls, given: Any) -> UnreadGoal:
        return cls(of=Goal, given=given, event="unread", within=timedelta(days=1))


class Faulty(GivenUp):
    """The mapping of a step with faults. Its keys stay where they are: positions are told by them."""

    def read(self, registry: Registry) -> Unread:
        rest = _MAPPING.validate_python({key: value for key, value in self.items() if key != "id"}, context=registry)
        of = next((registry.steps[key] for key in self if key in registry.steps), None)
        given: dict[str, Any] = {"of": of, "given": dict(self), "blocks": tuple(_blocks(rest, ()))}
        try:
            return Unread(**given, id=self.get("id"))
        except ValidationError:  # the id is at fault too
            return Unread(**given)


def _rest(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, Mapping):
        return _MAPPING.validate_python(value, context=info.context)
    if isinstance(value, list):
        steps = isinstance(info.context, Registry) and any(_is_step(item, info.context) for item in value)
        return (_STEPS if steps else _LIST).validate_python(value, context=info.context)
    return value


_Rest = Annotated[Any, PlainValidator(_rest)]
# Read under their keys and indexes, so that problems inside carry them.
_MAPPING: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, _Rest])
_LIST: TypeAdapter[list[Any]] = TypeAdapter(list[_Rest])
_STEPS: TypeAdapter[tuple[StepModel, ...]] = TypeAdapter(Block)


def holds_steps(value: Any, registry: Registry) -> bool:
    """Whether steps stand somewhere in this plain data."""
    if isinstance(value, Mapping):
        return any(holds_steps(inner, registry) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(_is_step(item, registry) or holds_steps(item, registry) for item in value)
    return False


def _is_step(value: Any, registry: Registry) -> bool:
    if isinstance(value, StepModel | GivenUp):
        return True
    return isinstance(value, Mapping) and any(key in registry.steps for key in value)


def _blocks(rest: Any, path: Path) -> Iterator[ArmOf]:
    if isinstance(rest, tuple):
        yield ArmOf(dotted(path), rest, path)
    elif isinstance(rest, Mapping):
        for key, inner in rest.items():
            yield from _blocks(inner, (*path, key))
    elif isinstance(rest, list):
        for n, inner in enumerate(rest):
            yield from _blocks(inner, (*path, n))
