"""What is an expression, what it is refused for, and where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.language import tree
from engine.language.errors import Wrong
from engine.language.expression import (
    ExpressionError,
    Names,
    Vocabulary,
    examine,
    explain,
    parse,
    parse_condition,
    referenced,
)
from engine.language.syntax import Source
from engine.language.types import MONEY, NUMBER, Kind, read_type
from tests.expressions.strategies import NAMES, VOCABULARY, conditions

SHOP = Vocabulary.plain(
    {"tier": "text", "points": "number", "vip": "boolean", "renewal": "date", "spent": "money"},
    {
        "purchase": {
            "value": "total",
            "properties": {
                "total": "money",
                "sku": "text",
                "items": [{"sku": "text", "qty": "number"}],
                "address": {"city": "text"},
            },
        },
        "visit": {},
    },
    topics=["offers"],
    segments=["lapsed"],
    journeys=["welcome"],
    currency="KES",
)
HERE = Names(entry="purchase", sends=frozenset({"hello"}), results={"bought": "purchase"})

REFUSED = [
    # text, where the finger points, message, hint
    ('customer.contry == "KE"', "contry", 'unknown name "customer.contry"', 'did you mean "country"?'),
    ('customer.points > "x"', "customer", "a number can't be compared with a text", "a text stands in quotes"),
    (
        "customer.points > 90d",
        "customer",
        "a number can't be compared with a duration",
        "write the number as a duration",
    ),
    ("entry.total > customer.points", "entry", "an amount of money can't be compared with a number", "a plain number"),
    ('event.total > 50 and customer.tier == "a"', "event", 'there is no "event" here', "no event is being judged"),
    ('item.sku == "A1"', "item", 'there is no "item" here', "an entry of a list"),
    ("costumer.vip", "costumer", 'unknown name "costumer"', 'did you mean "customer"?'),
    ("customer", "customer", '"customer" is not a value', "customer. and one of its names"),
    ("customer.tier == gold", "gold", 'unknown name "gold"', 'write "gold" in quotes'),
    ("entry.items.sku == 1", "sku", "entry.items is a list", "use any(entry.items, item.sku …)"),
    ("customer.tier.upper() == 1", "() ==", "this can't be called", "functions of the language"),
    ("customer.tier|upper == 1", "|", "filters can't be used", ""),
    ('customer["tier"] == "a"', "[", "square brackets can't follow a value", "any(…)"),
    ("customer.points is odd", "is", '"is odd" can\'t be used', "compare with =="),
    ("customer.points is none", "is", '"is none" can\'t be used', "is not set"),
    ("customer.points == none", "none", "there is no none", "is not set"),
    ('customer.tier ~ "a" == "b"', "customer", "texts can't be put together", ""),
    ('customer.tier + "a" == "b"', "customer", '"+" can\'t be used between a text and a text', "put together"),
    ('customer.tier == "a" "b"', '"b"', "texts can't be put together", ""),
    ("1 < customer.points < 3", "3", "one comparison at a time", "write a < b and b < c"),
    ("customer.vip if customer.vip else false", "customer", "if … else can't be used", "branch"),
    ("customer.points // 2 == 1", "customer", '"//" can\'t be used', 'use "/"'),
    ("customer.points ** 2 == 1", "customer", '"**" can\'t be used', ""),
    ("customer.points % 2 == 1", "customer", '"%" can\'t be used', ""),
    ("customer.points == +2", "+", '"+" can\'t stand before a value', ""),
    ("customer.points == 1.5h", "1.5h", '"1.5h" is not a duration', "a whole number of a smaller unit"),
    ("customer.points == 0x10", "0x10", '"0x10" is not a number', "plain digits"),
    ("customer.points == 1_000", "1_000", '"1_000" is not a number', "plain digits"),
    ("customer.points > 1e101", "1e101", "beyond what can be counted", ""),
    ("customer.points > 1 / 0", "1 / 0", "nothing can be divided by zero", ""),
    ("1 > 2", "1 > 2", "the same for everybody", ""),
    ('"a" in ["a"]', '"a"', "the same for everybody", ""),
    ("customer.tier in []", "[", "an empty list holds nothing", ""),
    ('customer.tier in "gold"', '"gold"', 'a list is expected after "in"', "square brackets"),
    ("customer.tier in customer.tier", "customer.tier", 'a list is expected after "in"', ""),
    ("customer.vip > true", "customer", "true or false is not more or less", '"==" or "!="'),
    ("entry.items == entry.items", "entry", "a list of objects can't be compared", "any(…)"),
    ('customer.birthday == "1990-02-30"', '"1990-02-30"', 'there is no day "1990-02-30"', ""),
    ('customer.created > "yesterday"', '"yesterday"', '"yesterday" is not a date', "year-month-day"),
    ("customer.renewal + 5h == now", "5h", "a date moves by whole days", "5d or 2w"),
    ("customer.renewal + customer.points == now", "customer", "between a date and a number", ""),
    ("now + 5 > customer.created", "now", "between a moment and a number", ""),
    ("-customer.tier == 1", "-", "can't stand before a text", ""),
    ("customer.points and customer.vip", "customer", "true or false is expected here", "compare it with something"),
    ("not customer.points", "customer.points", "true or false is expected here", ""),
    ("customer.points", "customer", "a condition is expected here, and this is a number", "compare it"),
    ('did("purchas")', '"purchas"', 'unknown event "purchas"', 'did you mean "purchase"?'),
    ("did(purchase)", "purchase", "event is a name in quotes", 'did("…")'),
    ("did()", "did", "did() needs event", "did(event, [within=…], [where=…])"),
    ('did("purchase", 90d)', "90d", "takes no such argument here", "write within=…"),
    ('did("purchase", wihin=90d)', "wihin", '"wihin" is not an argument', "[within=…]"),
    ('did("purchase", within=90)', "90)", "within is a duration", "90d"),
    ('did("purchase", within=0d)', "0d", "within is no time at all", "1m"),
    ('did("purchase", where=did("visit"))', 'did("visit', "can't be used inside did()", "one entry only"),
    ('did("purchase", where=event.totl > 1)', "totl", 'unknown name "event.totl"', '"total"?'),
    ('total("purchase", "sku") > 1', '"sku"', "sku is a text and can't be added up", "total"),
    ('total("purchase") > 1', "total", "total() needs property", ""),
    ('in_segment("lapse")', '"lapse"', 'unknown segment "lapse"', 'did you mean "lapsed"?'),
    ('consented("mail", "offers")', '"mail"', 'unknown channel "mail"', '"email"?'),
    ('consented("email", "ofers")', '"ofers"', 'unknown topic "ofers"', '"offers"?'),
    ('clicked("helo")', '"helo"', 'unknown send step "helo"', '"hello"?'),
    ('in_journey("x")', '"x"', 'unknown journey "x"', "welcome"),
    ("any(entry.total, true)", "entry", "any() wants a list, and this is an amount of money", "entry.items"),
    ("any(entry.items)", "any", "any() needs a condition", "item.sku"),
    ("age(customer.tier) > 1", "customer", "age() wants a date, and this is a text", ""),
    ("points(1) > 1", "1", "points() takes no such argument here", "points()"),
    ('coupon.code == "x"', "coupon", 'there is no "coupon" here', "a step coupon: POOL comes first"),
    ("foo(1)", "foo", 'unknown function "foo"', ""),
    ("did == true", "did", '"did" is a function', "did(…)"),
    ('"a".upper() == "A"', "() ==", "this can't be called", ""),
    ("customer.vip = true", "=", 'unexpected "="', '"=="'),
    ("customer.vip && true", "&", 'unexpected "&"', '"and"'),
    ("!customer.vip", "!", 'unexpected "!"', '"not"'),
    ("customer.vip customer.vip", "customer.vip", 'unexpected "customer"', ""),
    ("(customer.vip", "", "unexpected end", ""),
    ('customer.tier == "gold', '"gold', "no closing quote", ""),
    ("{{ customer.vip }}", "{{", 'unexpected "{"', "without {{ }}"),
    ("customer.vip }}", "}}", 'unexpected "}}"', "without {{ }}"),
    ("", "", "an expression is expected here", ""),
    ('customer.tier == "a\x00"', "\x00", "a control character", ""),
    ('customer.tier == "\\u0000"', '"\\u0000"', "no stored text can have", ""),
]


@pytest.mark.parametrize(("text", "at", "message", "hint"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_is_not_in_the_language_is_refused_where_it_stands(text: str, at: str, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        parse_condition(text, HERE, SHOP)
    error = refused.value
    assert text[error.offset :].startswith(at), (error.offset, error.message)
    assert message in error.message
    assert hint in (error.hint or "")


def _reads(text: str) -> bool:
    try:
        Source(text)
    except ExpressionError:
        return False
    return True


def test_every_fault_of_an_expression_is_told_at_once() -> None:
    """Any two faulty expressions, each of which could be parsed: one text made of them has the faults of both."""
    faulty = [case for case in REFUSED if _reads(case[0]) and "a condition is expected" not in case[2]]
    assert len(faulty) > 50
    for text, _, message, _ in faulty:
        for other, _, also, _ in faulty[::6]:
            whole = f"customer.vip and ({text} or ({other}))"
            told = [(fault.offset, fault.message) for fault in examine(whole, HERE, SHOP, condition=True).faults]
            assert any(message in one for at, one in told if at < len(text) + 19), (whole, told)
            assert any(also in one for at, one in told if at >= len(text) + 19), (whole, told)
            assert told == sorted(set(told), key=lambda fault: fault[0]), whole


def test_what_only_comes_of_another_fault_is_not_told() -> None:
    text = 'did("purchas", where=event.total > 5) and any(customer.itms, item.sku == 1) and foo(item.sku, event.x)'
    told = [fault.message for fault in examine(text, HERE, SHOP).faults]
    assert told == ['unknown event "purchas"', 'unknown name "customer.itms"', 'unknown function "foo"']


@given(st.text(alphabet="abc.()[]{}\"'\\ ,|=!<>+-*/%~0123456789dhmwx_\n\té\U0001d4b3{}#", max_size=40))
def test_any_text_is_read_or_refused_inside_it(text: str) -> None:
    try:
        parse(text, HERE, SHOP)
    except ExpressionError as error:
        assert 0 <= error.offset <= len(text)


@given(text=conditions(3), cut=st.integers(0, 200))
def test_a_text_cut_short_is_read_or_refused_inside_it(text: str, cut: int) -> None:
    try:
        parse(text[:cut], NAMES, VOCABULARY)
    except ExpressionError as error:
        assert 0 <= error.offset <= cut


@pytest.mark.parametrize("text", ["(" * 3000, "not " * 900 + "customer.vip", "-" * 3000 + "1", "a" * 5000])
def test_what_is_too_deep_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"nested too deeply|longer than|is expected here|unexpected"):
        parse(text, HERE, SHOP)


def test_an_amount_is_written_in_the_units_one_pays_in() -> None:
    compared = parse("entry.total > 49.99", HERE, SHOP)
    assert isinstance(compared, tree.Compare)
    assert compared.right == tree.Literal(type=MONEY, value=4999.0)
    yen = Vocabulary.plain({}, {"purchase": {"properties": {"total": "money"}}}, currency="JPY")
    in_yen = parse("entry.total > 50", HERE, yen)
    assert isinstance(in_yen, tree.Compare)
    assert in_yen.right == tree.Literal(type=MONEY, value=50.0)


def test_unequal_is_not_equal() -> None:
    unequal, equal = (parse_condition(f'customer.tier {op} "gold"', HERE, SHOP) for op in ("!=", "=="))
    assert unequal == tree.Not(part=equal)


def test_arithmetic_of_numbers_is_done_while_reading() -> None:
    typed = parse("customer.points > 2 * 3 - 1", HERE, SHOP)
    assert isinstance(typed, tree.Compare)
    assert typed.right == tree.Literal(type=NUMBER, value=5.0)


def test_a_condition_is_told_part_by_part_in_its_own_words() -> None:
    text = 'customer.tier == "gold" and (did("purchase", within=90d)\n  or  customer.vip) and not tagged("x")'
    parts = explain(parse_condition(text, HERE, SHOP), text)
    assert [words for words, _ in parts] == [
        'customer.tier == "gold"',
        '(did("purchase", within=90d) or customer.vip)',
        'not tagged("x")',
    ]
    assert [type(part) for _, part in parts] == [tree.Compare, tree.Or, tree.Not]
    assert explain(parse_condition("customer.vip", HERE, SHOP), "customer.vip")[0][0] == "customer.vip"


def test_an_expression_tells_what_it_refers_to() -> None:
    text = (
        'bought.total > 5 and entry.address.city == "x" and times("visit", within=7d) > 1 and in_segment("lapsed")'
        ' and in_journey("welcome") and tagged("t") and consented("sms", "offers") and clicked("hello")'
        ' and now > "2020-01-01"'
    )
    found = referenced(parse_condition(text, HERE, SHOP))
    assert found.names == {"bought.total", "entry.address.city"}
    assert (*found.events, *found.segments, *found.journeys) == ("visit", "lapsed", "welcome")
    assert (*found.tags, *found.topics, *found.sends, found.now) == ("t", ("sms", "offers"), "hello", True)


def test_types_are_read_from_their_words() -> None:
    declared = read_type([{"sku": "text", "parts": [{"n": "number"}]}])
    assert declared.kind is Kind.LIST
    assert declared.field_names == ("sku", "parts")
    with pytest.raises(Wrong, match='unknown type "txt"') as wrong:
        read_type({"a": {"b": "txt"}})
    assert (wrong.value.at, wrong.value.hint) == (("a", "b"), 'did you mean "text"?')
    with pytest.raises(Wrong, match="holds nothing"):
        read_type({})
