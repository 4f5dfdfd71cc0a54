"""What a filter is, and the table they stand in: a decorator, and everything else follows.

The law: a filter is total and bounded. Something missing stays missing, so that a later `default` still finds it; what
is read is paid for before; a text that grows too long stops the message.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from jinja2 import Undefined, pass_context
from jinja2.runtime import Context

from engine.rendering.arithmetic import LONGEST
from engine.rendering.budget import Budget, TooBig
from engine.rendering.shown import plain

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Filter:
    """One filter: what runs, what it takes in brackets, and what is told of it. `example` is a template, run when the
    docs are made."""

    name: str
    run: Callable[..., Any]
    takes: inspect.Signature
    says: str
    example: str

    @property
    def usage(self) -> str:
        """`truncate(length=255, end="…")`."""
        given = [str(one.replace(annotation=inspect.Parameter.empty)) for one in self.takes.parameters.values()]
        return f"{self.name}({', '.join(given)})" if given else self.name


TABLE: dict[str, Filter] = {}


def filter_(says: str, example: str, *names: str, costs: int = 0, of_missing: bool = False) -> Callable[[F], F]:
    """Put a filter into the table under these names, the first one the chief. The function takes the context, the
    value and what stands in brackets; `costs`: work it does besides reading its value and its texts; `of_missing`: it
    is asked about what is missing, too."""

    def add(function: F) -> F:
        run = pass_context(function) if of_missing else _guarded(function, costs)
        whole = inspect.signature(function)
        takes = whole.replace(parameters=list(whole.parameters.values())[2:], return_annotation=inspect.Signature.empty)
        for name in names:
            told = says if name == names[0] else f"The same as `{names[0]}`."
            TABLE[name] = Filter(name, run, takes, told, example.replace(f"| {names[0]}", f"| {name}"))
        return function

    return add


def _guarded(function: Callable[..., Any], costs: int) -> Callable[..., Any]:
    @pass_context
    def guarded(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget = budget_of(context)
        for one in (value, *args, *kwargs.values()):
            if isinstance(one, Undefined):
                return one
            budget.read(one)
        budget.work(costs)
        result = function(context, value, *args, **kwargs)
        if isinstance(result, str) and len(result) > LONGEST:
            raise TooBig("a text")
        return context.environment.undefined(name="the result of a filter") if result is None else result

    return guarded


def budget_of(context: Context) -> Budget:
    budget = context["_budget"]
    assert isinstance(budget, Budget)
    return budget


def text_of(value: Any) -> str:
    """A text, or a number as one. TypeError for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return plain({}, value)
    raise TypeError(f"a {type(value).__name__} is not text")


def list_of(value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"a {type(value).__name__} is not a list")
    return value


def whole(value: Any) -> int:
    """A number of things to take. TypeError for a text or a fraction."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"a {type(value).__name__} is not a whole number")
    return value
