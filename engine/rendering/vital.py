"""Which names a template can't do without: where what they stand for is missing, the message stops.

Not among them is what the template guards: by `default`, by `or`, or by an `if` that is false without it. An `if` that
asks for something else of the journey (`with.late`, `clicked("hello")`) is taken for a guard too: the journey knows
which of its messages it is true for.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from jinja2 import nodes

from engine.rendering.analysis import path_of

Named = tuple[str, int]
Guard = tuple[nodes.Node, bool]
"""An expression, and whether what it guards is shown when it is true."""

_SAME_EVERYWHERE = frozenset({"customer", "entry", "now", "brand", "links", "locale", "subject", "preheader"})
"""What every step of a journey knows: to ask for it says nothing of where the customer stands."""
_OF_STEPS = frozenset({"sent", "opened", "clicked"})
_MISSING_WITH_THEIRS = frozenset({"age", "days_until"})


def vital(tree: nodes.Template) -> list[Named]:
    """The names a template can't do without, with their lines in the text that was parsed."""
    return list(dict.fromkeys(_block(tree.body, frozenset(), ())))


def _block(body: list[nodes.Node], own: frozenset[str], guards: tuple[Guard, ...]) -> Iterator[Named]:
    for node in body:
        if isinstance(node, nodes.Output):
            for child in node.nodes:
                yield from _shown(child, own, guards)
        elif isinstance(node, nodes.If):
            yield from _choice(node, own, guards)
        elif isinstance(node, nodes.For) and isinstance(node.target, nodes.Name):
            inner = own | {node.target.name, "loop"}
            turns = ((node.iter, True), *([(node.test, True)] if node.test is not None else []))
            yield from _block(node.body, inner, (*guards, *turns))
            yield from _block(node.else_, own, guards if node.test is not None else (*guards, (node.iter, False)))
        elif isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name):
            own |= {node.target.name}


def _choice(node: nodes.If, own: frozenset[str], guards: tuple[Guard, ...]) -> Iterator[Named]:
    for arm in (node, *node.elif_):
        yield from _block(arm.body, own, (*guards, (arm.test, True)))
        guards = (*guards, (arm.test, False))
    yield from _block(node.else_, own, guards)


def _shown(node: nodes.Node | None, own: frozenset[str], guards: tuple[Guard, ...]) -> Iterator[Named]:
    """The names of an expression with which its whole value is missing."""
    if node is None:
        return
    if (path := path_of(node)) is not None:
        root = _root(path)
        if root not in own and not any(_guarded(guard, root) for guard in guards):
            yield path, node.lineno
        return
    match node:
        case nodes.And() | nodes.Or():
            if isinstance(node, nodes.And):
                yield from _shown(node.left, own, guards)
            yield from _shown(node.right, own, (*guards, (node.left, isinstance(node, nodes.And))))
        case nodes.CondExpr():
            yield from _shown(node.expr1, own, (*guards, (node.test, True)))
            yield from _shown(node.expr2, own, (*guards, (node.test, False)))
        case nodes.Filter(name="default"):
            for instead in _given(node):
                yield from _shown(instead, own, (*guards, (node.node or node, False)))
        case nodes.Call(node=nodes.Name(name=name)) if name not in _MISSING_WITH_THEIRS:
            return
        case _:
            for part in _parts(node):
                yield from _shown(part, own, guards)


def _parts(node: nodes.Node) -> Iterator[nodes.Node]:
    """The parts of an expression without any one of which it is missing."""
    match node:
        case nodes.Filter():
            yield from chain([node.node] if node.node is not None else [], _given(node))
        case nodes.Call():
            yield from _given(node)
        case nodes.BinExpr() | nodes.UnaryExpr() | nodes.Concat() if not isinstance(node, nodes.Not):
            yield from node.iter_child_nodes()


def _given(node: nodes.Filter | nodes.Call) -> Iterator[nodes.Node]:
    yield from node.args
    yield from (one.value for one in node.kwargs)


def _guarded(guard: Guard, root: str) -> bool:
    """Whether what stands behind this guard is shown to nobody for whom all of `root` is missing, or may well be."""
    test, wanted = guard
    known = _value(test, root)
    return _tells(test) if known is None else known is not wanted


def _tells(test: nodes.Node) -> bool:
    called = {call.node.name for call in test.find_all(nodes.Call) if isinstance(call.node, nodes.Name)}
    if isinstance(test, nodes.Call) and isinstance(test.node, nodes.Name):
        called.add(test.node.name)
    names = {one.name for one in test.find_all(nodes.Name)} | ({test.name} if isinstance(test, nodes.Name) else set())
    return bool(called & _OF_STEPS or names - called - _SAME_EVERYWHERE)


def _value(test: nodes.Node, root: str) -> bool | None:
    """Whether a test is true where all of `root` is missing; None: that depends on something else."""
    if _missing(test, root):
        return False
    match test:
        case nodes.Const():
            return bool(test.value)
        case nodes.Not():
            inner = _value(test.node, root)
            return None if inner is None else not inner
        case nodes.And() | nodes.Or():
            sides = {_value(test.left, root), _value(test.right, root)}
            ends = isinstance(test, nodes.Or)
            return ends if ends in sides else None if None in sides else not ends
        case nodes.Test(name="set") if _missing(test.node, root):
            return False
        case nodes.Compare() if len(test.ops) == 1:
            if _missing(test.expr, root) or _missing(test.ops[0].expr, root):
                return test.ops[0].op in ("ne", "notin")
    return None


def _missing(node: nodes.Node, root: str) -> bool:
    """Whether an expression is missing where all of `root` is."""
    if (path := path_of(node)) is not None:
        return _root(path) == root
    match node:
        case nodes.And() | nodes.Or() | nodes.CondExpr() | nodes.Filter(name="default"):
            return False
        case nodes.Call(node=nodes.Name(name=name)) if name not in _MISSING_WITH_THEIRS:
            return False
    return any(_missing(part, root) for part in _parts(node))


def _root(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]
