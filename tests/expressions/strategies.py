"""Random customers, with everything that can be wrong about stored values, and random expressions about them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from engine.language.expression import ExpressionError, Names, Vocabulary, parse
from tests.expressions.oracle import DAY, EPOCH, Happening, Person

OBJECT = {
    "sku": "text",
    "qty": "number",
    "price": "money",
    "gift": "boolean",
    "ready": "date",
    "parts": [{"sku": "text"}],
}
PROPERTIES = {
    "total": "money",
    "tip": "money",
    "weight": "number",
    "sku": "text",
    "paid": "boolean",
    "due": "date",
    "seen": "instant",
    "items": [OBJECT],
    "address": {"city": "text", "floor": "number"},
}
ATTRIBUTES = {
    "tier": "text",
    "größe": "text",
    "points": "number",
    "factor": "number",
    "vip": "boolean",
    "renewal": "date",
    "trial": "date",
    "seen": "instant",
    "spent": "money",
    "limit": "money",
}
VOCABULARY = Vocabulary.plain(
    ATTRIBUTES,
    {"purchase": {"value": "total", "properties": PROPERTIES}, "visit": {"properties": PROPERTIES}},
    topics=["offers"],
    segments=["lapsed", "vip"],
    journeys=["welcome"],
    currency="KES",
    timezone="Africa/Nairobi",
)
NAMES = Names(entry="purchase", event="visit", results={"bought": "purchase"}, sends=frozenset({"hello"}))
ZONES = ["Africa/Nairobi", "America/New_York", "Asia/Kathmandu", "Pacific/Kiritimati"]
MOMENTS = [
    datetime(2026, 3, 1, 9, tzinfo=UTC),
    datetime(2024, 2, 28, 23, 30, tzinfo=UTC),
    datetime(2024, 2, 29, 12, tzinfo=UTC),
    datetime(2025, 2, 28, 12, tzinfo=UTC),
    datetime(2025, 12, 31, 21, tzinfo=UTC),
    datetime(2026, 3, 8, 7, 0, 0, 1, tzinfo=UTC),
]
TEXTS = [
    "",
    "A1",
    "a1",
    "KE",
    "é",
    "é",
    "Ω",
    "中",
    "\U0001d4b3",
    "\uffff",
    'say "hi"',
    "back\\slash",
    "it's",
    "%s",
    ":x",
    "0",
    "A1 ",
]
DAYS = ["2026-03-01", "2026-03-02", "2024-02-29", "1990-02-29", "1990-12-31", "0001-01-01", "9999-12-31", "2000-01-01"]
NUMBERS = [0, 1, -1, 2, 3.0, 2.5, -0.5, 0.1, 1e-7, 100, 1e100, -1e100, 1e-100, 1e16, 123456.789, 7]
WRONG: list[Any] = [
    None,
    True,
    False,
    "5",
    "",
    "now",
    [],
    {},
    [1],
    {"sku": "A1"},
    1e101,
    1e-101,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
]
WRONG += [
    "2026-02-30",
    "2026-13-01",
    "2026-3-1",
    "2026-03-01 ",
    "20260301",
    "0000-01-01",
    "+2026-01-01",
    1.5,
    2.0**53,
    2**53 + 1,
    0.5,
    -0.5,
    2.4999,
    0.49999999999999994,
    4999.5,
    -4999.5,
    4503599627370495.5,
]

JSON = st.sampled_from(WRONG + TEXTS + DAYS + NUMBERS)
FORMS: dict[str, st.SearchStrategy[Any]] = {
    "text": st.sampled_from(TEXTS),
    "number": st.sampled_from(NUMBERS) | st.integers(-50, 50) | st.integers(-999, 999).map(lambda n: n / 8),
    "boolean": st.booleans(),
    "date": st.sampled_from(DAYS),
    "instant": st.sampled_from([(m - EPOCH).total_seconds() * 1e6 for m in MOMENTS]).map(int),
    "money": st.integers(-100, 100_000)
    | st.sampled_from([0, 5000, 4999, 5001, 2**43 - 1, -(2**43) + 1, 2**43, 2**53, 5000.0]),
}


def form(declared: Any) -> st.SearchStrategy[Any]:
    """A stored value that was declared so: mostly of that form, sometimes not."""
    if isinstance(declared, list):
        right: st.SearchStrategy[Any] = st.lists(form(declared[0]), max_size=3)
    elif isinstance(declared, dict):
        right = fields(declared)
    else:
        right = FORMS[declared]
    return st.one_of(right, right, right, right, JSON)


def fields(declared: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    forms = {name: form(type_) for name, type_ in declared.items()}
    return st.fixed_dictionaries(forms) | st.fixed_dictionaries({}, optional=forms)


@st.composite
def happenings(draw: st.DrawFn, now: int) -> Happening:
    back = draw(st.sampled_from([0, 1, DAY, DAY - 1, 2 * DAY, 30 * DAY, 90 * DAY, 90 * DAY - 1, 400 * DAY, -1, -DAY]))
    return Happening(draw(st.sampled_from(["purchase", "visit"])), now - back, draw(fields(PROPERTIES)))


@st.composite
def people(draw: st.DrawFn, now: int) -> Person:
    text = st.none() | st.sampled_from(TEXTS)
    events = draw(st.lists(happenings(now), max_size=6))
    columns = {name: draw(text) for name in ("email", "phone", "first_name", "last_name", "locale", "country")}
    columns["timezone"] = draw(st.sampled_from([None, "Nowhere/Land", *ZONES]))
    purchases = [e for e in events if e.name == "purchase"]
    visits = [e for e in events if e.name == "visit"]
    return Person(
        columns=columns,
        attributes=draw(fields(ATTRIBUTES)),
        events=events,
        birth=(
            draw(st.sampled_from([None, 1, 2, 3, 12])),
            draw(st.sampled_from([None, 1, 2, 8, 28, 29, 31])),
            draw(st.sampled_from([None, 1990, 2000, 2008])),
        ),
        created=now - draw(st.integers(0, 1000)) * DAY,
        consents=draw(st.sets(st.tuples(st.sampled_from(["email", "sms"]), st.just("offers")))),
        tags=draw(st.sets(st.sampled_from(["a", "é"]))),
        segments=draw(st.sets(st.sampled_from(["lapsed", "vip"]))),
        journeys=draw(st.sets(st.just("welcome"))),
        messages=draw(
            st.sets(st.tuples(st.sampled_from(["sent", "opened", "machine_opened", "clicked"]), st.just("hello")))
        ),
        results={"bought": draw(st.sampled_from([None, *purchases]))} if draw(st.booleans()) else {},
        entry=draw(st.sampled_from([None, *purchases])),
        judged=draw(st.sampled_from([None, *visits])),
    )


@st.composite
def crowds(draw: st.DrawFn) -> tuple[datetime, list[Person]]:
    """A moment, and some people at it."""
    now = draw(st.sampled_from(MOMENTS))
    micros = (now - EPOCH) // (DAY_LENGTH / DAY)
    return now, draw(st.lists(people(micros), min_size=1, max_size=5))


DAY_LENGTH = datetime(1970, 1, 2, tzinfo=UTC) - EPOCH


# Expressions, as text


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def names(kind: str, inside: str) -> st.SearchStrategy[str]:
    """The names of a type that may be used: `inside` is where, item or nothing."""
    found = [f"customer.{name}" for name, type_ in ATTRIBUTES.items() if type_ == kind]
    found += [f"customer.{n}" for n in ("country", "first_name")] if kind == "text" else []
    found += ["customer.created"] if kind == "instant" else []
    scopes = ["entry", "event"] if inside else ["entry", "event", "bought"]
    found += [f"{scope}.{name}" for scope in scopes for name, type_ in PROPERTIES.items() if type_ == kind]
    found += [f"{scope}.address.city" for scope in scopes] if kind == "text" else []
    if inside == "item":
        found += [f"item.{name}" for name, type_ in OBJECT.items() if type_ == kind] * 3
    return st.sampled_from(found)


DURATIONS = st.sampled_from(["30m", "24h", "1d", "2d", "90d", "4w", "0d"])
WINDOWS = st.sampled_from(["1m", "1d", "24h", "30d", "90d", "52w"])
EVENT = st.sampled_from(['"purchase"', '"visit"'])
OPERATOR = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
LITERALS = {
    "text": st.sampled_from(TEXTS).map(quoted),
    "number": st.sampled_from(["0", "1", "2", "2.5", "0.1", "1e100", "1e-100", "100", "-1", "-2.5", "7"]),
    "money": st.sampled_from(["0", "50", "49.99", "49.999", "-1", "1000", "0.01"]),
    "date": st.sampled_from([quoted(d) for d in DAYS if d[0] != "1990-02-29" and d != "1990-02-29"]),
    "instant": st.sampled_from([quoted(d) for d in DAYS if d != "1990-02-29"]),
    "duration": DURATIONS,
}


@st.composite
def counted(draw: st.DrawFn, function: str, depth: int) -> str:
    event = draw(EVENT)
    arguments = [event]
    if function == "total":
        arguments.append(draw(st.sampled_from(['"total"', '"tip"', '"weight"'])))
    if draw(st.booleans()):
        arguments.append(f"within={draw(WINDOWS)}")
    if depth > 0 and draw(st.booleans()):
        arguments.append(f"where={draw(conditions(depth - 1, 'where'))}")
    return f"{function}({', '.join(arguments)})"


@st.composite
def money_or_number(draw: st.DrawFn, kind: str, depth: int, inside: str) -> str:
    choices = ["name"] * 3
    if not inside:
        choices += ["total"] + (["times"] if kind == "number" else [])
    if kind == "number":
        choices += ["age", "days", "count", "ratio"]
    if depth > 0:
        choices += ["sum", "scaled"]
    match draw(st.sampled_from(choices)):
        case "total":
            return draw(counted("total", depth).filter(lambda t: ('"weight"' in t) == (kind == "number")))
        case "times":
            return draw(counted("times", depth))
        case "age":
            return f"age({draw(st.just('customer.birthday') | dates(0, inside) | names('instant', inside))})"
        case "days":
            return f"days_until({draw(st.just('customer.birthday') | dates(0, inside) | names('instant', inside))})"
        case "count":
            return draw(listed("count", depth, inside))
        case "ratio" if depth > 0:
            part = draw(st.sampled_from(["money", "duration"]))
            return f"({draw(values(part, depth - 1, inside))} / {draw(values(part, depth - 1, inside))})"
        case "sum":
            op = draw(st.sampled_from("+-"))
            return f"({draw(values(kind, depth - 1, inside))} {op} {draw(operands(kind, depth - 1, inside))})"
        case "scaled":
            op = draw(st.sampled_from("*/"))
            factor = draw(operands("number", depth - 1, inside)).replace("/ 0)", "/ 1)")
            if op == "/" and factor == "0":
                factor = "customer.points"
            return f"({draw(values(kind, depth - 1, inside))} {op} {factor})"
    return draw(names(kind, inside))


@st.composite
def dates(draw: st.DrawFn, depth: int, inside: str) -> str:
    if draw(st.integers(0, 2)) == 0:
        moved = draw(st.sampled_from(["+", "-"]))
        return f"({draw(names('date', inside))} {moved} {draw(st.sampled_from(['1d', '2w', '48h']))})"
    return draw(names("date", inside))


@st.composite
def instants(draw: st.DrawFn, depth: int, inside: str) -> str:
    kind = draw(
        st.sampled_from(["name", "now", *([] if inside else ["first", "last"]), *(["moved"] if depth > 0 else [])])
    )
    if kind in ("first", "last"):
        return f"{kind}({draw(EVENT)})"
    if kind == "moved":
        op = draw(st.sampled_from("+-"))
        return f"({draw(instants(depth - 1, inside))} {op} {draw(operands('duration', depth - 1, inside))})"
    return "now" if kind == "now" else draw(names("instant", inside))


@st.composite
def durations(draw: st.DrawFn, depth: int, inside: str) -> str:
    choices = [*([] if inside else ["elapsed", "usual_gap"]), "between", "days"]
    kind = draw(st.sampled_from(choices + (["sum", "scaled"] if depth > 0 else [])))
    if kind in ("elapsed", "usual_gap"):
        return f"{kind}({draw(EVENT)})"
    if kind == "days":
        return f"({draw(dates(0, inside))} - {draw(dates(0, inside))})"
    if kind == "sum":
        op = draw(st.sampled_from("+-"))
        return f"({draw(durations(depth - 1, inside))} {op} {draw(operands('duration', depth - 1, inside))})"
    if kind == "scaled":
        factor = draw(st.sampled_from(["2.5", "0.1", "customer.points", "customer.factor"]))
        return f"({draw(durations(depth - 1, inside))} {draw(st.sampled_from('*/'))} {factor})"
    return f"({draw(instants(0, inside))} - {draw(instants(0, inside))})"


def values(kind: str, depth: int, inside: str = "") -> st.SearchStrategy[str]:
    """An expression of this type that isn't a plain literal."""
    match kind:
        case "money" | "number":
            return money_or_number(kind, depth, inside)
        case "date":
            return dates(depth, inside)
        case "instant":
            return instants(depth, inside)
        case "duration":
            return durations(depth, inside)
    return names(kind, inside)


def operands(kind: str, depth: int, inside: str) -> st.SearchStrategy[str]:
    return values(kind, depth, inside) | LITERALS[kind]


@st.composite
def listed(draw: st.DrawFn, function: str, depth: int, inside: str) -> str:
    over = draw(st.sampled_from(["entry.items", "event.items", *(["item.parts"] * 4 if inside == "item" else [])]))
    if function == "count" and (depth <= 0 or draw(st.booleans())):
        return f"count({over})"
    if over == "item.parts":
        where = f"item.sku {draw(OPERATOR)} {draw(LITERALS['text'])}"
    else:
        where = draw(conditions(max(depth - 1, 0), "item"))
    return f"{function}({over}, {where})"


@st.composite
def comparisons(draw: st.DrawFn, depth: int, inside: str) -> str:
    kind = draw(
        st.sampled_from(["text", "number", "money", "date", "instant", "duration", "boolean", "mixed", "birthday"])
    )
    if kind == "boolean":
        left = draw(names("boolean", inside))
        right = draw(st.sampled_from(["true", "false"]) | names("boolean", inside))
        return f"{left} {draw(st.sampled_from(['==', '!=']))} {right}"
    if kind == "mixed":
        return f"{draw(dates(0, inside))} {draw(OPERATOR)} {draw(instants(1, inside))}"
    if kind == "birthday":
        return f"customer.birthday {draw(OPERATOR)} {draw(LITERALS['date'] | dates(0, inside) | st.just('now'))}"
    left = draw(values(kind, depth, inside))
    if draw(st.integers(0, 4)) == 0:
        options = draw(st.lists(operands(kind, 0, inside), min_size=1, max_size=3))
        return f"{left} {draw(st.sampled_from(['in', 'not in']))} [{', '.join(options)}]"
    right = draw(operands(kind, depth, inside))
    return f"{left} {draw(OPERATOR)} {right}" if draw(st.booleans()) else f"{right} {draw(OPERATOR)} {left}"


FACTS = [
    'in_segment("lapsed")',
    'in_segment("vip")',
    'consented("email", "offers")',
    'consented("sms", "transactional")',
    'tagged("é")',
    'in_journey("welcome")',
    'sent("hello")',
    'opened("hello")',
    'opened("hello", machines=true)',
    'clicked("hello")',
]


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2, inside: str = "") -> str:
    """A condition. `inside`: in the where of a count, or over a list."""
    choices = ["compare"] * 4 + ["set", "boolean"] + ([] if inside else ["did", "did", "fact"])
    if depth > 0:
        choices += ["and", "or", "not", "not", "any", "all"]
    match draw(st.sampled_from(choices)):
        case "set":
            kind = draw(st.sampled_from(["text", "number", "boolean", "date", "instant", "money"]))
            fixed = ["customer.birthday", "entry.items", "entry.address"]
            return (
                f"{draw(names(kind, inside) | st.sampled_from(fixed))} is {draw(st.sampled_from(['set', 'not set']))}"
            )
        case "boolean":
            return draw(names("boolean", inside) | st.sampled_from(["true", "false"]))
        case "did":
            return draw(counted("did", depth))
        case "fact":
            return draw(st.sampled_from(FACTS))
        case "and" | "or" as word:
            parts = draw(st.lists(conditions(depth - 1, inside), min_size=2, max_size=3))
            return "(" + f" {word} ".join(parts) + ")"
        case "not":
            return f"not {draw(conditions(depth - 1, inside))}"
        case "any" | "all" as function:
            return draw(listed(function, depth, inside))
    return draw(comparisons(depth, inside))


VALUES = st.sampled_from(["text", "number", "money", "date", "instant", "duration"]).flatmap(lambda k: values(k, 2))


def readable(text: str) -> bool:
    """Whether the language takes it: not when it is nested more deeply than every database can read."""
    try:
        parse(text, NAMES, VOCABULARY)
    except ExpressionError as error:
        assert "nested too deeply" in str(error), error
        return False
    return True
