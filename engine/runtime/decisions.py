"""One decision in words: what a step did with somebody, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from engine.cohort import coupons, points
from engine.cohort.cohort import HELD_BACK, entry_event
from engine.cohort.gate import NO_COUPON
from engine.cohort.program import Program
from engine.cohort.standing import IN_DOUBT, SENT
from engine.language.graph import Node
from engine.language.moments import duration_text
from engine.runtime.conditions import Judged, judge_then
from engine.runtime.doubted import decided, is_later, since
from engine.runtime.words import Words, held, stopped
from engine.segments.frame import Frame
from engine.steps.branch import Branch
from engine.steps.call import Call
from engine.steps.coupon import Coupon
from engine.steps.each import Each
from engine.steps.notify import Notify
from engine.steps.points import Points
from engine.steps.send import Send
from engine.steps.split import Split
from engine.steps.wait import Wait
from engine.steps.wait_for import WaitFor
from engine.store.tables import customer, enrolment, event

_WITHOUT = {
    coupons.NONE_LEFT: "there was none left",
    coupons.USED_UP: "theirs was redeemed or has expired, and there is no second one",
}


@dataclass(frozen=True)
class Told:
    """A decision in words. `aside`: it says nothing that the decision before it didn't."""

    words: str
    aside: bool = False


def told(
    connection: Connection,
    program: Program | None,
    way: Row[Any],
    one: Row[Any],
    message: Row[Any] | None,
    until: datetime | None,
    words: Words,
    later: Sequence[Row[Any]] = (),
) -> Told:
    """What `one` (a decision, with its event's name) did in the enrolment `way`. `until`: when the stay ended or will;
    `later`: the decisions about its message that were made when that was in doubt.
    """
    node = program.graph.nodes.get(one.step) if program is not None and one.step is not None else None
    if one.kind == "enters":
        return Told(_entered(connection, program, way, one, words))
    if one.kind == "ends":
        return Told(_ended(one, words))
    if one.kind == "stays":
        return Told(_stays(node, one, until, words))
    if is_later(one.kind):
        call = node is not None and isinstance(node.step, Call)
        what = "the message" if message is None else message.template
        return Told(decided(one, what, "asked" if call else "sent"))
    if one.outcome == "goal":
        return Told(f"went on at once: the goal's {one.event} came")
    if node is None or program is None:
        return Told(f"left {one.step}: {one.outcome}" + (f" ({one.reason})" if one.reason else ""))
    return _moved(connection, program, node, way, one, message, words, later)


def cause(program: Program | None, text: str, event_name: str | None) -> str:
    """What let somebody in: `a purchase came`."""
    kind, _, rest = text.partition("#")[0].partition(":")  # after it: which of two merged customers
    enter: Any = None if program is None else program.journey.enter
    if kind == "event":
        return f"{event_name or 'an event'} came"
    if kind == "join":
        return f"they joined the segment {enter.segment}" if hasattr(enter, "segment") else "they joined the segment"
    if kind == "date":
        return f"{enter.date} came" if hasattr(enter, "date") else "the date came"
    if kind == "schedule":
        return f"the schedule went off ({rest.replace('T', ' ')})"
    if kind == "start":
        return "another journey sent them"
    if kind == "each":
        return f"it is item {rest.rpartition(':')[2]} of a list"
    if kind == "manual":
        return "somebody entered them by hand"
    return text


def _entered(connection: Connection, program: Program | None, way: Row[Any], one: Row[Any], words: Words) -> str:
    why = cause(program, way.cause, one.event)
    if one.outcome == "held_out":
        share = "" if program is None else f" ({program.journey.holdout / 100:g}%)"
        return f"entered, because {why}, and was held out{share}: is measured, and takes no step"
    return f"entered, because {why}"


def _ended(one: Row[Any], words: Words) -> str:
    at = f" at {one.step}" if one.step else ""
    reason = one.reason or ""
    if one.outcome == "exited" and reason.startswith("event:"):
        return f"left{at}: {reason.removeprefix('event:')} came"
    if one.outcome == "exited":
        seen = ", ".join(f"{name} was {value}" for name, value in (one.detail or {}).items())
        return f"left{at}: a condition of exit became true" + (f" ({seen})" if seen else "")
    if one.outcome == "with_parent":
        return f"ended{at}: the journey of which this is an item is over"
    if one.outcome == "restarted":
        return f"ended{at}: started anew by the next entry"
    if one.outcome == "stopped":
        by = reason.removeprefix("journey:")
        return f"ended{at}: stopped by " + (
            "hand" if by == "manual" else f"the journey {by}" if by else "another journey"
        )
    if one.outcome == "goal":
        return f"ended{at}: the goal was reached"
    if one.outcome == "not_sent":
        return f"ended{at}: the message was not sent ({stopped(reason or None, '', '')})"
    if one.outcome == "merged":
        return f"ended{at}: two customers turned out to be one, and their older way through this journey counts"
    if one.outcome == NO_COUPON:
        return f"ended{at}: there was no coupon for them"
    if one.outcome == "missed":
        return f"ended{at}: the moment to wait for has gone by, or there is none"
    return f"ended: {one.outcome}"


def _stays(node: Node | None, one: Row[Any], until: datetime | None, words: Words) -> str:
    end = f", until {words.time(until)}" if until is not None else ""
    if node is not None and isinstance(node.step, WaitFor):
        awaited = node.step.wait_for
        return f"waits for {awaited.event}, {duration_text(awaited.within)} at most{end}"
    if node is not None and isinstance(node.step, Wait):
        return f"waits {node.step.wait}{end}"
    if one.outcome == HELD_BACK:
        return f"the message is held{end}: {held(one.reason)}"
    if node is not None and isinstance(node.step, Coupon):
        return f"waits for a code of {node.step.coupon}{end}"
    if node is not None and isinstance(node.step, Each):
        return f"waits for its {(one.detail or {}).get('items', 0):g} items" + (
            f", {node.step.at_most} at most" if one.reason else ""
        )
    return f"{one.outcome}{end}"


def _moved(
    connection: Connection,
    program: Program,
    node: Node,
    way: Row[Any],
    one: Row[Any],
    message: Row[Any] | None,
    words: Words,
    later: Sequence[Row[Any]],
) -> Told:
    step = node.step
    if isinstance(step, Send):
        return Told(_sent(step, program, one, message, later))
    if isinstance(step, Call):
        return Told(_called(step, one, message, later))
    if isinstance(step, Each):
        return Told("the ways of all items have ended" if way.parent_id is None else _did(node))
    if isinstance(step, Wait):
        return Told("the wait is over", aside=True)
    if isinstance(step, WaitFor):
        heard = f"{one.event} came" if one.event is not None else f"no {step.wait_for.event} came"
        when = f" at {words.time(one.occurred_at)}" if one.event is not None else ""
        return Told(f"{heard}{when}")
    if isinstance(step, Split):
        return Told(f"drew {one.outcome}")
    if isinstance(step, Branch):
        return Told(_branched(connection, program, step, node, way, one, words))
    if isinstance(step, Coupon):
        return Told(_coupon(step, one))
    if isinstance(step, Points):
        return Told(_points(step, one))
    if isinstance(step, Notify):
        return Told(f"told {step.notify.to}: {step.notify.text}")
    return Told(_did(node))


def _coupon(step: Coupon, one: Row[Any]) -> str:
    if one.outcome == coupons.GIVEN:
        return f"got the code {(one.detail or {}).get('code')} of {step.coupon}"
    return f"got no code of {step.coupon}: {_WITHOUT.get(one.outcome, one.outcome)}"


def _points(step: Points, one: Row[Any]) -> str:
    if one.outcome != points.GIVEN:
        if one.reason == "page":
            return "got no points: an event that brought them here came with a browser key, which anybody can read"
        return f"got no points: {step.points.give} came to none"
    number = (one.detail or {}).get("points", 0)
    pending = f", pending for {duration_text(step.points.pending)}" if step.points.pending else ""
    return f"got {number:,} point{'' if number == 1 else 's'}{pending}"


def _sent(step: Send, program: Program, one: Row[Any], message: Row[Any] | None, later: Sequence[Row[Any]]) -> str:
    template = message.template if message is not None else step.primary
    channel = template.partition("/")[0]
    if one.outcome == "sent":
        instead = f" instead of {step.primary}" if template != step.primary else ""
        return f"sent {template}{instead}"
    if one.outcome == "in_doubt":
        doubtful, became = since(message, later, "sent")
        if doubtful:
            return f"{template} is in doubt: nobody can say whether the provider took it; {became}"
        return f"{template} was in doubt; {became}"
    why = stopped(one.reason, channel, program.journey.topic or "")
    return f"{template} was not sent: {why}"


def _called(step: Call, one: Row[Any], message: Row[Any] | None, later: Sequence[Row[Any]]) -> str:
    host = step.call.host
    if one.outcome == SENT:
        return f"asked {host}" + (f", but nothing is kept of its {one.reason}" if one.reason else "")
    if one.outcome == IN_DOUBT:
        doubtful, became = since(message, later, "asked")
        can = "can" if doubtful else "could"
        return f"asked {host}, and nobody {can} say whether that arrived ({one.reason}); {became}"
    return f"{host} was not asked, or refused: {stopped(one.reason, '', '')}"


def _branched(
    connection: Connection, program: Program, step: Branch, node: Node, way: Row[Any], one: Row[Any], words: Words
) -> str:
    """Which arm, and of each arm before it why it wasn't."""
    because = []
    for label, arm in zip(node.arms, step.branch, strict=False):
        if arm.if_ is None:
            break
        judged = seen_then(connection, program, node.id, arm.if_, one.detail or {}, way.id, one.at)
        if label == one.outcome:
            if judged is not None:
                because.append(words.parts(judged.parts, one.at, past=True))
            break
        if judged is not None:
            because.append(words.parts(judged.false, one.at, past=True))
    took = "took else" if one.outcome == "else" else f"took the arm {one.outcome}"
    return took + (f", since {'; '.join(because)}" if because else "")


def seen_then(
    connection: Connection,
    program: Program,
    step_id: str,
    text: str,
    recorded: dict[str, Any],
    enrolment_id: int,
    at: datetime,
) -> Judged | None:
    """A condition of a step as the recorded values make it."""
    names = program.names_at(step_id)
    typed = program.parsed(text, names, True)
    frame = Frame(
        customer=customer,
        now=at,
        zone=program.project.brand.timezone,
        entry=entry_event,
        enrolment=enrolment,
        item=enrolment.c.item if names.item is not None else None,
        child=names.item is not None,
    )
    source = enrolment.join(customer, customer.c.id == enrolment.c.customer_id).outerjoin(
        entry_event, entry_event.c.id == enrolment.c.event_id
    )
    return judge_then(connection, typed, text, recorded, frame, source, enrolment.c.id == enrolment_id)


def _did(node: Node) -> str:
    """A step that does one thing, in the words it was written in."""
    value = getattr(node.step, node.type, None)
    shown = getattr(value, "model_dump", None)
    if shown is not None:
        value = shown(by_alias=True, exclude_none=True)
    if isinstance(value, dict):
        parts = (f"{name}: {duration_text(v) if hasattr(v, 'total_seconds') else v}" for name, v in value.items())
        value = "{" + ", ".join(parts) + "}"
    return f"{node.type}: {value}" if value is not None else node.type


def event_row(connection: Connection, event_id: int) -> Row[Any] | None:
    """The event of this id."""
    return connection.execute(select(event).where(event.c.id == event_id)).first()
