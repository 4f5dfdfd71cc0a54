"""The words a project may use: steps, triggers, channels and sources by name.

A built-in and a third party's come through the same door: a class with a decorator, handed to `Registry.of`. The
language imports no step; whoever puts the program together hands the registry in.

    @step("wait")
    class Wait(StepModel): ...

    registry = Registry.of(engine.steps.wait, engine.steps.send, TheirStep)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from engine.language.journey import StepModel, TriggerModel

T = TypeVar("T")

_MARK = "__karibu__"
_KINDS = ("step", "trigger", "channel", "source", "returns")


@dataclass(frozen=True)
class Declared:
    """What a decorator wrote on a class: its kind (step, trigger, channel, source, returns), its name and the other
    keys it is recognised by.
    """

    kind: str
    name: str
    keys: tuple[str, ...]


class RegistryError(Exception):
    """Two classes claim one name, or something that carries no decorator was registered: a fault of the program,
    not of the content.
    """


def step(name: str) -> Callable[[type[T]], type[T]]:
    """Declare a StepModel: the step that a mapping with the key `name` is."""
    return _declare("step", name, ())


def trigger(name: str, *also: str) -> Callable[[type[T]], type[T]]:
    """Declare a TriggerModel: the `enter:` mapping with the key `name`, or with one of the keys `also`."""
    return _declare("trigger", name, also)


def channel(name: str) -> Callable[[type[T]], type[T]]:
    """Declare a provider of messages. Its class may hold `Options`, a model of what project.yaml may say about it."""
    return _declare("channel", name, ())


def source(name: str) -> Callable[[type[T]], type[T]]:
    """Declare a source of webhooks. Its class holds `Options`, a model of what project.yaml may say about it."""
    return _declare("source", name, ())


def returns(name: str) -> Callable[[type[T]], type[T]]:
    """Declare what a provider of messages calls back about: engine/channels/returns.py says what its class does."""
    return _declare("returns", name, ())


def _declare(kind: str, name: str, also: tuple[str, ...]) -> Callable[[type[T]], type[T]]:
    def mark(cls: type[T]) -> type[T]:
        setattr(cls, _MARK, Declared(kind, name, (name, *also)))
        if kind in ("step", "trigger"):
            cls.type = name  # type: ignore[attr-defined]
        return cls

    return mark


def declared(thing: Any) -> Declared | None:
    """What this very class was declared as; a subclass inherits nothing."""
    mark = vars(thing).get(_MARK) if isinstance(thing, type) else None
    return mark if isinstance(mark, Declared) else None


@dataclass(frozen=True)
class Registry:
    """Step models, trigger models, channel, source and returns classes by name."""

    steps: Mapping[str, type[StepModel]] = field(default_factory=dict)
    triggers: Mapping[str, type[TriggerModel]] = field(default_factory=dict)
    channels: Mapping[str, type[Any]] = field(default_factory=dict)
    sources: Mapping[str, type[Any]] = field(default_factory=dict)
    returns: Mapping[str, type[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, *things: ModuleType | type[Any]) -> Registry:
        """The registry of these classes, and of the declared classes that these modules define."""
        tables: dict[str, dict[str, type[Any]]] = {kind: {} for kind in _KINDS}
        for thing in _classes(things):
            mark = declared(thing)
            if mark is None:
                raise RegistryError(
                    f"{thing.__module__}.{thing.__qualname__} has no @step, @trigger, @channel, @source or @returns"
                )
            there = tables[mark.kind].setdefault(mark.name, thing)
            if there is not thing:
                raise RegistryError(
                    f'two classes are the {mark.kind} "{mark.name}": '
                    f"{there.__module__}.{there.__qualname__} and {thing.__module__}.{thing.__qualname__}"
                )
        return cls(*(MappingProxyType(dict(sorted(tables[kind].items()))) for kind in _KINDS))

    def trigger_keys(self) -> dict[str, type[TriggerModel]]:
        """Every key that names a trigger in `enter:`."""
        return {key: model for model in self.triggers.values() for key in _keys(model)}


def _keys(model: type[Any]) -> tuple[str, ...]:
    mark = declared(model)
    return mark.keys if mark else ()


def _classes(things: Iterable[ModuleType | type[Any]]) -> Iterator[type[Any]]:
    for thing in things:
        if isinstance(thing, ModuleType):
            yield from (c for c in vars(thing).values() if declared(c) and c.__module__ == thing.__name__)
        else:
            yield thing
