"""Lint of names and expressions: whatever a text names must exist, and mean the kind of thing that is expected
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from engine.language import tree
from engine.language.content import SEGMENTS, Content, is_journey, journey_file, name_of
from engine.language.errors import Path, Problem, Wrong, did_you_mean, nearest
from engine.language.expression import examine, parse
from engine.language.fields import Expression, Literally, Marked, Refers, marked
from engine.language.graph import Graph, Node
from engine.language.holes import Hole, pieces
from engine.language.journey import MESSAGES, StepModel
from engine.language.tree import Typed
from engine.language.types import UNREAD, Kind
from engine.language.values import stored
from engine.language.vocabulary import TRANSACTIONAL, Names, Vocabulary
from engine.language.yaml import Document, Scalar

_KEYS = (Kind.TEXT, Kind.NUMBER, Kind.DATE, Kind.INSTANT)
_AMOUNTS = (Kind.NUMBER, Kind.MONEY)
_IN_TEXTS = (Kind.TEXT, Kind.NUMBER, Kind.DATE, Kind.MONEY, Kind.UNREAD)
_DATES = (Kind.DATE, Kind.INSTANT, Kind.BIRTHDAY)
_EXPECTED: Mapping[str, tuple[tuple[Kind, ...], str]] = {
    "key": (_KEYS, "a key is a text, a number or a date"),
    "amount": (_AMOUNTS, "an amount or a number is expected here"),
    "date": (_DATES, "a date is expected here"),
    "list": ((Kind.LIST,), "a list is expected here, like entry.items"),
    "value": ((*_KEYS, *_AMOUNTS, Kind.BOOLEAN, Kind.DURATION), "a single value is expected here"),
}


def problems(content: Content) -> Iterator[Problem]:
    """Unknown names, faulty expressions and segments that turn in circles."""
    yield from _segments(content)
    for name, journey in content.journeys.items():
        yield from _Reading(content, name, content.documents[journey_file(name)], content.graphs[name]).problems(
            journey
        )


def names_in_steps(content: Content, name: str) -> Names:
    """What the expressions in a journey's steps may name: the entry, and what came of the steps before."""
    nodes = content.graphs[name].nodes.values()
    results = {node.id: awaits.event for node in nodes if (awaits := node.step.awaits()) is not None}
    return Names(
        entry=_known_event(content, content.journeys[name].enter.entry_event()),
        results={step: event for step, event in results.items() if event in content.project.known_events},
        sends=frozenset(node.id for node in nodes if node.type in MESSAGES),
        coupons=frozenset(node.id for node in nodes if node.type == "coupon"),
        saved={saves.name: (node.id, saves.type) for node in nodes if (saves := node.step.saves()) is not None},
    )


def names_at(content: Content, name: str, node: Node) -> Names:
    """What the expressions of one step may name: inside an `each` also the item."""
    names = names_in_steps(content, name)
    around = content.graphs[name].around(node.path)
    return names if around is None else with_item(names, around, content.vocabulary)


def with_item(names: Names, around: Node, vocabulary: Vocabulary) -> Names:
    """These names, and the item of the step around."""
    repeats = around.step.repeats()
    assert repeats is not None
    try:
        found = parse(repeats.list, names, vocabulary).type
    except Wrong:
        found = UNREAD  # told at the list itself
    return replace(names, item=found if found.kind is Kind.LIST else None, item_as=repeats.name)


def _known_event(content: Content, event: str | None) -> str | None:
    return event if event in content.project.known_events else None


@dataclass(frozen=True)
class _Reading:
    """The lint of one journey's names and expressions."""

    content: Content
    name: str
    document: Document
    graph: Graph

    def problems(self, journey: BaseModel) -> Iterator[Problem]:
        names = names_in_steps(self.content, self.name)
        # Whoever enters has not been anywhere yet.
        outside = Names(entry=names.entry)
        for found in marked(journey, _is_step):
            yield from self.one(found, (), outside if found.path[0] == "enter" else names, None)
        for node in self.graph.nodes.values():
            here = names_at(self.content, self.name, node)
            for found in marked(node.step, _is_step):
                yield from self.one(found, node.path, here, node.id)

    def one(self, found: Marked, below: Path, names: Names, step: str | None) -> Iterator[Problem]:
        path = below + found.path
        if isinstance(found.marker, Refers):
            yield from self.name_of_a_thing(found.marker.to, found.text, path)
        elif isinstance(found.marker, Literally):
            yield from self.literal(found.text, path, names, step)
        else:
            if found.marker.of_event:
                event = getattr(found.owner, "event", None)
                if event not in self.content.project.known_events:
                    return  # told as an unknown event already
                names = replace(names, event=event)
            if not self._about_unknown(found.text, names, step):
                yield from self.expression(found.text, path, found.marker, names, step)

    def _about_unknown(self, text: str, names: Names, step: str | None) -> bool:
        """Whether an expression speaks of an event that is unknown: that is told where the event is named."""
        event = self.content.journeys[self.name].enter.entry_event()
        if names.entry is None and event is not None and "entry." in text:
            return True
        around = self.graph.around(self.graph.nodes[step].path) if step is not None else None
        if around is not None and names.item is None and f"{names.item_as}." in text:
            return True  # its list can't be read: told there
        return any(f"{step}." in text for step in self.vain)

    @cached_property
    def vain(self) -> frozenset[str]:
        """Ids of the steps that wait for events nobody knows."""
        nodes = self.graph.nodes.values()
        awaited = {node.id: awaits.event for node in nodes if (awaits := node.step.awaits()) is not None}
        return frozenset(step for step, event in awaited.items() if event not in self.content.project.known_events)

    def name_of_a_thing(self, kind: str, name: str, path: Path) -> Iterator[Problem]:
        known = _known(self.content, kind)
        if known is not None and name not in known:
            label = "customer attribute" if kind == "attribute" else kind
            hint = _nearest(kind, name, known)
            if not (self.content.project.events if kind == "event" else known) and nearest(name, known) is None:
                # Karibu's own events are hardly what was meant.
                hint = f"{'segments' if kind == 'segment' else 'project'}.yaml names no {label} yet"
            yield self.document.problem(path, f'unknown {label} "{name}"', hint, on_key=kind == "attribute")
        channel = name.partition("/")[0]
        if kind == "template" and channel not in self.content.project.channels:
            hint = f"add channels: {{{channel}: {{provider: maildir}}}} to project.yaml"
            yield self.document.problem(path, f"no provider carries {channel} messages", hint)

    def literal(self, text: str, path: Path, names: Names, step: str | None) -> Iterator[Problem]:
        try:
            parts = pieces(text)
        except Wrong as wrong:
            yield self.document.problem(path, wrong.message, wrong.hint, offset=wrong.offset)
            return
        holes = [part for part in parts if isinstance(part, Hole)]
        clear = [hole for hole in holes if not self._about_unknown(hole.text, names, step)]
        found = [
            problem
            for hole in clear
            for problem in self.expression(hole.text, path, Expression("value"), names, step, hole.offset)
        ]
        yield from found or (self.assignment(text, parts, path, names) if clear == holes else ())

    def assignment(self, text: str, parts: tuple[str | Hole, ...], path: Path, names: Names) -> Iterator[Problem]:
        """Where the key is a customer attribute, the value must be of its type."""
        vocabulary = self.content.vocabulary
        name = str(path[-1]).removeprefix("customer.")
        if name == path[-1] or name not in vocabulary.customer:
            return
        type_ = vocabulary.customer[name]
        if type_ == UNREAD:
            return
        holes = [part for part in parts if isinstance(part, Hole)]
        try:
            if not holes:
                stored(text, type_, vocabulary.digits, vocabulary.timezone)
            elif len(parts) > 1:
                if type_.kind is not Kind.TEXT:
                    raise Wrong(f"a text is put together here, and {path[-1]} is {type_.spoken}")
                for hole in holes:
                    given = parse(hole.text, names, vocabulary).type
                    if given.kind not in _IN_TEXTS:
                        hint = "keep it in an attribute of its own"
                        raise Wrong(f"{given.spoken} can't be part of a text", hint, offset=hole.offset)
            elif (only := parse(holes[0].text, names, vocabulary).type) not in (type_, UNREAD):
                raise Wrong(f"this is {only.spoken}, and {path[-1]} is {type_.spoken}", offset=holes[0].offset)
        except Wrong as wrong:
            yield self.document.problem(path, wrong.message, wrong.hint, offset=wrong.offset)

    def expression(
        self, text: str, path: Path, marker: Expression, names: Names, step: str | None, offset: int | None = None
    ) -> Iterator[Problem]:
        shift = self._offset(text, path) if offset is None else offset
        examined = examine(text, names, self.content.vocabulary, condition=marker.expects == "condition")
        typed = examined.typed
        for fault in examined.faults:
            yield self.document.problem(path, fault.message, fault.hint, offset=shift + fault.offset)
        if marker.expects in _EXPECTED:
            kinds, expected = _EXPECTED[marker.expects]
            if typed.type.kind not in (*kinds, Kind.UNREAD):
                yield self.document.problem(path, f"{expected}, and this is {typed.type.spoken}", offset=shift)
        if step is not None:
            yield from self._too_early(typed, path, step, shift)

    def _too_early(self, typed: Typed, path: Path, step: str, shift: int) -> Iterator[Problem]:
        """What a step names must be known to some customer who comes to it."""
        for part in tree.walk(typed):
            if (unknown := not_known(part, step, self.graph)) is not None:
                message = f"{unknown.named} is {unknown.when} here: {unknown.why} to this step"
                yield self.document.problem(path, message, unknown.hint, offset=shift + part.span[0])

    def _offset(self, text: str, path: Path) -> int:
        """Where an expression begins in the text that was typed, which may hold more than it."""
        node = self.document.node(self.document.place(path)[1])
        return max(0, node.text.find(text)) if isinstance(node, Scalar) else 0


@dataclass(frozen=True)
class NotKnown:
    """What is named at a step and known to nobody who comes there: `"got" is never known here: its else alone leads to
    this step`.
    """

    named: str
    when: str
    why: str
    hint: str | None = None


def not_known(part: Typed, step: str, graph: Graph) -> NotKnown | None:
    """Why nobody who comes to this step knows what this part of an expression names; None where somebody may."""
    if isinstance(part, tree.Coupon):
        coupons = [node.id for node in graph.nodes.values() if node.type == "coupon"]
        if any(step in graph.knowing(coupon) for coupon in coupons):
            return None
        return NotKnown("no coupon", "known", "no way leads from a coupon step")
    named = part.step if isinstance(part, tree.Messaged | tree.Name) else None
    if named is None or named not in graph.nodes or step in graph.knowing(named):
        return None
    if step not in graph.after(named):
        return NotKnown(f'"{named}"', "not known", "no way leads from it")
    node = graph.nodes[named]
    awaits = node.step.awaits()
    silent = " or ".join(arm for arm in node.arms if awaits is None or arm != awaits.arm)
    known = f"it is known in its {awaits.arm}, and where that leads" if awaits is not None else None
    return NotKnown(f'"{named}"', "never known", f"only its {silent} leads", known)


def _nearest(kind: str, name: str, known: Iterable[str]) -> str | None:
    if kind != "attribute":
        return did_you_mean(name, known)
    hint = did_you_mean(name.removeprefix("customer."), (each.removeprefix("customer.") for each in known))
    declare = "add it under customer: in project.yaml"
    return hint.replace('"', '"customer.', 1) if hint and hint.startswith("did") else declare


def _known(content: Content, kind: str) -> Iterable[str] | None:
    """The names there are of a kind; None: not known, or looked at elsewhere."""
    if kind == "event":
        return content.project.known_events
    if kind == "segment":
        return None if SEGMENTS in content.broken else content.segments
    if kind == "topic":
        return {*content.project.topics, TRANSACTIONAL}
    if kind == "journey":
        return {name_of(file) for file in content.documents if is_journey(file)}
    if kind == "channel":
        return content.project.channels
    if kind == "attribute":
        return {f"customer.{name}" for name in content.vocabulary.customer}
    if kind == "survey":
        return content.project.surveys
    if kind == "person":
        return content.project.team
    if kind == "pool":
        return content.project.coupons
    return None


def _is_step(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], StepModel)


def _segments(content: Content) -> Iterator[Problem]:
    if SEGMENTS in content.broken or SEGMENTS not in content.documents:
        return
    document = content.documents[SEGMENTS]
    built_on: dict[str, set[str]] = {}
    for name, segment in content.segments.items():
        path: Path = (name, "when")
        examined = examine(segment.when, Names(), content.vocabulary, condition=True)
        for fault in examined.faults:
            yield document.problem(path, fault.message, fault.hint, offset=fault.offset)
        built_on[name] = {part.segment for part in tree.walk(examined.typed) if isinstance(part, tree.InSegment)}
    told: set[str] = set()
    for name in built_on:
        if name not in told and (way := _circle(name, built_on)) is not None:
            told.update(way)
            circle = " → ".join([*way, name])
            message = f"this segment is made of itself: {circle}"
            yield document.problem((name, "when"), message, "take one of them out")


def _circle(name: str, built_on: Mapping[str, set[str]]) -> list[str] | None:
    """The way from a segment back to itself, if there is one."""
    ways = [[name]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for below in sorted(built_on.get(way[-1], ())):
            if below == name:
                return way
            if below not in seen:
                seen.add(below)
                ways.append([*way, below])
    return None
