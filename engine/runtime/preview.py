"""A template as one customer would get it: a real one with what is known of them, or a made one with made values.

What isn't known (the event that let somebody in, where they have none like it) is made up from the declared types, and
`made` says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, literal, or_, select

from engine.cohort.cohort import entry_event
from engine.cohort.coupons import held
from engine.cohort.filled import expressions, fill
from engine.cohort.program import Program
from engine.language.content import Content
from engine.language.expression import ExpressionError, parse
from engine.language.graph import Graph
from engine.language.types import Kind, Type
from engine.language.vocabulary import TRANSACTIONAL, Names, Vocabulary
from engine.rendering.links import CONFIRM, PREFERENCES, SURVEY
from engine.rendering.renderer import Renderer
from engine.rendering.values import Links, Rendered
from engine.runtime.values import computed, customer_values, event_values, plain
from engine.segments import sql
from engine.segments.frame import Frame
from engine.steps.coupon import Coupon
from engine.steps.send import Send
from engine.store.tables import coupon, customer, enrolment, event
from engine.store.types import micros

TEXTS = {
    "first_name": "Amina",
    "last_name": "Otieno",
    "email": "amina@shop.example",
    "phone": "+254712345678",
    "telegram": "123456789",
    "country": "KE",
    "order_id": "A-1001",
    "cart_id": "C-1001",
    "sku": "A1",
    "name": "Basket",
}

_NAME = re.compile(r"(?<![\w.\"'])[a-z_][a-z0-9_]*")
"""A name that an expression begins a path with."""


@dataclass(frozen=True)
class Preview:
    """What was rendered, for which journey and step (None: no journey sends it), and what of it was made up.
    `unsubscribe` is the link in it, which ends nobody's consent."""

    rendered: Rendered
    journey: str | None
    step: str | None
    made: tuple[str, ...]
    unsubscribe: str | None = None


@dataclass(frozen=True)
class Place:
    """Where a template is sent: a step of a journey."""

    program: Program
    id: str
    step: Send


def place_of(content: Content, journey: str, step: str) -> Place | None:
    """A step that sends; None when the journey has none of this name that does."""
    program = program_of(content, journey)
    node = program.graph.nodes.get(step)
    return Place(program, step, node.step) if node is not None and isinstance(node.step, Send) else None


def program_of(content: Content, name: str) -> Program:
    """A journey as its file says it now, published or not."""
    journey = content.journeys[name]
    return Program(0, 0, "live", journey, Graph.of(journey), content.project, content.vocabulary)


def places(content: Content, ref: str) -> list[Place]:
    """The steps that send this template, by journey and in the order of its document."""
    found = []
    for name in sorted(content.journeys):
        program = program_of(content, name)
        for node in program.graph.nodes.values():
            if isinstance(node.step, Send) and ref in node.step.templates().values():
                found.append(Place(program, node.id, node.step))
    return found


def preview(
    connection: Connection | None,
    content: Content,
    renderer: Renderer,
    ref: str,
    place: Place | None,
    who: Row[Any] | None,
    locale: str | None,
    now: datetime,
) -> Preview:
    """Render a template for this customer (with the connection that read them), or for a made one.

    Raises RenderError and BrokenTemplate."""
    vocabulary = content.vocabulary
    made: list[str] = []
    names = place.program.names_at(place.id) if place is not None else Names()
    person: Any = who if who is not None else someone(vocabulary, locale, now)
    if who is None:
        made.append("customer")
    entry = _entry(connection, names.entry, who, vocabulary, now, made)
    values: dict[str, Any] = {
        "customer": customer_values(person, vocabulary),
        "entry": event_values(entry.properties, names.entry, vocabulary) if entry is not None else {},
    }
    if place is not None and names.coupons:
        values["coupon"] = _coupon(connection, place, names, who, now, made)
    for step, name in names.results.items():
        values[step] = event_values(sample_event(name, vocabulary, now), name, vocabulary)
        made.append(f"{step} ({name})")
    if names.item is not None:
        item = replace(names.item, kind=Kind.OBJECT)
        values[names.item_as] = plain(sample(names.item_as, item, now), item, vocabulary)
        made.append(f"{names.item_as} (an item)")
    for name, (step, type_) in names.saved.items():
        values[name] = plain(sample(name, type_, now), type_, vocabulary)
        made.append(f"{name} (kept by {step})")
    filled = dict(place.step.with_) if place is not None else {}
    needs = renderer.needs(ref)
    texts = dict.fromkeys([*needs.calls, *(one for text in filled.values() for one in expressions(text))])
    results = {
        text: _result(connection, text, names, vocabulary, who, entry.id if entry is not None else None, now, made)
        for text in texts
    }

    def shown(value: Any) -> str:
        return renderer.shown(value, locale or person.locale, person.timezone)

    values["with"] = {name: fill(text, results, shown) for name, text in filled.items()}
    values["_calls"] = {text: results[text] for text in needs.calls}
    url = (content.project.brand.url or "https://shop.example").rstrip("/") + "/u/preview"
    transactional = place is not None and place.program.journey.topic == TRANSACTIONAL
    pages = url.removesuffix("/u/preview")
    choices, confirm, survey = (f"{pages}{path}preview" for path in (PREFERENCES, CONFIRM, SURVEY))
    bot = f"https://t.me/{content.project.brand.telegram}?start=preview"
    links = Links(None if transactional else url, choices, confirm, survey, bot)
    rendered = renderer.render(ref, locale or person.locale, values, links)
    used = {use.split(".")[0] for use in (*needs.names, *_NAME.findall(" ".join(texts)))}
    told = [what for what in made if what.split(" ")[0] in {"customer", "entry", *used} or what.endswith("(a value)")]
    return Preview(
        rendered,
        place.program.name if place else None,
        place.id if place else None,
        tuple(dict.fromkeys(told)),
        links.unsubscribe,
    )


def someone(vocabulary: Vocabulary, locale: str | None, now: datetime) -> Any:
    """A made customer, as a row of the table would have them."""
    return SimpleNamespace(
        external_id="amina",
        email=TEXTS["email"],
        phone=TEXTS["phone"],
        telegram=TEXTS["telegram"],
        first_name=TEXTS["first_name"],
        last_name=TEXTS["last_name"],
        locale=locale,
        timezone=vocabulary.timezone,
        country=TEXTS["country"],
        birth_month=3,
        birth_day=8,
        birth_year=1990,
        created_at=now - timedelta(days=365),
        attributes={name: sample(name, type_, now) for name, type_ in vocabulary.attributes.items()},
    )


def sample_event(name: str, vocabulary: Vocabulary, now: datetime) -> dict[str, Any]:
    """Made properties of an event, in their kept form."""
    known = vocabulary.events.get(name)
    return {} if known is None else {prop: sample(prop, type_, now) for prop, type_ in known.properties.items()}


def sample(name: str, type_: Type, now: datetime) -> Any:
    """A made value of this type, in its kept form."""
    match type_.kind:
        case Kind.TEXT:
            if name.endswith("url"):
                return "https://shop.example/" + name.removesuffix("_url")
            return TEXTS.get(name, name.replace("_", " "))
        case Kind.BOOLEAN:
            return True
        case Kind.DATE:
            return (now + timedelta(days=30)).date().isoformat()
        case Kind.INSTANT:
            return micros(now)
        case Kind.MONEY:
            return 4990
        case Kind.LIST:
            return [{field: sample(field, inner, now) for field, inner in type_.fields}] * 2
        case Kind.OBJECT:
            return {field: sample(field, inner, now) for field, inner in type_.fields}
    return 2


def _coupon(
    connection: Connection | None, place: Place, names: Names, who: Row[Any] | None, now: datetime, made: list[str]
) -> dict[str, Any]:
    """The code they hold of the pools this journey gives codes of: the one it gave them last, or would give them; else
    a made one."""
    steps = [node.step for name, node in place.program.graph.nodes.items() if name in names.coupons]
    given = [step for step in steps if isinstance(step, Coupon)]
    if connection is not None and who is not None and given:
        ours = exists().where(enrolment.c.coupon_id == coupon.c.id, enrolment.c.journey == place.program.name)
        ever = [step.coupon for step in given if step.scope == "customer"]  # whichever journey gave it
        mine = or_(ours, and_(coupon.c.scope == "customer", coupon.c.pool.in_(ever)))
        pools = coupon.c.pool.in_([step.coupon for step in given])
        newest = (coupon.c.reserved_at.desc(), coupon.c.id.desc())
        theirs = select(coupon.c.code, coupon.c.expires_at).where(held(literal(who.id), now), pools, mine)
        row = connection.execute(theirs.order_by(*newest).limit(1)).first()
        if row is not None:
            return {"code": row.code, "expires": row.expires_at}
    made.append("coupon (a code)")
    return {"code": "YOUR-CODE", "expires": now + timedelta(days=30)}


def _entry(
    connection: Connection | None,
    name: str | None,
    who: Row[Any] | None,
    vocabulary: Vocabulary,
    now: datetime,
    made: list[str],
) -> Any:
    """The last event of the kind that lets customers in, or a made one."""
    if name is None:
        return None
    if connection is not None and who is not None:
        theirs = (event.c.customer_id == who.id, event.c.name == name)
        row = connection.execute(
            select(event).where(*theirs).order_by(event.c.occurred_at.desc(), event.c.id.desc()).limit(1)
        ).first()
        if row is not None:
            return row
    made.append(f"entry ({name})")
    return SimpleNamespace(id=None, properties=sample_event(name, vocabulary, now))


def _result(
    connection: Connection | None,
    text: str,
    names: Names,
    vocabulary: Vocabulary,
    who: Row[Any] | None,
    entry_id: int | None,
    now: datetime,
    made: list[str],
) -> Any:
    """What an expression gives for this customer; made up where it can't be asked."""
    try:
        typed = parse(text, names, vocabulary)
    except ExpressionError:
        return None
    if connection is not None and who is not None:
        frame = Frame(customer=customer, now=now, zone=vocabulary.timezone, entry=entry_event)
        source = customer.outerjoin(entry_event, entry_event.c.id == entry_id)
        try:
            found = sql.value(typed, frame)
        except LookupError:  # it asks about an enrolment, and there is none
            pass
        else:
            row = connection.execute(select(found.label("x")).select_from(source).where(customer.c.id == who.id)).one()
            return computed(row.x, typed.type, vocabulary)
    made.append(f"{text} (a value)")
    if typed.type.kind is Kind.DURATION:
        return None
    return plain(sample("", typed.type, now), typed.type, vocabulary)
