"""Which steps and arms of a journey no scenario has reached."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.language.graph import Graph

Reached = tuple[str, str | None]
"""A step that did something (arm None), or an arm of it that was taken."""


@dataclass(frozen=True)
class Coverage:
    """Of one journey: `steps` and `arms` count what there is, the tuples name what nobody has come to, in document
    order.
    """

    journey: str
    steps: int
    arms: int
    steps_missed: tuple[str, ...]
    arms_missed: tuple[tuple[str, str], ...]

    @property
    def complete(self) -> bool:
        return not self.steps_missed and not self.arms_missed

    def __str__(self) -> str:
        there = self.steps + self.arms
        reached = there - len(self.steps_missed) - len(self.arms_missed)
        lines = [f"{self.journey}: {reached} of {there} steps and arms reached"]
        lines += [f"  no scenario comes to {step}" for step in self.steps_missed]
        lines += [f"  no scenario takes {step}: {arm}" for step, arm in self.arms_missed]
        return "\n".join(lines)


def coverage(journey: str, graph: Graph, reached: Iterable[Reached]) -> Coverage:
    """What the scenarios of a journey have reached of it. An arm of a step that nobody comes to isn't told twice."""
    found = set(reached)
    steps = tuple(name for name in graph.nodes if (name, None) not in found)
    arms = [(node.id, arm) for node in graph.nodes.values() for arm in node.arms]
    missed = tuple(arm for arm in arms if arm not in found and arm[0] not in steps)
    return Coverage(journey, len(graph.nodes), len(arms), steps, missed)
