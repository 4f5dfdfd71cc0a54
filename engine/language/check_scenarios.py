"""Lint of scenarios: a story may only tell of what the project and its journey know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.language.content import WORKFLOWS, Content
from engine.language.errors import Path, Problem, Wrong, did_you_mean
from engine.language.fields import Refers, marked
from engine.language.graph import Graph
from engine.language.journey import MESSAGES
from engine.language.scenario import Line, Person, Scenario
from engine.language.types import TEXT
from engine.language.values import fields
from engine.language.vocabulary import TRANSACTIONAL
from engine.language.yaml import Document


def problems(content: Content) -> Iterator[Problem]:
    """The problems of all scenario files whose journey could be read."""
    for name, scenarios in content.scenarios.items():
        if name in content.journeys:
            lint = _Story(content, content.documents[f"{WORKFLOWS}/{name}.test.yaml"], content.graphs[name])
            for n, scenario in enumerate(scenarios):
                yield from lint.scenario(scenario, (n,))


_POINTS = re.compile(r"[1-9][0-9]* points?")
_BIRTHDAY = re.compile(r"(?:[0-9]{4}-|--)?(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")


_ANSWERED = {
    "opens": MESSAGES,
    "clicks": MESSAGES,
    "bounces": MESSAGES,
    "confirms": ("send",),
    "answers": ("ask",),
}
"""What a customer does about a message, and the steps that send such ones."""


@dataclass(frozen=True)
class _Story:
    content: Content
    document: Document
    graph: Graph

    def scenario(self, scenario: Scenario, at: Path) -> Iterator[Problem]:
        yield from self.person(scenario.customer, (*at, "customer"))
        for n, before in enumerate(scenario.before):
            here = (*at, "before", n)
            yield from self.event(before.event, before.with_, here)
            if before.at >= scenario.start.local and scenario.start.zone is None:
                yield self.document.problem((*here, "at"), "this is not before the start", "tell it in the story")
        for n, pool in enumerate(scenario.empty):
            if pool not in (pools := self.content.project.coupons):
                yield self.document.problem((*at, "empty", n), f'unknown pool "{pool}"', did_you_mean(pool, pools))
        for n, line in enumerate(scenario.story):
            yield from self.line(line, (*at, "story", n))

    def person(self, person: Person, at: Path) -> Iterator[Problem]:
        yield from self.values(person.profile, at)
        for n, consent in enumerate(person.consent):
            yield from self.consent(consent, (*at, "consent", n))
        for n, consent in enumerate(person.pending):
            here = (*at, "pending", n)
            yield from self.consent(consent, here)
            topic = self.content.project.topics.get(consent.partition("/")[2])
            if topic is not None and not topic.double_opt_in:
                yield self.document.problem(
                    here, "a yes to this topic needs no confirmation", "write it under consent:"
                )

    def consent(self, consent: str, at: Path) -> Iterator[Problem]:
        channel, _, topic = consent.partition("/")
        if topic not in self.content.project.topics or topic == TRANSACTIONAL:
            yield self.document.problem(
                at, f'unknown topic "{topic}"', did_you_mean(topic, self.content.project.topics)
            )
        if channel not in self.content.project.channels:
            yield self.document.problem(at, f"no provider carries {channel} messages", "name one in project.yaml")

    def event(self, name: str, given: Mapping[str, Any], at: Path) -> Iterator[Problem]:
        events = self.content.vocabulary.events
        if name not in events:
            hint = did_you_mean(name, events) or "project.yaml names no event yet"
            yield self.document.problem((*at, "event"), f'unknown event "{name}"', hint)
            return
        yield from self._typed(given, events[name].properties, (*at, "with"))

    def values(self, given: Mapping[str, Any], at: Path) -> Iterator[Problem]:
        known = {**self.content.vocabulary.customer, "push_token": TEXT}
        known.pop("id")
        yield from self._typed({name: value for name, value in given.items() if name != "birthday"}, known, at)
        if not _BIRTHDAY.fullmatch(str(given.get("birthday", "03-08"))):
            yield self.document.problem(
                (*at, "birthday"), "this is no birthday", "write 1990-03-08, or 03-08 without the year"
            )

    def _typed(self, given: Mapping[str, Any], types: Mapping[str, Any], at: Path) -> Iterator[Problem]:
        vocabulary = self.content.vocabulary
        for name, value in given.items():
            try:
                fields({name: value}, types, vocabulary.digits, vocabulary.timezone)
            except Wrong as wrong:
                yield self.document.problem(at + wrong.at, wrong.message, wrong.hint, on_key=wrong.on_key)

    def line(self, line: Line, at: Path) -> Iterator[Problem]:
        if line.event is not None:
            yield from self.event(line.event, line.with_, at)
        if line.opts_out is not None:
            yield from self.consent(line.opts_out, (*at, "opts_out"))
        if line.updates is not None:
            bare = {name.removeprefix("customer."): value for name, value in line.updates.items()}
            if line.happens:
                yield from self.values(bare, (*at, "updates"))
            else:
                for name in bare.keys() - self.content.vocabulary.customer.keys():
                    hint = did_you_mean(name, self.content.vocabulary.customer)
                    path = (*at, "updates", f"customer.{name}")
                    yield self.document.problem(path, f'unknown customer attribute "{name}"', hint, on_key=True)
        for verb, kinds in _ANSWERED.items():
            step = getattr(line, verb)
            if step is not None:
                sends = [node.id for node in self.graph.nodes.values() if node.type in kinds]
                yield from self._step(step, sends, (*at, verb), f"{kinds[0]} step")
        if line.answers is not None:
            yield from self._answer(line, at)
        if line.waits is not None:
            held = self.content.project.holds
            waits = [n.id for n in self.graph.nodes.values() if n.step.waits or (held and n.type == "send")]
            yield from self._step(line.waits, waits, (*at, "waits"), "wait")
        calls = [node.id for node in self.graph.nodes.values() if node.type == "call"]
        if line.calls is not None:
            yield from self._step(line.calls, calls, (*at, "calls"), "call")
        for verb in ("sends", "skips"):
            ref = getattr(line, verb)
            if ref is not None and not (verb == "skips" and ref in calls) and ref not in self._templates():
                hint = did_you_mean(ref, self._templates())
                yield self.document.problem((*at, verb), f'this journey never sends "{ref}"', hint)
        if line.gives is not None and not _POINTS.fullmatch(line.gives):
            pools = {f"coupon {getattr(n.step, 'coupon', '')}" for n in self.graph.nodes.values() if n.type == "coupon"}
            if line.gives not in pools:
                hint = did_you_mean(line.gives, pools) or "write coupon POOL, or 100 points"
                yield self.document.problem((*at, "gives"), f'this journey never gives "{line.gives}"', hint)
        for step, arm in (line.takes or {}).items():
            arms = {n.id: n.arms for n in self.graph.nodes.values() if n.arms}
            yield from self._step(step, list(arms), (*at, "takes", step), "step with arms", on_key=True)
            if step in arms and arm not in arms[step]:
                path = (*at, "takes", step)
                yield self.document.problem(path, f'"{step}" has no arm "{arm}"', did_you_mean(arm, arms[step]))

    def _answer(self, line: Line, at: Path) -> Iterator[Problem]:
        """An answer that nobody could give."""
        node = self.graph.nodes.get(line.answers or "")
        asked = getattr(getattr(node, "step", None), "ask", None)
        survey = self.content.project.surveys.get(asked.survey) if asked is not None else None
        if survey is None:
            return  # told already
        for name in line.with_.keys() - {"score", "comment"}:
            message = f'an answer has no "{name}"'
            yield self.document.problem((*at, "with", name), message, "it has score and comment", on_key=True)
        if str(line.with_.get("score")) not in {str(score) for score in survey.scores}:
            hint = f"with: {{score: {survey.scores[-1]}}}, of {survey.scores[0]} to {survey.scores[-1]}"
            yield self.document.problem((*at, "answers"), "an answer has a score of the survey", hint)

    def _step(self, step: str, known: list[str], at: Path, what: str, *, on_key: bool = False) -> Iterator[Problem]:
        if step not in known:
            yield self.document.problem(
                at, f'this journey has no {what} "{step}"', did_you_mean(step, known), on_key=on_key
            )

    def _templates(self) -> set[str]:
        return {
            found.text
            for node in self.graph.nodes.values()
            for found in marked(node.step, lambda value: isinstance(value, tuple))
            if found.marker == Refers("template")
        }
