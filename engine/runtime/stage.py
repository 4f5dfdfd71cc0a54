"""The stage of one scenario: the engine over an empty database, a virtual clock, and the customer the story is
about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import shake_256
from itertools import accumulate
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import delete, exists, literal, null, or_, select, text, update
from sqlmodel import SQLModel

from engine.channels.base import Outgoing, Result, Sender
from engine.channels.call import judged
from engine.channels.memory import Memory
from engine.cohort import coupons
from engine.cohort.arms import HOLDOUT, LOTS, PRIME, arm_of, bucket_of
from engine.cohort.gate import ADDRESS, TEAM
from engine.guarded.client import Answer
from engine.language.content import Content
from engine.language.fields import Refers, marked
from engine.language.graph import Graph
from engine.language.journey import Journey
from engine.language.project import Segments
from engine.language.registry import Registry
from engine.language.scenario import Line, Scenario
from engine.rendering.links import Confirmation, Pages
from engine.rendering.renderer import Renderer
from engine.runtime import feedback, preferences, story, surveys
from engine.runtime.advance import WHOLE, Shard, StepReport
from engine.runtime.ahead import next_moment
from engine.runtime.clock import VirtualClock
from engine.runtime.door import Door, Problems
from engine.runtime.ingest import Incoming
from engine.runtime.matching import let_in
from engine.runtime.post import Post
from engine.runtime.profile import Writer
from engine.runtime.references import reference
from engine.runtime.runtime import Runtime
from engine.runtime.story import Told
from engine.runtime.witness import Witness
from engine.steps.call import ROUTE
from engine.steps.send import Send
from engine.steps.split import Split
from engine.store.database import Database
from engine.store.tables import IN_JOURNEY, candidate, coupon, customer, enrolment, message, zone_period
from engine.store.zones import instant

SOURCE = "scenario"
ROUNDS = 100
"""Looks at one moment, at most: after that the journeys wake each other for ever."""

TRIES = 100_000

PLENTY = 20
"""Codes of a pool, in a story of one customer."""


class EngineFailed(Exception):
    """The engine could not do its part: what it says goes into the failure of the scenario."""


THEIR_CODE = "{{ coupon.code }}"
"""What a story writes in an event for the code that the customer was given."""


class CannotHappen(Exception):
    """A line that nobody could act: they can't click in a message that was never sent."""


class WatchedRuntime(Runtime):
    """The engine, with somebody who looks after every move."""

    witness: Witness | None = None
    zone = "UTC"

    def move(self, version_id: int, step_id: str, pass_id: str, shard: Shard = WHOLE) -> StepReport:
        report = super().move(version_id, step_id, pass_id, shard)
        self.look()
        return report

    def look(self) -> None:
        if self.witness is not None:
            with self.database.read() as connection:
                self.witness.look(connection, self.clock.now(), self.zone)


class Answerer:
    """Stands for every system that is asked: it says what the lines of the story let it say, each call's in turn."""

    def __init__(self, journey: str, story: Iterable[Line]) -> None:
        self._journey = journey
        self._waiting: dict[str, list[Any]] = {}
        for line in story:
            if line.calls is not None:
                self._waiting.setdefault(line.calls, []).append({} if line.responds is None else line.responds)
        self._given: dict[str, Any] = {}

    def send(self, message: Outgoing) -> Result:
        assert message.request is not None
        if message.ref not in self._given:
            told = self._waiting.get(message.labels["step"], []) if message.labels["journey"] == self._journey else []
            self._given[message.ref] = told.pop(0) if told else {}
        said = self._given[message.ref]
        answer = Answer(said, {}, b"") if isinstance(said, int) else Answer(200, {}, orjson.dumps(said))
        return judged(answer, message.request, message.at)


@dataclass(frozen=True)
class House:
    """What all scenarios of a run share: the content, and templates that are compiled once."""

    content: Content
    registry: Registry
    renderer: Renderer
    door: Door

    @classmethod
    def of(cls, content: Content, registry: Registry) -> House:
        door = Door(content.project, content.vocabulary, "the scenarios' own and no secret")
        return cls(content, registry, Renderer(content.root, content.project), door)


class Stage:
    """One scenario, set up at its start. Empties the database first."""

    def __init__(self, house: House, journey: str, scenario: Scenario, database: Database) -> None:
        self.house = house
        self.journey = house.content.journeys[journey]
        self.graph = house.content.graphs[journey]
        self.scenario = scenario
        self.database = database
        self.id = scenario.customer.id
        brand = house.content.project.brand
        self.brand_zone = brand.timezone
        self.starts = story.starts(scenario, brand.timezone)
        zone = ZoneInfo(scenario.customer.profile.get("timezone") or brand.timezone)
        history = [(instant(one.at, zone), one) for one in scenario.before]
        self.clock = VirtualClock(min([self.starts, *(at for at, _ in history)]))
        self.channel = Memory()
        sender = Sender(brand.sender.name, brand.sender.email) if brand.sender else Sender(brand.name)
        channels = dict.fromkeys([*house.content.project.channels, "email", TEAM], self.channel)
        post = Post(
            channels,
            house.renderer,
            sender,
            lambda one: f"https://unsubscribe.example/{one.channel}",
            house.content.project.team,
            Answerer(journey, scenario.story),
            1,
            pages=Pages(["the scenarios' own and no secret"], "https://pages.example"),
        )
        cast = cast_of(house.content, journey)
        content = without(unspread(spoken_of(house.content, cast)), scenario.empty)
        self.runtime = WatchedRuntime(database, content, house.registry, self.clock, post, Drawn())
        self._events = 0
        self._settled = False  # nobody has looked at the moment of the start yet
        empty(database)
        self._stock(content)
        self._introduce()
        for at, one in sorted(history, key=lambda pair: pair[0]):
            self.clock.advance_to(at)
            self._event(one.event, one.with_, live=False)
        self.clock.advance_to(self.starts)
        self.runtime.publish(cast)
        program = next(p for p in self.runtime.programs().values() if p.name == journey)
        self.witness = Witness(program, house.content.vocabulary)
        self.lines = story.lines_of(scenario, brand.timezone, self.witness.said)
        self.runtime.witness, self.runtime.zone = self.witness, zone.key
        if self.journey.enter.type == "manual":
            self._enter_by_hand()
        self.runtime.look()

    # What happens to the customer

    def act(self, told: Told) -> None:
        """Let a line happen, now or at its moment, and let the engine do what follows. Raises CannotHappen."""
        if told.deed.at > self.clock.now():
            self.clock.advance_to(told.deed.at)
        line, now = told.line, self.clock.now()
        if line.event is not None:
            self._event(line.event, self._with_their_code(line.with_), live=True)
        elif line.updates is not None:
            self._update(line.updates)
        elif line.opts_out is not None:
            channel, _, topic = line.opts_out.partition("/")
            with self.database.write() as connection:
                feedback.opt_out(connection, self.id, channel, topic, now, SOURCE)
        else:
            self._answer(line, now)
        self.witness.deeds.append(told.deed)
        self.witness.chapter += 1
        self.runtime.look()
        self.settle()

    def _event(self, name: str, given: Mapping[str, Any], *, live: bool) -> None:
        problems = Problems()
        properties = self.house.door.properties(name, given, problems)
        _sound(problems)
        self._events += 1
        key = f"{SOURCE}-{self._events}"
        incoming = Incoming(self.id, name, key, self.clock.now(), properties, source=SOURCE)
        if self.runtime.ingest([incoming], live=live).parked:
            raise EngineFailed(f"the event {name} could not be matched with a journey; it is parked")

    def _with_their_code(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        if THEIR_CODE not in given.values():
            return given
        theirs = coupon.join(customer, customer.c.id == coupon.c.customer_id)
        last = select(coupon.c.code).select_from(theirs).where(customer.c.external_id == self.id)
        with self.database.read() as connection:
            code = connection.scalar(last.order_by(coupon.c.reserved_at.desc(), coupon.c.id.desc()).limit(1))
        if code is None:
            raise CannotHappen("no code was given until then")
        return {name: code if value == THEIR_CODE else value for name, value in given.items()}

    def _update(self, given: Mapping[str, Any]) -> None:
        problems = Problems()
        profile = self.house.door.profile(given, problems)
        _sound(problems)
        with self.database.write() as connection:
            writer = Writer(connection, self.clock.now())
            (row_id,) = writer.customers([self.id]).values()
            writer.apply(row_id, profile)
            writer.flush()
        if given.get("timezone"):
            self.runtime.zone = given["timezone"]

    def _answer(self, line: Line, now: datetime) -> None:
        step = None if line.replies is not None else str(getattr(line, line.verb))
        mine = [message.c.state == "accepted", message.c.route.not_in((TEAM, ROUTE)), customer.c.external_id == self.id]
        if step is not None:
            mine += [enrolment.c.journey == self.journey.name, message.c.step == step]
        last = (
            select(message.c.enrolment_id, message.c.visit, message.c.route, message.c.settled_at, message.c.channel)
            .join(enrolment, enrolment.c.id == message.c.enrolment_id)
            .join(customer, customer.c.id == message.c.customer_id)
            .where(*mine)
            .order_by(message.c.settled_at.desc(), message.c.id.desc())
            .limit(1)
        )
        with self.database.read() as connection:
            found = connection.execute(last).first()
        if found is None:
            raise CannotHappen(f"nothing was sent at {step} until then" if step else "nothing was sent until then")
        ref = reference(*found[:3])
        if line.answers is not None:
            self._answer_survey(line, ref, now)
            return
        if line.confirms is not None:
            self._confirm(found.channel, found.settled_at, now)
            return
        verb = {"opens": "opened", "clicks": "clicked", "bounces": "bounced", "replies": "replied"}[line.verb]
        detail = {"text": line.replies} if line.replies is not None else {}
        one = feedback.Feedback(ref, verb, now, detail)  # type: ignore[arg-type]
        self.runtime.hear([one])

    def _answer_survey(self, line: Line, ref: str, now: datetime) -> None:
        step = self.graph.nodes[str(line.answers)].step
        survey = step.survey() if isinstance(step, Send) else None
        assert survey is not None  # check has seen to it
        with self.database.read() as connection:
            asked = surveys.asked(connection, ref)
        if asked is None or asked.answered:
            raise CannotHappen("a survey is answered once")
        comment = str(line.with_.get("comment") or "")
        self.runtime.ingest([surveys.answer(asked, survey, int(line.with_["score"]), comment, now)])

    def _confirm(self, channel: str, asked_at: datetime, now: datetime) -> None:
        with self.database.read() as connection:
            row = connection.execute(select(customer).where(customer.c.external_id == self.id)).one()
            address_hash = row._mapping[ADDRESS[channel][1].name] or ""
            asked = Confirmation(self.id, channel, self.journey.topic or "", address_hash, asked_at)
            stands = preferences.standing(connection, asked, now)
        if stands != "open":
            raise CannotHappen(f"there is no yes to confirm: {stands}")
        self.runtime.ingest([preferences.confirmed(asked, "yes", now)])

    # What the engine does

    def run_to(self, at: datetime) -> None:
        """Let the engine do all that comes before this moment."""
        if not self._settled and at > self.clock.now():
            self.settle()
        while (ahead := next_moment(self.runtime, at)) is not None:
            self.clock.advance_to(ahead)
            self.settle()

    def step_on(self) -> bool:
        """Go to the next moment, wherever it is. False when nothing will happen any more."""
        ahead = next_moment(self.runtime)
        if ahead is not None:
            self.clock.advance_to(ahead)
            self.settle()
        return ahead is not None

    def settle(self) -> None:
        """Everything that is due now."""
        self._settled = True
        for _ in range(ROUNDS):
            ticked = self.runtime.tick()
            self.runtime.look()
            if ticked.failed:
                raise EngineFailed(
                    ", ".join(f"{name} could not let anybody in: {e}" for name, e in ticked.failed.items())
                )
            if not self.runtime.advance("scenario") and not ticked.entered:
                return
        raise EngineFailed(f"no rest after {ROUNDS} looks at {self.clock.now()}")

    def still_inside(self, entered_until: datetime) -> bool:
        """Whether the customer is in the journey, or at its door, since this moment or before."""
        inside = exists().where(
            enrolment.c.journey == self.journey.name, IN_JOURNEY, enrolment.c.entered_at <= entered_until
        )
        waits = exists().where(candidate.c.journey == self.journey.name, candidate.c.since <= entered_until)
        with self.database.read() as connection:
            return bool(connection.scalar(select(or_(inside, waits))))

    # How it begins

    def _stock(self, content: Content) -> None:
        """Codes for the pools whose codes are loaded, but for those that the scenario has emptied."""
        pools = content.project.coupons
        loaded = [name for name in pools if pools[name].generate is None and name not in self.scenario.empty]
        if loaded:
            with self.database.write() as connection:
                for name in loaded:
                    coupons.add_codes(connection, name, [f"{name.upper()}-{n:04}" for n in range(1, PLENTY)])

    def _introduce(self) -> None:
        person = self.scenario.customer
        said = [(one, True) for one in person.consent] + [(one, False) for one in person.pending]
        consents = {one: {"confirmed": confirmed} for one, confirmed in said}
        given = {**person.profile, "consent": consents, "tags": list(person.tags)}
        given.pop("created", None)
        problems = Problems()
        profile = self.house.door.profile(given, problems)
        told = person.profile.get("created")
        created = None if told is None else _created(str(told), self.brand_zone)
        with self.database.write() as connection:
            writer = Writer(connection, self.clock.now())
            (row_id,) = writer.customers([self.id]).values()
            writer.apply(row_id, replace(profile, created_at=created))
            writer.flush()
            held_out = any(line.ends == "held_out" for line in self.scenario.story)
            bucket = lot(self.journey, self.graph, self.id, held_out=held_out)
            connection.execute(update(customer).where(customer.c.id == row_id).values(bucket=bucket))

    def _enter_by_hand(self) -> None:
        named = select(
            customer.c.id.label("customer_id"), literal("manual:scenario").label("cause"), null().label("event_id")
        ).where(customer.c.external_id == self.id)
        with self.database.write() as connection:
            let_in(connection, self.witness.program, named, self.clock.now())


def spoken_of(content: Content, journeys: Iterable[str]) -> Content:
    """The content with those segments only that stand in the texts of these journeys, and those that they use in turn:
    to look at the others would cost time and change nothing."""
    texts = [content.sources[name] for name in journeys]
    names: set[str] = set()
    waiting = [name for name in content.segments if any(name in text for text in texts)]
    while waiting:
        name = waiting.pop()
        if name not in names:
            names.add(name)
            waiting += [other for other in content.segments if other in content.segments[name].when]
    return replace(
        content, segments=Segments({name: content.segments[name] for name in content.segments if name in names})
    )


def unspread(content: Content) -> Content:
    """The content, but that what quiet hours held goes out when they end: a story has one customer."""
    quiet = content.project.quiet_hours
    if quiet is None:
        return content
    at_once = quiet.model_copy(update={"spread": timedelta(0)})
    return replace(content, project=content.project.model_copy(update={"quiet_hours": at_once}))


def without(content: Content, pools: Sequence[str]) -> Content:
    """The content with pools that make no codes any more."""
    if not pools:
        return content
    dry = {name: pool for name, pool in content.project.coupons.items() if name in pools}
    dry = {name: pool.model_copy(update={"generate": None, "count": None}) for name, pool in dry.items()}
    project = content.project.model_copy(update={"coupons": {**content.project.coupons, **dry}})
    return replace(content, project=project)


class Drawn:
    """Chance that is the same in every run."""

    def __init__(self) -> None:
        self._drawn = 0

    def __call__(self, size: int) -> bytes:
        self._drawn += 1
        return shake_256(f"{SOURCE} {self._drawn}".encode()).digest(size)


def cast_of(content: Content, journey: str) -> list[str]:
    """The journey and those that it starts or stops, directly or by way of another."""
    names: list[str] = []
    waiting = [journey]
    while waiting:
        name = waiting.pop()
        if name in content.journeys and name not in names:
            names.append(name)
            waiting += [one.text for one in marked(content.journeys[name]) if one.marker == Refers("journey")]
    return sorted(names)


def lot(journey: Journey, graph: Graph, external_id: str, *, held_out: bool) -> int:
    """The customer's bucket: their own, or the next one that takes the same arms and is held out, or isn't, as the
    story says.
    """
    own = bucket_of(external_id)
    if not journey.holdout or (journey.holdout >= LOTS and not held_out):
        return own
    arms = arms_of(journey.name, graph, own)
    for n in range(TRIES):
        bucket = (own + n) % PRIME
        out = arm_of(bucket, journey.name, HOLDOUT) < journey.holdout
        if out == held_out and (out or arms_of(journey.name, graph, bucket) == arms):
            return bucket
    return own


def arms_of(journey: str, graph: Graph, bucket: int) -> dict[str, str]:
    """The arm of each split that this bucket takes."""
    taken = {}
    for node in graph.nodes.values():
        if isinstance(node.step, Split):
            bounds = accumulate(one.share for one in node.step.split)
            drawn = arm_of(bucket, journey, node.id)
            taken[node.id] = next(label for label, bound in zip(node.arms, bounds, strict=True) if drawn < bound)
    return taken


def empty(database: Database) -> None:
    """Take everything out of the database but time zones. Only for databases that scenarios have to themselves."""
    tables = [table for table in reversed(SQLModel.metadata.sorted_tables) if table is not zone_period]
    with database.write() as connection:
        if database.dialect == "postgresql":
            connection.execute(text(f"TRUNCATE {', '.join(table.name for table in tables)} RESTART IDENTITY CASCADE"))
        else:
            for table in tables:
                connection.execute(delete(table))


def _sound(problems: Problems) -> None:
    if problems.found:
        raise CannotHappen("; ".join(f"{name}: {message}" for name, message in problems.found.items()))


def _created(said: str, zone: str) -> datetime:
    local = datetime.fromisoformat(said)
    return (local if local.tzinfo else local.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)
