"""The functions of the language: their arguments, what they are checked against, and the nodes they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jinja2 import nodes

from engine.language import tree
from engine.language.errors import did_you_mean
from engine.language.syntax import Micros
from engine.language.tree import Typed
from engine.language.types import BOOLEAN, MONEY, NUMBER, Kind

if TYPE_CHECKING:
    from engine.language.expression import Reader


@dataclass(frozen=True)
class Call:
    """A call being read: its arguments by name, each at most once."""

    reader: Reader
    node: nodes.Call
    name: str
    arguments: Mapping[str, nodes.Expr]

    def tell(self, argument: str, message: str, hint: str | None = None) -> tree.Unread:
        """Keep a fault of an argument: the call and its other arguments are read all the same."""
        return self.reader.tell(self.reader.wrong(self.arguments.get(argument, self.node), message, hint))

    def has(self, argument: str) -> bool:
        return argument in self.arguments

    def text(self, argument: str) -> str | None:
        """A literal text: the names of events, segments, steps are known before anything runs. None, told, if it is
        none.
        """
        node = self.arguments[argument]
        if not (isinstance(node, nodes.Const) and isinstance(node.value, str)):
            self.tell(argument, f"{argument} is a name in quotes", f'like {self.name}("…")')
            return None
        return node.value

    def known(self, argument: str, names: Any, what: str) -> str:
        """A literal text that must be one of `names` (None: not checked). An empty one, told, if it isn't."""
        name = self.text(argument)
        if name is None or names is None or name in names:
            return name or ""
        self.tell(
            argument, f'unknown {what} "{name}"', did_you_mean(name, names) or (None if names else "there is none")
        )
        return ""

    @cached_property
    def event(self) -> str:
        return self.known("event", self.reader.vocabulary.events, "event")

    def flag(self, argument: str) -> bool:
        """A literal true or false; false when it isn't given."""
        if not self.has(argument):
            return False
        node = self.arguments[argument]
        if not (isinstance(node, nodes.Const) and isinstance(node.value, bool)):
            self.tell(argument, f"{argument} is true or false")
            return False
        return node.value

    def within(self) -> int | None:
        if not self.has("within"):
            return None
        node = self.arguments["within"]
        if not (isinstance(node, nodes.Const) and isinstance(node.value, Micros)):
            self.tell("within", "within is a duration", "like 30m, 12h, 90d or 2w")
            return None
        if not node.value:
            self.tell("within", "within is no time at all", "write at least 1m")
        return int(node.value)


@dataclass(frozen=True)
class Function:
    """A function: required and optional arguments in order, and what makes its node. `keyword`: only by name."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    keyword: tuple[str, ...]
    make: Callable[[Call], Typed]

    @property
    def usage(self) -> str:
        parts = [*self.required, *(f"[{name}]" for name in self.optional), *(f"[{name}=…]" for name in self.keyword)]
        return f"{self.name}({', '.join(parts)})"

    def read(self, reader: Reader, node: nodes.Call) -> Typed:
        by_place = (*self.required, *self.optional)
        if len(node.args) > len(by_place):
            extra = node.args[len(by_place)]
            hint = f"write {self.keyword[0]}=…" if self.keyword else self.usage
            reader.tell(reader.wrong(extra, f"{self.name}() takes no such argument here", hint))
        arguments: dict[str, nodes.Expr] = dict(zip(by_place, node.args, strict=False))
        for keyword in node.kwargs:
            if keyword.key not in (*by_place, *self.keyword) or keyword.key in arguments:
                fault = "is given twice" if keyword.key in arguments else "is not an argument of it"
                at = reader.source.text.rfind(keyword.key, 0, reader.source.span(keyword.value)[0])
                error = reader.wrong(node, f'{self.name}(): "{keyword.key}" {fault}', self.usage)
                error.offset = at if at >= 0 else error.offset
                reader.tell(error)
                continue
            arguments[keyword.key] = keyword.value
        if reader.counting and self.name not in ("any", "all", "count", "age", "days_until"):
            message = f"{self.name}() can't be used inside {reader.counting}()"
            raise reader.wrong(node, message, "what is inside it looks at one entry only")
        missing = [name for name in self.required if name not in arguments]
        if missing:
            reader.inside(reader.names, reader.counting, vague=True).arguments(node)
            raise reader.wrong(node, f"{self.name}() needs {' and '.join(missing)}", self.usage)
        return self.make(Call(reader, node, self.name, arguments))


FUNCTIONS: dict[str, Function] = {}


def _function(
    required: str, optional: str = "", keyword: str = "", names: str | None = None
) -> Callable[[Callable[[Call], Typed]], Callable[[Call], Typed]]:
    def add(make: Callable[[Call], Typed]) -> Callable[[Call], Typed]:
        for name in (names or make.__name__.strip("_")).split():
            FUNCTIONS[name] = Function(
                name, tuple(required.split()), tuple(optional.split()), tuple(keyword.split()), make
            )
        return make

    return add


@_function("event", keyword="within where", names="did times")
def _did(call: Call) -> Typed:
    function: Any = call.name
    return tree.Events(
        function=function,
        event=call.event,
        within=call.within(),
        where=_where_event(call),
        type=BOOLEAN if call.name == "did" else NUMBER,
    )


@_function("event property", keyword="within where")
def total(call: Call) -> Typed:
    event, within, where = call.event, call.within(), _where_event(call)
    if not event:
        return tree.Unread()
    properties = call.reader.vocabulary.events[event].properties
    name = call.known("property", properties, f"property of {event}")
    if not name:
        return tree.Unread()
    type_ = properties[name]
    if type_ not in (NUMBER, MONEY):
        summable = [known for known, t in properties.items() if t in (NUMBER, MONEY)]
        hint = f"numbers and amounts can: {', '.join(summable)}" if summable else None
        return call.tell("property", f"{name} is {type_.spoken} and can't be added up", hint)
    summed = tree.Name(scope="event", path=(name,), type=type_)
    kept = type_ == MONEY and call.reader.vocabulary.events[event].value == name
    return tree.Events(
        function="total", event=event, property=summed, kept=kept, within=within, where=where, type=type_
    )


def _where_event(call: Call) -> Typed | None:
    if not call.has("where"):
        return None
    names = replace(call.reader.names, event=call.event or None, item=None)
    return call.reader.inside(names, call.name, vague=not call.event).condition(call.arguments["where"])


@_function("event", names="first last")
def _first(call: Call) -> Typed:
    function: Any = call.name
    return tree.EventTime(function=function, event=call.event)


@_function("event")
def elapsed(call: Call) -> Typed:
    return tree.Elapsed(event=call.event)


@_function("event")
def usual_gap(call: Call) -> Typed:
    return tree.UsualGap(event=call.event)


@_function("segment")
def in_segment(call: Call) -> Typed:
    return tree.InSegment(segment=call.known("segment", call.reader.vocabulary.segments, "segment"))


@_function("channel topic")
def consented(call: Call) -> Typed:
    vocabulary = call.reader.vocabulary
    return tree.Consented(
        channel=call.known("channel", vocabulary.channels, "channel"),
        topic=call.known("topic", vocabulary.topics, "topic"),
    )


@_function("tag")
def tagged(call: Call) -> Typed:
    return tree.Tagged(tag=call.text("tag") or "")


@_function("journey")
def in_journey(call: Call) -> Typed:
    return tree.InJourney(journey=call.known("journey", call.reader.vocabulary.journeys, "journey"))


@_function("step", names="sent")
def _sent(call: Call) -> Typed:
    return tree.Messaged(function="sent", step=call.known("step", call.reader.names.sends, "send step"))


@_function("step", keyword="machines", names="opened clicked")
def _opened(call: Call) -> Typed:
    function: Any = call.name
    step = call.known("step", call.reader.names.sends, "send step")
    return tree.Messaged(function=function, step=step, machines=call.flag("machines"))


@_function("")
def points(call: Call) -> Typed:
    return tree.Points()


@_function("date")
def age(call: Call) -> Typed:
    return tree.Age(part=_date(call, birthday=False))


@_function("date")
def days_until(call: Call) -> Typed:
    return tree.DaysUntil(part=_date(call, birthday=True))


def _date(call: Call, *, birthday: bool) -> Typed:
    part = call.reader.typed(call.arguments["date"])
    if part.type.kind is Kind.BIRTHDAY:
        return part if birthday else tree.FullDate(part=part, span=part.span)
    if part.type.kind is Kind.INSTANT:
        return tree.LocalDay(part=part, span=part.span)
    if part.type.kind not in (Kind.DATE, Kind.UNREAD):
        return call.tell("date", f"{call.name}() wants a date, and this is {part.type.spoken}")
    return part


@_function("list", "where", names="any all count")
def _any(call: Call) -> Typed:
    over = call.reader.typed(call.arguments["list"])
    listed = over.type.kind is Kind.LIST and isinstance(over, tree.Name)
    if not listed and over.type.kind is not Kind.UNREAD:
        call.tell("list", f"{call.name}() wants a list, and this is {over.type.spoken}", "like entry.items")
    if not call.has("where") and call.name != "count":
        call.tell("where", f"{call.name}() needs a condition", f'like {call.name}(entry.items, item.sku == "A1")')
    where = None
    if call.has("where"):
        names = replace(call.reader.names, item=over.type if listed else None)
        where = call.reader.inside(names, call.name, vague=not listed).condition(call.arguments["where"])
    function: Any = call.name
    type_ = NUMBER if call.name == "count" else BOOLEAN
    if not isinstance(over, tree.Name):
        return tree.Unread(type=type_)
    return tree.Items(function=function, list=over, where=where, type=type_)
