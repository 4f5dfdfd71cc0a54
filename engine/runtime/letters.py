"""What a batch of messages needs to be rendered, read in one go: addresses, values, and what the gate says now."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, false, func, or_, select

from engine.cohort import coupons
from engine.cohort.cohort import entry_event
from engine.cohort.filled import expressions, fill, text_of
from engine.cohort.gate import ADDRESS, DUPLICATE, HOLDS, TEAM, stop_reason
from engine.cohort.program import Program
from engine.cohort.scope import Scope
from engine.language.types import Kind
from engine.rendering.renderer import Renderer
from engine.rendering.values import BrokenTemplate, Rendered
from engine.runtime.references import reference
from engine.runtime.values import computed, customer_values, event_values, plain
from engine.steps.call import Asked, Call
from engine.steps.notify import Notify
from engine.steps.send import Send
from engine.store.tables import coupon, customer, decision, enrolment, event, message
from engine.store.types import micros

_WHOSE = (
    message.join(enrolment, enrolment.c.id == message.c.enrolment_id)
    .join(customer, customer.c.id == message.c.customer_id)
    .outerjoin(entry_event, entry_event.c.id == enrolment.c.event_id)
)
"""A message with its enrolment, its customer, and the event that let them in."""

_COUPON = re.compile(r"\bcoupon\b")


@dataclass(frozen=True)
class Letter:
    """A claimed message with all that rendering it takes. `was_held`: it has waited for the end of quiet hours or for
    room under a cap. `stop`: why it may not go after all; `no_coupon`: it would carry a code, and there is none;
    `links`: those that its template shows; `confirms`: it asks for the second yes; `survey`: the one it asks; `call`:
    what is asked of another system, with a `key` that no other call has."""

    message_id: int
    enrolment_id: int
    visit: int
    customer_id: int
    fence: int
    attempts: int
    ref: str
    route: str
    channel: str
    template: str
    topic: str
    journey: str
    step: str
    external_id: str
    address: str
    name: str
    locale: str | None
    was_held: bool
    stop: str | None
    values: dict[str, Any]
    no_coupon: bool = False
    links: frozenset[str] = frozenset()
    address_hash: str | None = None
    confirms: bool = False
    survey: str | None = None
    call: Asked | None = None
    key: str = ""


def load(
    connection: Connection, program: Program, step_id: str, ids: Sequence[int], now: datetime, renderer: Renderer
) -> list[Letter]:
    """The letters of these claimed messages of one step, in order."""
    scope = Scope(program, now, step=step_id)
    routes = connection.execute(
        select(message.c.channel, message.c.template).where(message.c.id.in_(ids)).distinct()
    ).all()
    found = []
    for channel, template in sorted(routes):
        found += _of_one_template(connection, scope, step_id, ids, channel, template, renderer)
    return sorted(found, key=lambda letter: letter.message_id)


def _of_one_template(
    connection: Connection,
    scope: Scope,
    step_id: str,
    ids: Sequence[int],
    channel: str,
    template: str,
    renderer: Renderer,
) -> list[Letter]:
    program = scope.program
    step = program.graph.nodes[step_id].step
    filled = dict(step.with_) if isinstance(step, Send) else {}
    if isinstance(step, Notify):
        filled = {"text": step.notify.text}
    asked = step.call if isinstance(step, Call) else None
    if asked is not None:
        calls, links = asked.expressions, frozenset[str]()
    else:
        calls, links = ((), frozenset[str]()) if channel == TEAM else _needs(renderer, template)
    texts = dict.fromkeys([*calls, *(one for text in filled.values() for one in expressions(text))])
    these = and_(message.c.id.in_(ids), message.c.channel == channel, message.c.template == template)
    carrying = channel != TEAM and carries(renderer, template, texts)
    if carrying:
        coupons.carry(connection, these, scope.now)
    columns = [scope.value(text).label(f"x_{n}") for n, text in enumerate(texts)]
    stop = _stop(scope, step_id, channel)
    codeless = coupons.carries_none(scope.now) if carrying else false()
    rows = connection.execute(
        select(
            message.c.id.label("message_id"),
            message.c.fence,
            message.c.attempts,
            message.c.enrolment_id,
            message.c.visit,
            message.c.route,
            message.c.topic,
            message.c.customer_id,
            message.c.queued_at,
            message.c.reason.label("held"),
            stop.label("stop"),
            case((codeless, 1), else_=0).label("no_coupon"),
            *(column for column in customer.c if column.name != "id"),
            entry_event.c.properties.label("entry_properties"),
            enrolment.c.item,
            enrolment.c.parent_id,
            coupon.c.code.label("coupon_code"),
            coupon.c.expires_at.label("coupon_expires"),
            *columns,
        )
        .select_from(_WHOSE.outerjoin(coupon, coupon.c.id == message.c.coupon_id))
        .where(these)
    ).all()
    ways = [way for row in rows for way in (row.enrolment_id, row.parent_id) if way is not None]
    heard, saved = _heard(connection, program, ways), _saved(connection, program, ways)
    names = program.names_at(step_id)
    letters = []
    for row in rows:
        results = {
            text: computed(row._mapping[f"x_{n}"], scope.typed(text).type, program.vocabulary)
            for n, text in enumerate(texts)
        }
        reader, put = ((None, None), text_of) if channel == TEAM else ((row.locale, row.timezone), fill)
        show = partial(_shown, renderer, *reader)
        values: dict[str, Any] = {
            "customer": customer_values(row, program.vocabulary),
            "entry": event_values(row.entry_properties, program.names.entry, program.vocabulary),
            "with": {name: put(text, results, show) for name, text in filled.items()},
            "coupon": {"code": row.coupon_code, "expires": row.coupon_expires},
            "_calls": {text: results[text] for text in calls},
            # What no way of theirs led through has nothing in it: a template may still ask whether it is set.
            **{name: {} for name in (*names.results, *names.saved)},
        }
        for way in filter(None, (row.parent_id, row.enrolment_id)):
            values |= {**heard.get(way, {}), **saved.get(way, {})}
        if names.item is not None:
            values[names.item_as] = plain(row.item, replace(names.item, kind=Kind.OBJECT), program.vocabulary) or {}
        letters.append(
            Letter(
                message_id=row.message_id,
                enrolment_id=row.enrolment_id,
                visit=row.visit,
                customer_id=row.customer_id,
                fence=row.fence,
                attempts=row.attempts,
                ref=reference(row.enrolment_id, row.visit, row.route),
                route=row.route,
                channel=channel,
                template=template,
                topic=row.topic,
                journey=program.name,
                step=step_id,
                external_id=row.external_id,
                address="" if channel not in ADDRESS else row._mapping[ADDRESS[channel][0].name] or "",
                name=" ".join(filter(None, (row.first_name, row.last_name))),
                locale=row.locale,
                was_held=row.held in HOLDS,
                stop=row.stop,
                no_coupon=bool(row.no_coupon),
                values=values,
                links=links,
                address_hash=None if channel not in ADDRESS else row._mapping[ADDRESS[channel][1].name],
                confirms=isinstance(step, Send) and step.second_yes,
                survey=step.survey() if isinstance(step, Send) else None,
                call=asked,
                key=f"{reference(row.enrolment_id, row.visit, row.route)}-{micros(row.queued_at):x}",
            )
        )
    return letters


def carries(renderer: Renderer, template: str, texts: Iterable[str]) -> bool:
    """Whether a message has a coupon's code in it: by its template, or by what is filled into it."""
    try:
        needs = renderer.needs(template)
    except BrokenTemplate:
        return False
    return any(_COUPON.search(text) for text in (*needs.names, *needs.calls, *texts))


def _stop(scope: Scope, step_id: str, channel: str) -> ColumnElement[Any]:
    """What the gate says now of a message and the customer who stands at this step for it, up to where caps are asked:
    a reason not to send it, or NULL."""
    step = scope.program.graph.nodes[step_id].step
    # Whose message was in doubt has gone on: what is sent once more is sent for where they stood.
    left = and_(message.c.doubts == 0, or_(enrolment.c.state != "standing", enrolment.c.visit != message.c.visit))
    when = scope.condition(step.when) if isinstance(step, Send | Call) and step.when is not None else None
    here = None if channel == TEAM else left
    second_yes = isinstance(step, Send) and step.second_yes
    stop = stop_reason(channel, scope.program.topic, scope.now, left=here, when=when, second_yes=second_yes)
    collapsed = and_(message.c.reason == DUPLICATE, message.c.doubts == 0)
    return func.coalesce(stop, case((collapsed, DUPLICATE)))


def stops(
    connection: Connection, program: Program, step_id: str, letters: Sequence[Letter], now: datetime
) -> dict[int, str]:
    """Those of these messages (by id) that may not go any more, and why."""
    scope = Scope(program, now, step=step_id)
    found: dict[int, str] = {}
    for channel in sorted({letter.channel for letter in letters}):
        ids = [letter.message_id for letter in letters if letter.channel == channel]
        stop = _stop(scope, step_id, channel)
        rows = connection.execute(
            select(message.c.id, stop.label("stop")).select_from(_WHOSE).where(message.c.id.in_(ids))
        )
        found |= {message_id: reason for message_id, reason in rows if reason is not None}
    return found


def spent(connection: Connection, letters: Sequence[Letter], now: datetime) -> set[int]:
    """Those of these messages (ids) whose code their customer can't use any more."""
    with_code = [letter.message_id for letter in letters if letter.values["coupon"]["code"] is not None]
    if not with_code:
        return set()
    return set(connection.scalars(select(message.c.id).where(message.c.id.in_(with_code), coupons.carries_none(now))))


def _shown(renderer: Renderer, locale: str | None, zone: str | None, value: Any) -> str:
    return renderer.shown(value, locale, zone)


def notice(letter: Letter) -> Rendered:
    """What the team gets: the text, under the journey's name."""
    text = str(letter.values["with"].get("text") or "")
    return Rendered(
        channel="email", subject=f"{letter.journey}: {text.splitlines()[0][:80] if text else ''}", text=text
    )


def _needs(renderer: Renderer, template: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """The functions a template calls, and the links it shows."""
    try:
        needs = renderer.needs(template)
        return needs.calls, needs.link_names
    except BrokenTemplate:
        return (), frozenset()  # rendering says what is wrong, message by message


def _heard(connection: Connection, program: Program, enrolments: Sequence[int]) -> dict[int, dict[str, Any]]:
    """`<id>.*`: for each enrolment the events its wait_for steps heard, the latest of each step."""
    if not program.names.results:
        return {}
    rows = connection.execute(
        select(decision.c.enrolment_id, decision.c.step, event.c.properties)
        .join(event, event.c.id == decision.c.event_id)
        .where(
            decision.c.enrolment_id.in_(list(enrolments)),
            decision.c.kind == "moves",
            decision.c.step.in_(list(program.names.results)),
        )
        .order_by(decision.c.enrolment_id, decision.c.visit)
    )
    found: dict[int, dict[str, Any]] = {}
    for enrolment_id, step, properties in rows:
        values = event_values(properties, program.names.results[step], program.vocabulary)
        found.setdefault(enrolment_id, {})[step] = values
    return found


def _saved(connection: Connection, program: Program, enrolments: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What steps have kept for each enrolment, by its name: the latest of each step."""
    names = {step: (name, type_) for name, (step, type_) in program.names.saved.items()}
    if not names:
        return {}
    rows = connection.execute(
        select(decision.c.enrolment_id, decision.c.step, decision.c.detail)
        .where(
            decision.c.enrolment_id.in_(list(enrolments)), decision.c.kind == "moves", decision.c.step.in_(list(names))
        )
        .order_by(decision.c.enrolment_id, decision.c.visit)
    )
    found: dict[int, dict[str, Any]] = {}
    for enrolment_id, step, detail in rows:
        name, type_ = names[step]
        found.setdefault(enrolment_id, {})[name] = plain(detail, type_, program.vocabulary) or {}
    return found
