"""Lint of the way through a journey: steps nobody reaches, loops that never rest, exits that take the customers of
a branch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.language.content import Content, journey_file
from engine.language.errors import Path, Problem, did_you_mean
from engine.language.fields import percent_text
from engine.language.graph import Graph, Placed, placed
from engine.language.journey import LONGEST_GOAL, MESSAGES, Journey, SplitArm, StepModel
from engine.language.moments import duration_text
from engine.language.yaml import Document, Scalar

RESERVED = frozenset(
    {"customer", "entry", "event", "item", "coupon", "now", "with", "brand", "links", "locale", "loop"}
)


@dataclass(frozen=True)
class _Way:
    """One journey under the lint."""

    journey: Journey
    graph: Graph
    document: Document
    places: tuple[Placed, ...]

    def line(self, path: Path) -> int:
        return self.document.place(path)[0].line


def problems(content: Content) -> Iterator[Problem]:
    """The problems in the ways of all journeys."""
    for name, journey in content.journeys.items():
        document = content.documents[journey_file(name)]
        way = _Way(journey, content.graphs[name], document, tuple(placed(journey)))
        if not journey.steps:
            yield document.problem(("steps",), "a journey without steps does nothing", "write at least one step")
        for rule in (
            _ids,
            _saved,
            _apart,
            _jumps,
            _goal,
            _unreachable,
            _restless,
            _shares,
            _endless,
            _killed,
            _deaf,
            _idle,
            _topic,
            _itself,
            _complaints,
        ):
            yield from rule(way)
    yield from _started(content)


def _ids(way: _Way) -> Iterator[Problem]:
    first: dict[str, Path] = {}
    for place in way.places:
        at = (*place.path, "id") if place.step.id else place.path
        if place.step.stands_for() is not None:
            if place.step.id:
                hint = "give the id to the step that is meant"
                yield way.document.problem(at, f"{place.step.type} is a way to a step, not a place", hint, on_key=True)
            continue
        if place.step.id in RESERVED:
            yield way.document.problem(at, f'"{place.id}" means something else in expressions', "choose another id")
        if place.id in first:
            other = way.line(first[place.id])
            if place.step.id:
                message = f'the step in line {other} has the id "{place.id}" too'
            else:
                message = f'this step would be called "{place.id}", as the one in line {other} is'
            yield way.document.problem(at, message, "give each step its own id")
        first.setdefault(place.id, place.path)


def _saved(way: _Way) -> Iterator[Problem]:
    """What a step keeps has a name of its own."""
    taken = {place.id: place.path for place in way.places if place.step.awaits() is not None}
    for place in way.places:
        if (saves := place.step.saves()) is None:
            continue
        at = (*place.path, place.step.type, "save")
        if saves.name in RESERVED:
            yield way.document.problem(at, f'"{saves.name}" means something else in expressions', "choose another name")
        elif saves.name in taken:
            message = f'the step in line {way.line(taken[saves.name])} is called "{saves.name}", or saves it, too'
            yield way.document.problem(at, message, "give each its own name")
        taken.setdefault(saves.name, place.path)


def _apart(way: _Way) -> Iterator[Problem]:
    """The way of an item stays among the steps that are done for it, and nobody else comes in there."""
    goal = way.journey.goal
    if goal and goal.jump and goal.jump in way.graph.nodes and way.graph.around(way.graph.nodes[goal.jump].path):
        yield way.document.problem(("goal", "jump"), f'"{goal.jump}" is done for an item, and the customer is none')
    for place in way.places:
        around = way.graph.around(place.path)
        repeats = place.step.repeats()
        if around is not None and repeats is not None:
            hint = "do it in a journey of its own, and start that"
            yield way.document.problem(place.path, f"{place.step.type} can't stand inside another", hint)
        if repeats is not None and repeats.name in RESERVED - {"item"} | {place.id for place in way.places}:
            message = f'"{repeats.name}" means something else in expressions'
            yield way.document.problem((*place.path, "as"), message, "choose another name")
        for wanted in filter(None, (*place.step.jumps(), place.step.stands_for())):
            node = way.graph.nodes.get(wanted)
            if node is not None and way.graph.around(node.path) is not around:
                message = f'this leads to "{wanted}", out of the steps for each item or into them'
                yield way.document.problem(_said(way, place, wanted), message, "stay inside, or outside")


def _jumps(way: _Way) -> Iterator[Problem]:
    for place in way.places:
        target = place.step.stands_for()
        for wanted in dict.fromkeys([*place.step.jumps(), *([target] if target else [])]):
            if wanted not in way.graph.nodes:
                yield way.document.problem(_said(way, place, wanted), *_unknown_step(wanted, way))
    goal = way.journey.goal
    if goal and goal.jump and goal.jump not in way.graph.nodes:
        yield way.document.problem(("goal", "jump"), *_unknown_step(goal.jump, way))


def _goal(way: _Way) -> Iterator[Problem]:
    """A goal ends before a version that was replaced is forgotten."""
    goal = way.journey.goal
    if goal and goal.within > LONGEST_GOAL:
        longest = duration_text(LONGEST_GOAL)
        message = f"a goal is measured for {longest} at most, and this is {duration_text(goal.within)}"
        yield way.document.problem(("goal", "within"), message, f"write {longest} or less")


def _unknown_step(name: str, way: _Way) -> tuple[str, str | None]:
    named = [place.id for place in way.places if place.step.id and place.step.stands_for() is None]
    hint = did_you_mean(name, named) if named else "give the step that is meant an id"
    return f'no step has the id "{name}"', hint


def _said(way: _Way, place: Placed, name: str) -> Path:
    """Where a step names another."""
    for key in set(type(place.step).keys()) - {"id"}:
        node = way.document.node((*place.path, key))
        if isinstance(node, Scalar) and name in node.text.split():
            return (*place.path, key)
    return place.path


def _unreachable(way: _Way) -> Iterator[Problem]:
    reached = set(way.graph.reachable())
    if way.journey.goal and way.journey.goal.jump in way.graph.nodes:
        reached |= way.graph.reachable(way.journey.goal.jump)
    by_path = {place.path: place for place in way.places}

    def told(place: Placed) -> bool:
        """Whether the fault lies here: of a row of steps that nobody reaches, the first is told."""
        *block, n = place.path
        before = by_path.get((*block, n - 1)) if isinstance(n, int) and n else None
        if before is not None:
            return _goes_on(before.step) is False or before.id in reached
        return True

    hidden: list[Path] = []
    for place in way.places:
        if any(place.path[: len(path)] == path for path in hidden):
            continue
        *block, n = place.path
        before = by_path.get((*block, n - 1)) if isinstance(n, int) and n else None
        lost = place.id not in reached if place.step.stands_for() is None else before is not None
        if place.step.stands_for() is not None and before is not None:
            lost = not _goes_on(before.step) or (before.step.stands_for() is None and before.id not in reached)
        if lost:
            hidden.append(place.path)
            if told(place):
                hint = "the step above it always leaves; remove this, or lead a goto here"
                yield way.document.problem(place.path, "no customer can come to this step", hint)


def _goes_on(step: StepModel) -> bool:
    """Whether a customer may leave a step to the one below it."""
    arms = () if step.repeats() else step.arms()
    return step.falls_through and (not arms or any(all(map(_goes_on, arm.steps)) for arm in arms))


def _restless(way: _Way) -> Iterator[Problem]:
    """Loops in which no step is sure to wait, told at the goto that goes back."""
    nodes = way.graph.nodes
    loose = {name for name, node in nodes.items() if node.step.may_pass_at_once()}
    onward = {name: {to for to in nodes[name].leads_to if to in loose} for name in loose}
    while ends := {name for name, to in onward.items() if not to & onward.keys()}:
        for name in ends:
            del onward[name]
    # What is left can go on for ever; what is not led to from there only comes before the loop.
    while starts := onward.keys() - {to for targets in onward.values() for to in targets}:
        for name in starts:
            del onward[name]
    order = {name: n for n, name in enumerate(nodes)}
    for name in onward:
        for target in onward[name]:
            if target in onward and order[target] <= order[name]:
                place = _leap(way, name, target)
                message = f'this goes back to "{target}" and can turn for ever without a wait'
                hint = "put a wait or a wait_for into the loop"
                yield way.document.problem(_said(way, place, target), message, hint)


def _leap(way: _Way, source: str, target: str) -> Placed:
    """The step that sends customers from `source` back to `target`: the goto, or the step itself."""
    node = way.graph.nodes[source]
    gotos = [place for place in way.places if place.step.stands_for() == target and place.path > ()]
    below = [place for place in gotos if place.path[: len(node.path)] == node.path]
    after = [place for place in gotos if place.path[:-1] == node.path[:-1]]
    own = Placed(node.id, node.step, node.path)
    return own if target in node.jumps else (below or after or gotos or [own])[0]


def _shares(way: _Way) -> Iterator[Problem]:
    for place in way.places:
        for key, field in type(place.step).model_fields.items():
            arms = getattr(place.step, key)
            if isinstance(arms, tuple) and arms and all(isinstance(arm, SplitArm) for arm in arms):
                total = sum(arm.share for arm in arms)
                if total != 10000:
                    more = percent_text(abs(10000 - total))
                    hint = f"{more} {'are missing' if total < 10000 else 'too much'}"
                    message = f"these percentages make {percent_text(total)}, not 100%"
                    yield way.document.problem((*place.path, field.alias or key), message, hint, on_key=True)


def _endless(way: _Way) -> Iterator[Problem]:
    for place in way.places:
        awaits = place.step.awaits()
        if awaits is not None and awaits.within is None:
            hint = "say how long at most, like within: 14d"
            yield way.document.problem(place.path, f"this waits for ever if no {awaits.event} comes", hint)


def _killed(way: _Way) -> Iterator[Problem]:
    """If one event both exits and is awaited, exit wins: then the awaited event's arm is never taken."""
    for place in way.places:
        awaits = place.step.awaits()
        if awaits is None:
            continue
        for n, rule in enumerate(way.journey.exit):
            same = rule.where is None or _bare(rule.where) == _bare(awaits.where)
            if rule.event == awaits.event and same:
                line = way.line(place.path)
                arm = f"the {awaits.arm} of the {place.step.type} in line {line}"
                message = f"{rule.event} ends the journey, so {arm} is never taken"
                yield way.document.problem(
                    ("exit", n, "event"), message, "remove one of the two, or make this the goal"
                )


def _deaf(way: _Way) -> Iterator[Problem]:
    """Conditions that can't be true where they are asked, seen by their words: the same was asked before."""
    leaves = {_bare(rule.when): n for n, rule in enumerate(way.journey.exit) if rule.when is not None}
    if (n := leaves.get(_bare(way.journey.enter.audience))) is not None:
        message = "whoever is let in leaves at once: the audience of enter asks the same"
        yield way.document.problem(("exit", n, "when"), message, "one of the two must mean something else")
    for place in way.places:
        first: dict[str | None, Path] = {}
        for arm in place.step.arms():
            if arm.condition is None:
                continue
            asked, at = _bare(arm.condition), (*place.path, *arm.path[:-1], "if")
            if asked in leaves:
                line = way.line(("exit", leaves[asked], "when"))
                message = f"this arm is never taken: the exit in line {line} asks the same, and comes first"
                yield way.document.problem(at, message, "remove one of the two")
            elif asked in first:
                message = f"this arm is never taken: the one in line {way.line(first[asked])} asks the same"
                yield way.document.problem(at, message, "remove it, or ask something else")
            first.setdefault(asked, at)


def _idle(way: _Way) -> Iterator[Problem]:
    """Options that do nothing."""
    rule = way.journey.enter
    if rule.grace is not None and rule.audience is None:
        hint = "add an audience, or remove grace"
        yield way.document.problem(("enter", "grace"), "grace does nothing without an audience", hint, on_key=True)


def _bare(condition: str | None) -> str | None:
    return None if condition is None else " ".join(condition.split())


def _topic(way: _Way) -> Iterator[Problem]:
    if way.journey.topic is None:
        for place in way.places:
            if place.step.type in MESSAGES:
                hint = "write topic: and what customers must have agreed to, or topic: transactional"
                yield way.document.problem(place.path, "this journey sends messages and names no topic", hint)
                return


def _started(content: Content) -> Iterator[Problem]:
    """Journeys that start each other, or themselves, for ever without a wait."""
    at_once = {name: dict(_at_once(content.graphs[name])) for name in content.journeys if _lets_in_again(content, name)}
    for name, starts in at_once.items():
        for target, path in starts.items():
            way = _way_back(at_once, target, name)
            if way is None:
                continue
            document = content.documents[journey_file(name)]
            message = "this can start its own journey for ever without a wait"
            if len(way) > 1:
                message = f"these can start each other for ever without a wait: {' → '.join([name, *way])}"
            yield document.problem((*path, "start"), message, "put a wait before it, or remove it")


def _at_once(graph: Graph) -> Iterator[tuple[str, Path]]:
    """The journeys that somebody who enters may be sent to in the same pass, and by which step."""
    seen: set[str] = set()
    waiting = [graph.first]
    while waiting:
        here = waiting.pop()
        if here is None or here in seen or here not in graph.nodes:
            continue
        seen.add(here)
        node = graph.nodes[here]
        yield from ((journey, node.path) for journey in node.step.starts())
        if node.step.may_pass_at_once():
            waiting.extend(node.leads_to)


def _lets_in_again(content: Content, name: str) -> bool:
    """Whether somebody who has just left may enter at once: `never` and `after 30d` end every circle."""
    return content.journeys[name].enter.again.rule in ("always", "restart", "after exit")


def _way_back(onward: Mapping[str, Mapping[str, Path]], start: str, end: str) -> list[str] | None:
    """The shortest way from a journey to another one, both included."""
    ways = [[start]]
    seen = {start}
    while ways:
        way = ways.pop(0)
        if way[-1] == end:
            return way
        for target in onward.get(way[-1], ()):
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return None


def _itself(way: _Way) -> Iterator[Problem]:
    """A journey that nobody enters twice can't start itself."""
    for place in way.places:
        if way.journey.name in place.step.starts() and way.journey.enter.again.rule == "never":
            message = "this starts its own journey, and nobody enters that a second time (again: never)"
            hint = "remove it, or say in enter who may come again: again: after exit"
            yield way.document.problem((*place.path, "start"), message, hint)


def _complaints(way: _Way) -> Iterator[Problem]:
    for complaint in way.journey.enter.complaints():
        at = ("enter", *complaint.path)
        yield way.document.problem(at, complaint.message, complaint.hint, on_key=complaint.on_key)
    for place in way.places:
        for complaint in place.step.complaints():
            at = (*place.path, *complaint.path)
            yield way.document.problem(at, complaint.message, complaint.hint, on_key=complaint.on_key)
