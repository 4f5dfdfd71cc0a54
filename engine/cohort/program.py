"""A published version of a journey, ready to run: its graph, and what it listens for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.language.expression import Typed, parse, parse_condition
from engine.language.fields import Literally, marked
from engine.language.gate import QuietHours
from engine.language.graph import Graph, Node
from engine.language.holes import Hole, pieces
from engine.language.journey import MESSAGES, Journey
from engine.language.project import Project
from engine.language.vocabulary import TRANSACTIONAL, Names, Vocabulary

_CODE = re.compile(r"\bcoupon\b")
_USUAL_GAP = re.compile(r"usual_gap\(\s*[\"'](\w+)[\"']")


@dataclass(frozen=True)
class Program:
    """`state` is live (takes entries), retired (only finishes those inside) or stopped."""

    version_id: int
    number: int
    state: str
    journey: Journey
    graph: Graph
    project: Project
    vocabulary: Vocabulary

    @property
    def name(self) -> str:
        return self.journey.journey

    @property
    def topic(self) -> str:
        """The consent its messages need. Check refuses a journey that sends without one; nobody can consent to ''."""
        return self.journey.topic or ""

    @property
    def quiet_hours(self) -> QuietHours | None:
        """When its messages are held: transactional ones never are."""
        return None if self.topic == TRANSACTIONAL else self.project.quiet_hours

    @property
    def exits_when_capped(self) -> bool:
        """Whether some cap ends journeys."""
        return self.topic != TRANSACTIONAL and any(cap.when_capped.what == "exit" for cap in self.project.caps)

    @property
    def takes_entries(self) -> bool:
        return self.state == "live"

    @cached_property
    def enter_events(self) -> frozenset[str]:
        name = self.journey.enter.entry_event()
        return frozenset() if name is None else frozenset({name})

    @cached_property
    def exit_events(self) -> frozenset[str]:
        return frozenset(rule.event for rule in self.journey.exit if rule.event is not None)

    @cached_property
    def goal_events(self) -> frozenset[str]:
        goal = self.journey.goal
        return frozenset() if goal is None else frozenset({goal.event})

    @cached_property
    def awaited(self) -> Mapping[str, tuple[Node, ...]]:
        """The steps that listen for an event, by its name."""
        nodes: dict[str, list[Node]] = defaultdict(list)
        for node in self.graph.nodes.values():
            if (awaits := node.step.awaits()) is not None:
                nodes[awaits.event].append(node)
        return {name: tuple(found) for name, found in nodes.items()}

    @cached_property
    def exits_when(self) -> tuple[str, ...]:
        """The conditions that end the journey when they are true."""
        return tuple(rule.when for rule in self.journey.exit if rule.when is not None)

    @cached_property
    def rhythms(self) -> frozenset[str]:
        """The events whose usual gap this journey asks for."""
        texts = (found.text for found in marked(self.journey))
        steps = (found.text for node in self.graph.nodes.values() for found in marked(node.step))
        return frozenset(event for text in (*texts, *steps) for event in _USUAL_GAP.findall(text))

    @cached_property
    def tells_codes(self) -> bool:
        """Whether a step tells somebody a coupon's code otherwise than in a message to the customer."""
        others = [node.step for node in self.graph.nodes.values() if node.type != "send"]
        texts = [one.text for step in others for one in marked(step, _is_block) if isinstance(one.marker, Literally)]
        return any(_CODE.search(hole.text) for text in texts for hole in pieces(text) if isinstance(hole, Hole))

    @cached_property
    def names(self) -> Names:
        """What expressions in steps may name: the entry, and what came of the steps before."""
        results, sends, coupons = {}, set(), set()
        for node in self.graph.nodes.values():
            if (awaits := node.step.awaits()) is not None:
                results[node.id] = awaits.event
            if node.type in MESSAGES:
                sends.add(node.id)
            if node.type == "coupon":
                coupons.add(node.id)
        entry = self.journey.enter.entry_event()
        return Names(entry=entry, results=results, sends=frozenset(sends), coupons=frozenset(coupons))

    def parsed(self, text: str, names: Names, condition: bool) -> Typed:
        """The typed tree of one of the journey's texts, read once."""
        key = (text, names.event, names.item, condition, bool(names.results or names.sends or names.coupons))
        if key not in self._parsed:
            self._parsed[key] = (parse_condition if condition else parse)(text, names, self.vocabulary)
        return self._parsed[key]

    @cached_property
    def _parsed(self) -> dict[tuple[Any, ...], Typed]:
        return {}


def _is_block(value: Any) -> bool:
    """Whether a value is the steps below a step, which are nodes of their own."""
    return isinstance(value, tuple)
