"""Reads a template's syntax tree: refuses what isn't allowed, says which values it takes, and makes it safe to
compile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from jinja2 import nodes

from engine.rendering.filters import FILTERS, hint_for
from engine.rendering.sandbox import ALLOWED, LOOP

_WORDS: dict[type[nodes.Node], str] = {
    nodes.Macro: "macro", nodes.Include: "include", nodes.Import: "import", nodes.FromImport: "import",
    nodes.Extends: "extends", nodes.Block: "block", nodes.CallBlock: "call", nodes.FilterBlock: "filter",
    nodes.AssignBlock: "a set block", nodes.Mod: "%", nodes.Pow: "**", nodes.FloorDiv: "//", nodes.Dict: "{…}",
    nodes.Slice: "[:]", nodes.With: "with", nodes.NSRef: "namespace",
}  # fmt: skip
_INSTEAD: dict[type[nodes.Node], str] = {
    nodes.Include: 'an include stands alone on its line: {% include "blocks/NAME" %}',
    nodes.Extends: "name the layout in the front matter: layout: NAME",
    nodes.Block: "name the layout in the front matter: layout: NAME",
}
# Expressions of an `if` under which a part may stand and still count as shown to everybody it concerns.
_NOTHING = frozenset({"nil", "null", "blank", "empty", "undefined"})
_SAME_ITEMS = frozenset({"where", "sort", "reverse", "uniq", "slice", "default"})
_FREE_TESTS = frozenset({"links.unsubscribe"})


@dataclass
class Findings:
    """What a tree takes and what is wrong with it; lines count in the text that was parsed."""

    names: list[tuple[str, int]] = field(default_factory=list)
    fields: list[tuple[str, int]] = field(default_factory=list)
    calls: list[tuple[str, int]] = field(default_factory=list)
    always: set[str] = field(default_factory=set)
    vital: list[tuple[str, int]] = field(default_factory=list)
    problems: list[tuple[int, str, str]] = field(default_factory=list)


def analyse(tree: nodes.Template) -> Findings:
    """All a template takes, and every problem in it."""
    reader = _Reader()
    reader.block(tree.body, {}, free=True)
    return reader.found


class _Reader:
    """Walks statements with the names that are the template's own (`loop`, `item`, what `set` made) in `scope`: name
    → path."""

    def __init__(self) -> None:
        self.found = Findings()
        self._line = 1  # of the last statement that had one: a few of Jinja's nodes don't

    def block(self, body: list[nodes.Node], scope: dict[str, str | None], *, free: bool) -> None:
        for node in body:
            self.statement(node, scope, free=free)

    def statement(self, node: nodes.Node, scope: dict[str, str | None], *, free: bool) -> None:
        self._line = node.lineno or self._line
        if isinstance(node, nodes.Output):
            for child in node.nodes:
                self.expression(child, scope)
                path = path_of(child)
                while isinstance(child, nodes.Filter) and child.node is not None:
                    child = child.node
                    path = path or path_of(child)
                if free and path:
                    self.found.always.add(path)
        elif isinstance(node, nodes.If):
            before = len(self.found.names)
            self.expression(node.test, scope)
            tested = {name for name, _ in self.found.names[before:]}
            self.block(node.body, dict(scope), free=free and bool(tested) and tested <= _FREE_TESTS)
            for arm in node.elif_:
                self.statement(arm, dict(scope), free=False)
            self.block(node.else_, dict(scope), free=False)
        elif isinstance(node, nodes.For):
            self._for(node, scope)
        elif isinstance(node, nodes.Assign):
            self.expression(node.node, scope)
            if isinstance(node.target, nodes.Name):
                self._own(node.target.name, node.lineno)
                scope[node.target.name] = None
            else:
                self._refuse(node, "set gives one name a value", "")
        else:
            self._unknown(node)

    def _for(self, node: nodes.For, scope: dict[str, str | None]) -> None:
        self.expression(node.iter, scope)
        inner = dict(scope)
        if not isinstance(node.target, nodes.Name):
            self._refuse(node, "a loop has one name: {% for item in entry.items %}", "")
        else:
            self._own(node.target.name, node.lineno)
            over = _listed(node.iter, scope)
            inner[node.target.name] = f"{over}[]" if over else None
        if node.recursive:
            self._refuse(node, "a loop can't call itself", "")
        inner["loop"] = None
        if node.test is not None:
            self.expression(node.test, inner)
        self.block(node.body, dict(inner), free=False)
        self.block(node.else_, dict(scope), free=False)

    def expression(self, node: nodes.Node, scope: dict[str, str | None]) -> None:
        if type(node) not in ALLOWED:
            self._unknown(node)
        elif isinstance(node, nodes.Name):
            if node.name in _NOTHING and node.name not in scope:
                self._refuse(node, f'there is no "{node.name}"', 'write `is set` or `is not set`, or == ""')
            elif node.name not in scope:
                self._use(node.name, node.lineno)
        elif isinstance(node, (nodes.Getattr, nodes.Getitem)):
            self._part(node, scope)
        elif isinstance(node, nodes.Call):
            self._call(node, scope)
        else:
            if isinstance(node, nodes.Filter):
                self._filter(node, scope)
            if isinstance(node, nodes.Test) and node.name not in ("set", "in"):
                self._refuse(node, f'unknown test "is {node.name}"', "known: is set, is not set")
            for child in node.iter_child_nodes():
                self.expression(child, scope)

    def _filter(self, node: nodes.Filter, scope: dict[str, str | None]) -> None:
        known = FILTERS.get(node.name)
        if known is None:
            self._refuse(node, f'unknown filter "{node.name}"', hint_for(node.name))
            return
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            self._refuse(node, "* is not available in templates", "")
            return
        try:
            known.takes.bind(*node.args, **{str(given.key): given.value for given in node.kwargs})
        except TypeError:
            self._refuse(node, f'"{node.name}" is given too much, or too little', f"write {known.usage}")
            return
        given = [*node.args, *(one.value for one in node.kwargs if one.key == "attribute")]
        if "attribute" in known.takes.parameters and given and isinstance(given[0], nodes.Const):
            over = _listed(node.node, scope)
            if over and isinstance(given[0].value, str):
                self.found.fields.append((f"{over}[].{given[0].value}", node.lineno))

    def _part(self, node: nodes.Getattr | nodes.Getitem, scope: dict[str, str | None]) -> None:
        path = path_of(node)
        if path is None:
            for child in node.iter_child_nodes():
                self.expression(child, scope)
            return
        root, _, rest = path.partition(".")
        if root == "loop" and root in scope:
            if rest not in LOOP:
                self._refuse(node, f'a loop has no "{rest}"', f"known: {', '.join(sorted(LOOP))}")
        elif root in scope:
            if scope[root]:
                self.found.fields.append((f"{scope[root]}.{rest}", node.lineno))
        else:
            listed, picked, inner = path.partition("[]")
            self._use(listed, node.lineno)
            if picked and inner:
                self.found.fields.append((path, node.lineno))

    def _call(self, node: nodes.Call, scope: dict[str, str | None]) -> None:
        if not isinstance(node.node, nodes.Name):
            self._refuse(node, "values have no methods", "use a filter: {{ customer.first_name | upper }}")
            return
        if node.node.name == "_duration":
            return
        own = {name.name for name in node.find_all(nodes.Name)} & (set(scope) - {"item"})
        if own:
            message = f'{node.node.name}(…) is computed for everybody at once and can\'t use "{sorted(own)[0]}"'
            self._refuse(node, message, "functions take names of the journey only")
            return
        try:
            self.found.calls.append((expression_text(node), node.lineno))
        except ValueError as error:
            self._refuse(node, str(error), "")

    def _use(self, path: str, line: int) -> None:
        self._own(path.partition(".")[0], line)
        self.found.names.append((path, line))

    def _own(self, name: str, line: int) -> None:
        if name.startswith("_"):
            self.found.problems.append((line, f'"{name}": a name can\'t begin with _', ""))

    def _unknown(self, node: nodes.Node) -> None:
        word = _WORDS.get(type(node), type(node).__name__.lower())
        self._refuse(node, f"{word} is not available in templates", _INSTEAD.get(type(node), ""))

    def _refuse(self, node: nodes.Node, message: str, hint: str) -> None:
        self.found.problems.append((node.lineno or self._line, message, hint))


def _listed(node: nodes.Node | None, scope: dict[str, str | None]) -> str | None:
    """The path of a list, also of one that filters have picked from or put in order; None for anything else."""
    while isinstance(node, nodes.Filter) and node.name in _SAME_ITEMS:
        node = node.node
    over = path_of(node) if node is not None else None
    root, _, rest = (over or "").partition(".")
    if over and root in scope:
        return f"{scope[root]}.{rest}".rstrip(".") if scope[root] else None
    return over


def path_of(node: nodes.Node) -> str | None:
    """`entry.items` of a chain of names; an index counts as the item it picks. None for anything else."""
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        before = path_of(node.node)
        return f"{before}.{node.attr}" if before else None
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        before = path_of(node.node)
        if before and isinstance(node.arg.value, str):
            return f"{before}.{node.arg.value}"
        return f"{before}[]" if before and isinstance(node.arg.value, int) else None
    return None


def expression_text(node: nodes.Node) -> str:
    """An expression as text, always the same for the same tree. ValueError for what the language doesn't have."""
    if isinstance(node, nodes.Const):
        return _constant(node.value)
    if isinstance(node, (nodes.Name, nodes.Getattr)):
        return node.name if isinstance(node, nodes.Name) else f"{expression_text(node.node)}.{node.attr}"
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
        if node.node.name == "_duration" and isinstance(node.args[0], nodes.Const):
            return str(node.args[0].value)
        given = [expression_text(arg) for arg in node.args]
        given += [f"{keyword.key}={expression_text(keyword.value)}" for keyword in node.kwargs]
        return f"{node.node.name}({', '.join(given)})"
    if isinstance(node, nodes.Compare):
        shown = [_inner(node.expr)]
        for part in node.ops:
            shown += [_COMPARISONS[part.op], _inner(part.expr)]
        return " ".join(shown)
    if isinstance(node, nodes.BinExpr) and node.operator in _BINARY:
        return f"{_inner(node.left)} {node.operator} {_inner(node.right)}"
    if isinstance(node, nodes.Not):
        if isinstance(node.node, nodes.Test):
            return f"{_inner(node.node.node)} is not {node.node.name}"
        return f"not {_inner(node.node)}"
    if isinstance(node, nodes.Neg):
        return f"-{_inner(node.node)}"
    if isinstance(node, nodes.Test):
        return f"{_inner(node.node)} is {node.name}"
    if isinstance(node, (nodes.List, nodes.Tuple)):
        return f"[{', '.join(map(expression_text, node.items))}]"
    raise ValueError("this can't stand inside a function")


_BINARY = frozenset({"and", "or", "+", "-", "*", "/"})
_COMPARISONS = {
    "eq": "==", "ne": "!=", "lt": "<", "lteq": "<=", "gt": ">", "gteq": ">=", "in": "in", "notin": "not in",
}  # fmt: skip


def _inner(node: nodes.Node) -> str:
    text = expression_text(node)
    atom = isinstance(node, (nodes.Const, nodes.Name, nodes.Getattr, nodes.Call, nodes.List, nodes.Tuple))
    return text if atom else f"({text})"


def _constant(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if value is None:
        raise ValueError('there is no "none": write `is set` or `is not set`')
    return str(value)


def prepared(tree: nodes.Template) -> nodes.Template:
    """The tree to compile: functions read what was computed for them, loops and `~` are counted."""
    _replace(tree)
    return tree


def _replace(node: nodes.Node) -> None:
    for name in node.fields:
        value = getattr(node, name, None)
        if isinstance(value, nodes.Node):
            setattr(node, name, _new(value))
        elif isinstance(value, list):
            setattr(node, name, [_new(item) if isinstance(item, nodes.Node) else item for item in value])


def _new(node: nodes.Node) -> nodes.Node:
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
        if node.node.name == "_duration" and isinstance(node.args[0], nodes.Const):
            return nodes.Filter(node.args[0], "_duration", [], [], None, None, lineno=node.lineno)
        calls = nodes.Name("_calls", "load", lineno=node.lineno)
        return nodes.Getitem(calls, nodes.Const(expression_text(node)), "load", lineno=node.lineno)
    _replace(node)
    if isinstance(node, nodes.For):
        size = sum(len(data.data) for data in _data(node.body))
        parts = sum(1 for one in [*node.body, *([node.test] if node.test else [])] for _ in one.find_all(nodes.Node))
        counts = [nodes.Const(count, lineno=node.lineno) for count in (size, parts)]
        node.iter = nodes.Filter(node.iter, "_loop", counts, [], None, None, lineno=node.lineno)
    if isinstance(node, nodes.Compare):
        return _compared(node)
    if isinstance(node, nodes.Concat):
        shown = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(shown, "_concat", [], [], None, None, lineno=node.lineno)
    return node


def _compared(node: nodes.Compare) -> nodes.Node:
    """`a < b < c` as comparisons that pay for themselves, one after the other."""
    left, found = node.expr, None
    for part in node.ops:
        given = [nodes.Const(part.op, lineno=node.lineno), part.expr]
        one: nodes.Expr = nodes.Filter(left, "_compare", given, [], None, None, lineno=node.lineno)
        found = one if found is None else nodes.And(found, one, lineno=node.lineno)
        left = part.expr
    assert found is not None
    return found


def _data(body: list[nodes.Node]) -> Iterator[nodes.TemplateData]:
    for node in body:
        yield from node.find_all(nodes.TemplateData)
