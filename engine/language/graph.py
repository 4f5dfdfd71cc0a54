"""The graph of a journey: its steps by id, in document order, and where each leads.

    Graph.of(journey).nodes["hello"].next      # a node's id, or None: the end
    Graph.of(journey).nodes["branch_1"].arms   # {"if clicked(\"hello\")": "send_2", "else": None}

`goto` is an edge, not a node: what leads to it leads to its target. `exit` is a node. A step with arms leaves by its
arms only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from types import MappingProxyType

from pydantic import BaseModel

from engine.language.errors import Path
from engine.language.journey import Journey, StepModel


@dataclass(frozen=True)
class Node:
    """A step in its place. `path` is its YAML path; `next` what follows it in its block; `jumps` where else it may
    send customers.
    """

    id: str
    type: str
    step: StepModel
    path: Path
    next: str | None = None
    arms: Mapping[str, str | None] = field(default_factory=dict)
    jumps: tuple[str, ...] = ()

    @property
    def apart(self) -> bool:
        """Whether its arms are ways of their own, and the customer goes on to the next step."""
        return self.step.repeats() is not None

    @cached_property
    def leads_to(self) -> tuple[str | None, ...]:
        """Every place a customer can go from here, None for the end."""
        onward: tuple[str | None, ...] = tuple(self.arms.values())
        if self.apart:
            onward = (*onward, self.next)
        elif not self.arms:
            onward = (self.next,) if self.step.falls_through else (None,)
        return tuple(dict.fromkeys((*onward, *self.jumps)))


@dataclass(frozen=True)
class Placed:
    """A step where the walk finds it, with the id it has or gets."""

    id: str
    step: StepModel
    path: Path


@dataclass(frozen=True)
class Graph:
    """Where each step of a journey leads. `first` is the node that customers enter at, None for a journey without
    steps; `jump` is where its goal leads them from wherever they stand.
    """

    nodes: Mapping[str, Node]
    first: str | None
    jump: str | None = None
    _after: dict[str, frozenset[str]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, journey: Journey) -> Graph:
        """The graph of a journey; of steps with the same id the first counts (check refuses the others)."""
        places = tuple(placed(journey))
        ids = {place.path: place.id for place in places}
        builder = _Builder(ids)
        first = builder.block(journey.steps, ("steps",), None)
        nodes: dict[str, Node] = {}
        for place in places:
            if place.step.stands_for() is None:
                nodes.setdefault(place.id, builder.nodes[place.path])
        return cls(MappingProxyType(nodes), first, journey.goal.jump if journey.goal is not None else None)

    def reachable(self, start: str | None = None) -> frozenset[str]:
        """The ids a customer can come to from `start` (default: the first step), itself included."""
        found: set[str] = set()
        waiting = [start or self.first]
        while waiting:
            here = waiting.pop()
            if here is not None and here in self.nodes and here not in found:
                found.add(here)
                waiting.extend(self.nodes[here].leads_to)
        return frozenset(found)

    def after(self, name: str) -> frozenset[str]:
        """The ids a customer can come to once they have left a node: its own only by a loop."""
        found = self._after.get(name)
        if found is None:
            found = self._from(*self.nodes[name].leads_to, self.jump)
            self._after[name] = found
        return found

    def knowing(self, name: str) -> frozenset[str]:
        """The ids a customer can come to with what came of a node: of one that waits for an event, only by the arm that
        is taken when it comes.
        """
        node = self.nodes[name]
        awaits = node.step.awaits()
        if awaits is None:
            return self.after(name)
        found = self._from(node.arms.get(awaits.arm))
        return found | self._from(self.jump) if found else found

    def _from(self, *places: str | None) -> frozenset[str]:
        return frozenset().union(*(self.reachable(place) for place in places if place is not None))

    def around(self, path: Path) -> Node | None:
        """The step whose items come to this place, if any."""
        within = (node for node in self.nodes.values() if node.apart and path[: len(node.path)] == node.path != path)
        return next(within, None)

    def to_mermaid(self) -> str:
        """The graph as Mermaid flowchart text."""
        lines = ["flowchart TD", "  enter([enter])", f"  enter --> {_point(self.first)}"]
        for node in self.nodes.values():
            here = _point(node.id)
            label = f'"{_shown(node.id)}<br/>{_shown(_summary(node))}"'
            lines.append(f"  {here}{{{label}}}" if node.arms else f"  {here}[{label}]")
            for arm, target in node.arms.items():
                lines.append(f'  {here} -->|"{_shown(arm)}"| {_point(target)}')
            if not node.arms or node.apart:
                lines.append(f"  {here} --> {_point(node.next if node.step.falls_through else None)}")
            lines.extend(f"  {here} -.-> {_point(target)}" for target in node.jumps)
        return "\n".join([*lines, "  done([end])"]) + "\n"


def placed(journey: Journey) -> Iterator[Placed]:
    """Every step in document order. A step without an id is `<type>_<n>`, the n-th of its type, named or not:
    naming one renames no other.
    """
    counts: dict[str, int] = {}

    def walk(block: tuple[StepModel, ...], path: Path) -> Iterator[Placed]:
        for n, step in enumerate(block):
            counts[step.type] = counts.get(step.type, 0) + 1
            here = (*path, n)
            yield Placed(step.id or f"{step.type}_{counts[step.type]}", step, here)
            for arm in step.arms():
                yield from walk(arm.steps, here + arm.path)

    return walk(journey.steps, ("steps",))


class _Builder:
    """Links blocks from their ends: what a block leads to is known before its steps are."""

    def __init__(self, ids: Mapping[Path, str]) -> None:
        self.ids = ids
        self.nodes: dict[Path, Node] = {}

    def block(self, steps: tuple[StepModel, ...], path: Path, after: str | None) -> str | None:
        """Build the nodes of a block that is followed by `after`; returns where whoever comes to the block comes to."""
        for n in reversed(range(len(steps))):
            after = self._step(steps[n], (*path, n), after)
        return after

    def _step(self, step: StepModel, path: Path, after: str | None) -> str | None:
        if (target := step.stands_for()) is not None:
            return target
        arms: dict[str, str | None] = {}
        for arm in step.arms():
            label, n = arm.label, 2
            while label in arms:  # two arms of 50% are two arms
                label, n = f"{arm.label} ({n})", n + 1
            arms[label] = self.block(arm.steps, path + arm.path, None if step.repeats() else after)
        here = self.ids[path]
        self.nodes[path] = Node(here, step.type, step, path, after, MappingProxyType(arms), step.jumps())
        return here


def _point(name: str | None) -> str:
    """A node's name in Mermaid, where a bare `end` or `enter` would mean something else."""
    return "done" if name is None else f"step_{name}"


def _summary(node: Node) -> str:
    told = getattr(node.step, node.type, None)
    if told is None or isinstance(told, tuple | Mapping | BaseModel):
        return node.type
    return f"{node.type}: {told}"


def _shown(text: str) -> str:
    """A text that Mermaid shows as it is, in one line."""
    return escape(" ".join(text.split()))
