"""The expression language: text → a typed, frozen tree.

Jinja2's parser reads the text; this file knows what of it belongs to the language, gives every node its type, and
refuses the rest with the place and a hint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from jinja2 import nodes

from engine.language import nesting, tree
from engine.language.errors import Wrong, did_you_mean
from engine.language.functions import FUNCTIONS
from engine.language.moments import parse_date
from engine.language.references import explain, referenced
from engine.language.syntax import ExpressionError, Micros, Source
from engine.language.tree import Typed
from engine.language.types import BOOLEAN, DATE, DURATION, INSTANT, MONEY, NUMBER, TEXT, UNREAD, Kind, Type, result_of
from engine.language.vocabulary import Names, Vocabulary

__all__ = [
    "ExpressionError",
    "Names",
    "Typed",
    "Vocabulary",
    "examine",
    "explain",
    "parse",
    "parse_condition",
    "referenced",
]

DAY = 86_400_000_000

_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "lteq": "<=", "gt": ">", "gteq": ">=", "in": "in", "notin": "not in"}
_ARITHMETIC: Mapping[type[nodes.Expr], Any] = {nodes.Add: "+", nodes.Sub: "-", nodes.Mul: "*", nodes.Div: "/"}
_ORDERED = (Kind.TEXT, Kind.NUMBER, Kind.DATE, Kind.INSTANT, Kind.DURATION, Kind.MONEY)
_REFUSED: Mapping[type[nodes.Expr], tuple[str, str | None]] = {
    nodes.Filter: (
        "filters can't be used in an expression",
        "compare the value as it is kept",
    ),
    nodes.Concat: ("texts can't be put together in an expression", "compare each of them by itself"),
    nodes.CondExpr: ("if … else can't be used in an expression", "use a branch"),
    nodes.Getitem: ("square brackets can't follow a value", "use any(…), all(…) or count(…) over a list"),
    nodes.Dict: ("a mapping can't be used in an expression", "one expression is expected, without braces"),
    nodes.Tuple: ("a comma can't stand here", "write a list in square brackets"),
    nodes.List: ("a list can only follow in or not in", 'like customer.country in ["KE", "TZ"]'),
    nodes.FloorDiv: ('"//" can\'t be used in an expression', 'use "/"'),
    nodes.Mod: ('"%" can\'t be used in an expression', "only + - * / can"),
    nodes.Pow: ('"**" can\'t be used in an expression', "only + - * / can"),
    nodes.Pos: ('"+" can\'t stand before a value', "leave it out"),
}


def parse(text: str, names: Names, vocabulary: Vocabulary) -> Typed:
    """The typed tree of an expression. Raises ExpressionError: message, offset into the text, hint."""
    return _sound(examine(text, names, vocabulary))


def parse_condition(text: str, names: Names, vocabulary: Vocabulary) -> Typed:
    """Like parse, for a place that wants true or false."""
    return _sound(examine(text, names, vocabulary, condition=True))


@dataclass(frozen=True)
class Examined:
    """The tree of an expression as far as it could be read, and all its faults in the order of the text."""

    typed: Typed
    faults: tuple[ExpressionError, ...]


def examine(text: str, names: Names, vocabulary: Vocabulary, *, condition: bool = False) -> Examined:
    """Read an expression and find everything that is wrong with it."""
    try:
        source = Source(text)
    except ExpressionError as unreadable:
        return Examined(tree.Unread(), (unreadable,))
    reader = Reader(source, names, vocabulary)
    typed = reader.typed(source.root)
    if not reader.faults and nesting.depth(typed) > nesting.DEEPEST:
        hint = "make a segment of a part of it, and ask in_segment(…)"
        reader.faults.append(ExpressionError("this expression is nested too deeply", typed.span[0], hint))
    if condition and typed.type not in (BOOLEAN, UNREAD):
        message = f"a condition is expected here, and this is {typed.type.spoken}"
        reader.faults.append(ExpressionError(message, typed.span[0], "compare it with something"))
    return Examined(typed, tuple(sorted(reader.faults, key=lambda fault: fault.offset)))


def _sound(examined: Examined) -> Typed:
    if examined.faults:
        raise examined.faults[0]
    return examined.typed


class _Echo(ExpressionError):
    """A fault that only comes of another one."""


class Reader:
    """Gives the nodes of one text their types, and keeps their faults: a faulty node is Unread, and the others are read
    all the same.

    `counting`: the function in whose `where` it reads; `vague`: what `event` and `item` are can't be told here.
    """

    def __init__(
        self,
        source: Source,
        names: Names,
        vocabulary: Vocabulary,
        counting: str | None = None,
        faults: list[ExpressionError] | None = None,
        *,
        vague: bool = False,
    ) -> None:
        self.source = source
        self.names = names
        self.vocabulary = vocabulary
        self.counting = counting
        self.faults = [] if faults is None else faults
        self.vague = vague

    def inside(self, names: Names, counting: str | None, *, vague: bool = False) -> Reader:
        return Reader(self.source, names, self.vocabulary, counting, self.faults, vague=vague or self.vague)

    def wrong(self, node: nodes.Node, message: str, hint: str | None = None) -> ExpressionError:
        return ExpressionError(message, self.source.span(node)[0], hint)

    def tell(self, fault: ExpressionError) -> tree.Unread:
        """Keep a fault and go on."""
        if not isinstance(fault, _Echo):
            self.faults.append(fault)
        return tree.Unread()

    def typed(self, node: nodes.Expr) -> Typed:
        """The typed tree of this node, with its span; Unread, its fault told, if it has one."""
        reader = _READERS.get(type(node), Reader.refused)
        try:
            typed = reader(self, node)
        except ExpressionError as fault:
            typed = self.tell(fault)
        return replace(typed, span=self.source.span(node))

    def condition(self, node: nodes.Expr) -> Typed:
        typed = self.typed(node)
        if typed.type in (BOOLEAN, UNREAD):
            return typed
        message = f"true or false is expected here, and this is {typed.type.spoken}"
        return self.tell(self.wrong(node, message, _compare_hint(typed)))

    def refused(self, node: nodes.Expr) -> Typed:
        """What the language doesn't have; its parts may have faults of their own."""
        self.parts(node)
        message, hint = _REFUSED.get(type(node), ("this can't be used in an expression", None))
        raise ExpressionError(message, self._offset(node), hint)

    def parts(self, node: nodes.Node) -> None:
        """Look for faults in the parts of a node that has one itself."""
        for part in node.iter_child_nodes():
            if isinstance(node, nodes.Getitem) and isinstance(part, nodes.Name):
                continue  # of customer["tier"] enough is said
            if isinstance(part, nodes.Expr):
                self.typed(part)
            else:
                self.parts(part)

    def _offset(self, node: nodes.Expr) -> int:
        start, end = self.source.span(node)
        if isinstance(node, nodes.Filter | nodes.Getitem):
            return self.source.text.find("|" if isinstance(node, nodes.Filter) else "[", self._end(node.node), end)
        return start

    def _end(self, node: nodes.Node | None) -> int:
        return self.source.span(node)[1] if node is not None else 0

    # Values

    def const(self, node: nodes.Const) -> Typed:
        value = node.value
        if isinstance(value, bool):
            return tree.Literal(value=value, type=BOOLEAN)
        if isinstance(value, Micros):
            return tree.Literal(value=int(value), type=DURATION)
        if isinstance(value, float):
            return tree.Literal(value=value, type=NUMBER)
        if isinstance(value, str):
            return tree.Literal(value=value, type=TEXT)
        raise self.wrong(node, "there is no none", "write: is set, or: is not set")

    def name(self, node: nodes.Name) -> Typed:
        name = node.name
        if name == "now":
            return tree.Now()
        if name in ("customer", "entry", "event") or (name == self.names.item_as and self.names.item):
            raise self.wrong(node, f'"{name}" is not a value', f"write {name}. and one of its names")
        if name in FUNCTIONS:
            raise self.wrong(node, f'"{name}" is a function', f"write {name}(…)")
        known = self._roots()
        if name in known:
            raise self.wrong(node, f'"{name}" is not a value', f"write {name}. and one of its names")
        near = did_you_mean(name, known) or ""
        hint = near if near.startswith("did") else f'write "{name}" in quotes if it is a text'
        raise self.wrong(node, f'unknown name "{name}"', hint)

    def getattr(self, node: nodes.Getattr) -> Typed:
        path: list[tuple[str, nodes.Getattr]] = []
        inner: nodes.Expr = node
        while isinstance(inner, nodes.Getattr):
            path.insert(0, (inner.attr, inner))
            inner = inner.node
        if not isinstance(inner, nodes.Name):
            self.typed(inner)
            raise ExpressionError("only names have parts", self._end(inner), "write customer.x, entry.x, event.x")
        if inner.name == "coupon":
            return self._coupon(node, path)
        scope, step, fields, owner = self._scope(inner)
        type_: Type | None = None
        for depth, (attr, part) in enumerate(path):
            if depth:
                assert type_ is not None
                if type_.kind is Kind.LIST:
                    raise self._at(part, f"{owner} is a list", f"use any({owner}, item.{attr} …), all(…) or count(…)")
                if type_.kind is not Kind.OBJECT:
                    raise self._at(part, f"{owner} is {type_.spoken} and has no parts", None)
                fields = dict(type_.fields)
            type_ = fields.get(attr)
            if type_ is None:
                raise self._at(part, f'unknown name "{owner}.{attr}"', did_you_mean(attr, fields))
            owner = f"{owner}.{attr}"
        assert type_ is not None
        name = inner.name if scope == "saved" else None
        return tree.Name(scope=scope, step=step, name=name, path=tuple(attr for attr, _ in path), type=type_)

    def _coupon(self, node: nodes.Getattr, path: list[tuple[str, nodes.Getattr]]) -> Typed:
        if not self.names.coupons:
            raise self.wrong(node, 'there is no "coupon" here', "a step coupon: POOL comes first")
        attr, part = path[0]
        known: Mapping[str, Type] = {"code": TEXT, "expires": INSTANT}
        if attr not in known:
            raise self._at(part, f'unknown name "coupon.{attr}"', did_you_mean(attr, known))
        if len(path) > 1:
            raise self._at(path[1][1], f"coupon.{attr} is {known[attr].spoken} and has no parts", None)
        return tree.Coupon(part="code" if attr == "code" else "expires", type=known[attr])

    def _at(self, node: nodes.Getattr, message: str, hint: str | None) -> ExpressionError:
        """At the attribute itself, not at the start of its path."""
        return ExpressionError(message, self.source.span(node)[1] - len(node.attr), hint)

    def _roots(self) -> list[str]:
        names = self.names
        words = [("entry", names.entry), ("event", names.event), (names.item_as, names.item), ("coupon", names.coupons)]
        here = [word for word, there in words if there]
        return ["customer", "now", *here, *names.results, *names.saved]

    def _scope(self, node: nodes.Name) -> tuple[tree.Scope, str | None, Mapping[str, Type], str]:
        name, names = node.name, self.names
        if name == "customer":
            return "customer", None, self.vocabulary.customer, name
        if name == "event" and names.event is not None:
            return "event", None, self.properties(names.event, node), name
        if name == "entry" and names.entry is not None:
            return "entry", None, self.properties(names.entry, node), name
        if name == names.item_as and names.item is not None:
            return "item", None, dict(names.item.fields), name
        if name in names.results:
            return "result", name, self.properties(names.results[name], node), name
        if name in names.saved:
            step, type_ = names.saved[name]
            return "saved", step, dict(type_.fields), name
        why = {
            "entry": "nobody was let in by an event here",
            "event": "no event is being judged here",
            "item": "it stands for an entry of a list, inside any, all and count",
        }.get(name)
        if why:
            if self.vague and name != "entry":
                raise _Echo(name, 0)
            raise self.wrong(node, f'there is no "{name}" here', why)
        raise self.wrong(node, f'unknown name "{name}"', did_you_mean(name, self._roots()))

    def properties(self, event: str, node: nodes.Node) -> Mapping[str, Type]:
        """The properties of an event, which must be one of the project's."""
        known = self.vocabulary.events.get(event)
        if known is None:
            raise self.wrong(node, f'unknown event "{event}"', did_you_mean(event, self.vocabulary.events))
        return known.properties

    # Logic

    def and_(self, node: nodes.And) -> Typed:
        return tree.And(parts=tuple(map(self.condition, _chain(node, nodes.And))))

    def or_(self, node: nodes.Or) -> Typed:
        return tree.Or(parts=tuple(map(self.condition, _chain(node, nodes.Or))))

    def not_(self, node: nodes.Not) -> Typed:
        return tree.Not(part=self.condition(node.node))

    def test(self, node: nodes.Test) -> Typed:
        part = self.typed(node.node)
        if node.name != "set" or node.args or node.kwargs:
            hint = (
                "write: is set, or: is not set"
                if node.name in ("none", "null", "defined", "undefined", "empty")
                else None
            )
            raise ExpressionError(
                f'"is {node.name}" can\'t be used in an expression',
                node.lineno,
                hint or ("compare with ==" if node.name != "set" else None),
            )
        return tree.IsSet(part=part)

    def compare(self, node: nodes.Compare) -> Typed:
        if len(node.ops) > 1:
            self.parts(node)
            raise self.wrong(node.ops[1].expr, "one comparison at a time", "write a < b and b < c")
        op, right_node = _COMPARE[node.ops[0].op], node.ops[0].expr
        left = self.typed(node.expr)
        if op in ("in", "not in"):
            return self._one_of(node, left, right_node, op)
        right = self.typed(right_node)
        left, right = self.alike(node, left, right)
        if UNREAD in (left.type, right.type):
            return tree.Unread(type=BOOLEAN)
        self._varies(node, left, right)
        if op in ("<", "<=", ">", ">=") and left.type.kind not in _ORDERED:
            raise self.wrong(node, f"{left.type.spoken} is not more or less than another", 'use "==" or "!="')
        if op == "!=":
            return tree.Not(part=tree.Compare(op="==", left=left, right=right, span=self.source.span(node)))
        return tree.Compare(op=op, left=left, right=right)  # type: ignore[arg-type]

    def _one_of(self, node: nodes.Compare, left: Typed, right: nodes.Expr, op: str) -> Typed:
        if not isinstance(right, nodes.List):
            self.typed(right) if type(right) in _READERS else self.parts(right)
            raise self.wrong(right, 'a list is expected after "in"', 'write it in square brackets: ["KE", "TZ"]')
        options = [self.typed(item) for item in right.items]
        self._varies(node, left)
        if not right.items:
            raise self.wrong(right, "an empty list holds nothing", 'write what may be, like ["KE", "TZ"]')
        pairs = [self._pair(item, left, option) for item, option in zip(right.items, options, strict=True)]
        span = self.source.span(node)
        if all(pair[0] == pairs[0][0] for pair in pairs):
            found: Typed = tree.OneOf(part=pairs[0][0], options=tuple(option for _, option in pairs), span=span)
        else:
            found = tree.Or(parts=tuple(tree.Compare(op="==", left=a, right=b, span=span) for a, b in pairs), span=span)
        return tree.Not(part=found) if op == "not in" else found

    def _pair(self, item: nodes.Expr, left: Typed, option: Typed) -> tuple[Typed, Typed]:
        try:
            return self.alike(item, left, option)
        except ExpressionError as fault:
            return left, self.tell(fault)

    def _varies(self, node: nodes.Expr, *sides: Typed) -> None:
        if all(isinstance(side, tree.Literal) for side in sides):
            raise self.wrong(
                node,
                "this compares written values and is the same for everybody",
                "compare what varies, like customer.country",
            )

    def alike(self, node: nodes.Expr, left: Typed, right: Typed) -> tuple[Typed, Typed]:
        """Both sides of a comparison as one kind, or refused."""
        a, b = left.type.kind, right.type.kind
        if Kind.UNREAD in (a, b):
            return left, right
        if {a, b} == {Kind.MONEY, Kind.NUMBER}:
            left, right = self.money(left), self.money(right)
        elif Kind.BIRTHDAY in (a, b) and a != b:
            left, right = _full_date(left), _full_date(right)
            return self.alike(node, left, right)
        elif {a, b} in ({Kind.DATE, Kind.TEXT}, {Kind.INSTANT, Kind.TEXT}):
            left, right = self._date(left), self._date(right)
            a, b = left.type.kind, right.type.kind
        if {a, b} == {Kind.DATE, Kind.INSTANT}:
            left, right = _local_day(left), _local_day(right)
        if left.type != right.type or left.type.kind in (Kind.LIST, Kind.OBJECT, Kind.BIRTHDAY):
            raise self.wrong(
                node, f"{left.type.spoken} can't be compared with {right.type.spoken}", _unlike(left, right)
            )
        return left, right

    def money(self, typed: Typed) -> Typed:
        """A number literal as an amount of the brand's currency; anything else as it is."""
        if isinstance(typed, tree.Literal) and typed.type == NUMBER and isinstance(typed.value, float):
            minor = Decimal(repr(typed.value)).scaleb(self.vocabulary.digits)
            return replace(typed, value=float(minor), type=MONEY)
        return typed

    def _date(self, typed: Typed) -> Typed:
        if isinstance(typed, tree.Literal) and isinstance(typed.value, str):
            try:
                return replace(typed, value=parse_date(typed.value), type=DATE)
            except Wrong as wrong:
                raise ExpressionError(wrong.message, typed.span[0], wrong.hint) from None
        return typed

    # Arithmetic

    def arithmetic(self, node: nodes.BinExpr) -> Typed:
        op = _ARITHMETIC[type(node)]
        left, right = self.typed(node.left), self.typed(node.right)
        if UNREAD in (left.type, right.type):
            return tree.Unread()
        if op in "+-" and {left.type, right.type} == {MONEY, NUMBER}:
            left, right = self.money(left), self.money(right)
        type_ = result_of(op, left.type.kind, right.type.kind)
        if type_ is None:
            hint = "texts can't be put together in an expression" if TEXT in (left.type, right.type) else None
            if {left.type, right.type} == {DURATION, NUMBER} and op in "+-":
                hint = "write the number as a duration: 30m, 12h, 90d, 2w"
            raise self.wrong(node, f'"{op}" can\'t be used between {left.type.spoken} and {right.type.spoken}', hint)
        if left.type == DATE and right.type == DURATION and not _whole_days(right):
            raise self.wrong(node.right, "a date moves by whole days", "write them plainly, like 5d or 2w")
        if isinstance(left, tree.Literal) and isinstance(right, tree.Literal) and left.type == right.type == NUMBER:
            return self._folded(node, op, left.value, right.value)
        return tree.Arithmetic(op=op, left=left, right=right, type=type_)

    def _folded(self, node: nodes.Expr, op: str, a: Any, b: Any) -> Typed:
        if op == "/" and not b:
            raise self.wrong(node, "nothing can be divided by zero")
        value = {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b}[op]()
        if value and not 1e-100 <= abs(value) <= 1e100:
            raise self.wrong(node, "this number is beyond what can be counted with")
        return tree.Literal(value=value, type=NUMBER)

    def negative(self, node: nodes.Neg) -> Typed:
        part = self.typed(node.node)
        if part.type == UNREAD:
            return part
        if part.type not in (NUMBER, MONEY, DURATION):
            raise self.wrong(node, f'"-" can\'t stand before {part.type.spoken}')
        if isinstance(part, tree.Literal) and isinstance(part.value, float | int):
            return replace(part, value=-part.value)
        return tree.Negative(part=part, type=part.type)

    def call(self, node: nodes.Call) -> Typed:
        vague = self.inside(self.names, self.counting, vague=True)
        if not isinstance(node.node, nodes.Name):
            vague.arguments(node)
            raise ExpressionError(
                "this can't be called", self._end(node.node), "only the functions of the language can"
            )
        name = node.node.name
        function = FUNCTIONS.get(name)
        if function is None:
            vague.arguments(node)
        if function is None:
            hint = did_you_mean(name, FUNCTIONS) or "known: " + ", ".join(sorted(FUNCTIONS))
            raise self.wrong(node, f'unknown function "{name}"', hint)
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise self.wrong(node, '"*" can\'t be used in a call')
        return function.read(self, node)

    def arguments(self, node: nodes.Call) -> None:
        """Look for faults in the arguments of a call that has one itself."""
        for argument in (*node.args, *(keyword.value for keyword in node.kwargs)):
            self.typed(argument)


_READERS: Mapping[type[nodes.Expr], Callable[[Reader, Any], Typed]] = {
    nodes.Const: Reader.const,
    nodes.Name: Reader.name,
    nodes.Getattr: Reader.getattr,
    nodes.And: Reader.and_,
    nodes.Or: Reader.or_,
    nodes.Not: Reader.not_,
    nodes.Test: Reader.test,
    nodes.Compare: Reader.compare,
    nodes.Neg: Reader.negative,
    nodes.Call: Reader.call,
    **dict.fromkeys(_ARITHMETIC, Reader.arithmetic),
}


def _chain(node: nodes.BinExpr, kind: type[nodes.BinExpr]) -> list[nodes.Expr]:
    """`a and b and c` as its parts, however long."""
    found: list[nodes.Expr] = []
    inner: nodes.Expr = node
    while isinstance(inner, kind):
        found.insert(0, inner.right)
        inner = inner.left
    return [inner, *found]


def _full_date(typed: Typed) -> Typed:
    return tree.FullDate(part=typed, span=typed.span) if typed.type.kind is Kind.BIRTHDAY else typed


def _local_day(typed: Typed) -> Typed:
    return tree.LocalDay(part=typed, span=typed.span) if typed.type == INSTANT else typed


def _whole_days(typed: Typed) -> bool:
    return isinstance(typed, tree.Literal) and isinstance(typed.value, int) and typed.value % DAY == 0


def _compare_hint(typed: Typed) -> str | None:
    return None if typed.type.kind in (Kind.LIST, Kind.OBJECT) else "compare it with something, or write: is set"


def _unlike(left: Typed, right: Typed) -> str | None:
    kinds = {left.type.kind, right.type.kind}
    if kinds == {Kind.DATE, Kind.NUMBER}:
        return "age(customer.birthday) gives years, days_until(…) days"
    if kinds == {Kind.DURATION, Kind.NUMBER}:
        return "write the number as a duration: 30m, 12h, 90d, 2w"
    if kinds == {Kind.MONEY, Kind.NUMBER}:
        return "an amount is compared with a plain number or another amount"
    if Kind.LIST in kinds:
        return "use any(…), all(…) or count(…) over a list"
    if kinds == {Kind.TEXT, Kind.NUMBER}:
        return "a text stands in quotes, a number doesn't"
    return None
