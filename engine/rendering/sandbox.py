"""The Jinja2 that templates run in: a list of what is allowed, everything else refused when the template is read.

The law of this file: nothing is reachable that isn't listed. Nodes, filters, tests and loop attributes are
allow-lists; there are no globals, no methods, no attributes of Python objects; operators work on numbers and money
only; a loop is counted before its first turn.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NoReturn

from jinja2 import StrictUndefined, Undefined, nodes, pass_context
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from markupsafe import Markup

from engine.language.types import Money
from engine.rendering.arithmetic import LONGEST, arithmetic
from engine.rendering.budget import TooBig
from engine.rendering.filters import FILTERS
from engine.rendering.shown import plain
from engine.rendering.values import Amount

UNITS: Mapping[str, timedelta] = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
LOOP = frozenset({"index", "index0", "first", "last", "length", "revindex", "revindex0"})
ALLOWED: frozenset[type[nodes.Node]] = frozenset(
    {
        nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem,
        nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Add, nodes.Sub,
        nodes.Mul, nodes.Div, nodes.Neg, nodes.Pos, nodes.CondExpr, nodes.If, nodes.For, nodes.Assign, nodes.List,
        nodes.Tuple, nodes.Concat, nodes.Call, nodes.Keyword,
    }
)  # fmt: skip


class Missing(StrictUndefined):
    """A value the customer or the event doesn't have.

    As in conditions it is false, unequal to everything, and spreads through arithmetic; shown, it stops the message.
    A name that nobody handed in (a root) is no missing value but a fault and stops at any touch.
    """

    __slots__ = ()

    def _root(self) -> bool:
        return self._undefined_obj is missing

    def __bool__(self) -> bool:  # type: ignore[override]
        return self._fail_with_undefined_error() if self._root() else False

    def __eq__(self, other: object) -> bool:  # type: ignore[override]
        return self._fail_with_undefined_error() if self._root() else False

    def __ne__(self, other: object) -> bool:  # type: ignore[override]
        return self._fail_with_undefined_error() if self._root() else True

    def __contains__(self, item: object) -> bool:  # type: ignore[override]
        return self._fail_with_undefined_error() if self._root() else False

    __lt__ = __le__ = __gt__ = __ge__ = __eq__  # type: ignore[assignment]

    def __hash__(self) -> int:  # type: ignore[override]
        return id(type(self))


class Durations(Extension):
    """Reads `90d` as a duration: the lexer sees a number and a name, which is never right otherwise."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        held: Token | None = None
        for token in stream:
            if held is not None:
                if token.type == "name" and token.value in UNITS and held.lineno == token.lineno:
                    yield Token(held.lineno, "name", "_duration")
                    yield Token(held.lineno, "lparen", "(")
                    yield Token(held.lineno, "string", f"{held.value}{token.value}")
                    yield Token(held.lineno, "rparen", ")")
                    held = None
                    continue
                yield held
                held = None
            if token.type == "integer":
                held = token
            else:
                yield token
        if held is not None:
            yield held


def duration(text: str) -> timedelta:
    """`90d` as a timedelta."""
    return int(text[:-1]) * UNITS[text[-1]]


@pass_context
def _loop(context: Context, value: Any, body: int, parts: int) -> Any:
    if isinstance(value, Undefined):
        return ()
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"a {type(value).__name__} can't be looped over")
    context["_budget"].loop(len(value), body, parts)
    return value


@pass_context
def _concat(context: Context, parts: list[Any]) -> Any:
    for part in parts:
        if isinstance(part, Undefined):
            return part
    text = "".join(plain(context, part) for part in parts)
    context["_budget"].work(len(text))
    if len(text) > LONGEST:
        raise TooBig("a text")
    return text


@pass_context
def _compare(context: Context, left: Any, operator_: str, right: Any) -> bool:
    """A comparison, paid for: of long texts and lists it takes its time."""
    budget = context["_budget"]
    budget.read(left)
    budget.read(right)
    return bool(_COMPARISONS[operator_](left, right))


@pass_context
def _shown(context: Context, value: Any) -> Any:
    """Every value on its way into the message."""
    if isinstance(value, Undefined):
        return value
    text = value if isinstance(value, Markup) else plain(context, value)
    context["_budget"].write(len(text))
    return text


@pass_context
def _shown_plain(context: Context, value: Any) -> Any:
    if isinstance(value, Undefined):
        return value
    text = str(value) if isinstance(value, str) else plain(context, value)
    context["_budget"].write(len(text))
    return text


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment; one with autoescape for HTML, one without for text."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    intercepted_unops = frozenset({"+", "-"})

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(
            autoescape=autoescape,
            undefined=Missing,
            optimized=False,
            extensions=[Durations],
            finalize=_shown if autoescape else _shown_plain,
            cache_size=0,
        )
        self.globals = {}
        self.filters = {name: one.run for name, one in FILTERS.items()}
        self.filters |= {"_compare": _compare, "_loop": _loop, "_concat": _concat, "_duration": duration}
        self.tests = {"set": _is_set, "in": _is_in}

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext):
            if attribute in LOOP:
                return getattr(obj, attribute)
            raise TypeError(f"a loop has no {attribute}")
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Missing):
            return obj if not obj._root() else obj._fail_with_undefined_error()
        found: Any = None
        if isinstance(obj, dict) and isinstance(argument, str):
            found = obj.get(argument)
        elif isinstance(obj, (list, tuple)) and isinstance(argument, int):
            found = obj[argument] if -len(obj) <= argument < len(obj) else None
        elif not isinstance(obj, (dict, list, tuple)):
            raise TypeError(f"a {type(obj).__name__} has no parts")
        if found is None:
            return Missing(obj=obj, name=str(argument))
        return Amount(found.minor, found.currency) if type(found) is Money else found

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("nothing can be called here")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        for side in (left, right):
            if isinstance(side, Undefined):
                return side
        context["_budget"].read(left)
        result = arithmetic(operator, left, right)
        return Missing(obj=None, name="the result of a calculation") if result is None else result

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        return arg if operator == "+" else self.call_binop(context, "*", arg, -1)


def _is_set(value: Any) -> bool:
    if isinstance(value, Missing) and value._root():
        value._fail_with_undefined_error()
    return not isinstance(value, Undefined) and value is not None


def _is_in(value: Any, container: Any) -> bool:
    return isinstance(container, (list, tuple, str)) and value in container


_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "lteq": operator.le, "gt": operator.gt,
    "gteq": operator.ge, "in": lambda a, b: a in b, "notin": lambda a, b: a not in b,
}  # fmt: skip
