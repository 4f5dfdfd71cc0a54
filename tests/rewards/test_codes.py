"""The life of a code, from the pool to the till, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.channels.base import InDoubt, Refused
from engine.runtime import doubts
from engine.store.database import Database
from tests.engine.shop import Shop
from tests.rewards.giving import CODE, REWARDS, crowd, giving, nobody_shares, states, stock, told

GIVE = "  - coupon: back\n  - send: email/code\n"


def test_a_code_is_issued_once_its_message_was_accepted(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, GIVE)
    shop.happens("amina", "purchase")
    shop.settle()
    (code,) = told(shop)["amina@shop.example"]
    assert shop.rows("SELECT code, state, pool FROM coupon") == [(code, "issued", "back")]
    assert code.startswith("BACK-") and len(code) == 13


def test_everybody_of_a_crowd_has_a_code_of_their_own(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, GIVE)
    crowd(shop, 600)
    shop.settle()
    codes = [code for theirs in told(shop).values() for code in theirs]
    assert len(codes) == len(set(codes)) == 600
    assert states(shop, "back") == {"issued": 600}


def test_a_pool_that_makes_so_many_makes_no_more(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, "  - coupon: scarce\n  - send: email/code\n")
    crowd(shop, 20)
    shop.settle()
    assert len(told(shop)) == 12
    assert states(shop, "scarce") == {"issued": 12}
    assert shop.rows("SELECT reason, count(*) FROM message WHERE state = 'stopped' GROUP BY reason") == [
        ("no_coupon", 8)
    ]


def test_the_same_code_is_reserved_when_asked_again_in_the_entry(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, GIVE + "  - wait: 1d\n" + GIVE)
    shop.happens("amina", "purchase")
    shop.settle()
    shop.later(days=1)
    one, other = told(shop)["amina@shop.example"]
    assert one == other
    shop.happens("amina", "purchase")
    shop.settle()
    assert told(shop)["amina@shop.example"][2] != one


def test_a_step_of_its_own_scope_reserves_another(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, "  - coupon: back\n    scope: step\n  - send: email/code\n" * 2)
    shop.happens("amina", "purchase")
    shop.settle()
    assert len(set(told(shop)["amina@shop.example"])) == 2


def test_a_customer_has_one_code_in_the_scope_of_the_customer(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, "  - coupon: back\n    scope: customer\n  - send: email/code\n")
    for _ in range(3):  # side by side, in one cohort
        shop.happens("amina", "purchase")
    shop.settle()
    codes = told(shop)["amina@shop.example"]
    assert len(codes) == 3 and len(set(codes)) == 1
    shop.happens("amina", "purchase", coupon=codes[0].lower())
    shop.settle()
    assert states(shop, "back") == {"redeemed": 1}
    assert len(told(shop)["amina@shop.example"]) == 3, "what is used up is not told again, and there is no second one"


def test_a_code_whose_message_was_not_sent_goes_back(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, "  - coupon: few\n  - send: email/code\n")
    stock(shop, "few", "F-1")
    shop.sink.answers["amina@shop.example"] = Refused("bad_address")
    shop.happens("amina", "purchase")
    shop.settle()
    assert states(shop, "few") == {"released": 1}
    shop.happens("baraka", "purchase")
    shop.settle()
    assert told(shop)["baraka@shop.example"] == ["F-1"]
    assert states(shop, "few") == {"issued": 1}


def test_a_code_waits_for_the_next_message_that_can_carry_it(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, "  - coupon: few\n  - send: sms/code\n  - wait: 1d\n  - send: email/code\n")
    (tmp_path / "templates/sms/code.txt").write_text("code {{ coupon.code }}!")
    stock(shop, "few", "F-1")
    shop.happens("amina", "purchase")  # who may not be sent an SMS
    shop.settle()
    assert states(shop, "few") == {"reserved": 1}
    shop.later(days=1)
    assert told(shop)["amina@shop.example"] == ["F-1"]
    assert states(shop, "few") == {"issued": 1}


def test_a_code_goes_back_when_they_leave_before_it_was_told(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, "  - coupon: few\n  - wait: 1d\n  - send: email/code\n")
    stock(shop, "few", "F-1")
    shop.happens("amina", "purchase")
    shop.settle()
    assert states(shop, "few") == {"reserved": 1}
    shop.happens("amina", "closed")
    shop.settle()
    assert states(shop, "few") == {"released": 1}
    assert shop.rows("SELECT customer_id, scope FROM coupon") == [(None, None)]


def test_a_code_goes_back_once_no_message_is_left_to_carry_it(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, "  - coupon: few\n  - send: sms/code\n  - wait: 14d\n")
    (tmp_path / "templates/sms/code.txt").write_text("code {{ coupon.code }}!")
    stock(shop, "few", "F-1")
    shop.happens("amina", "purchase")
    shop.settle()
    assert states(shop, "few") == {"released": 1}, "they are inside for two weeks, and nothing of it can tell the code"


def doubted(tmp_path: Path, database: Database) -> tuple[Shop, str]:
    """A shop whose only code is in a message of which nobody knows whether it went, and that message's id."""
    shop = giving(tmp_path, database, "  - coupon: few\n  - send: email/code\n")
    stock(shop, "few", "F-1")
    shop.sink.answers["amina@shop.example"] = InDoubt("timeout")
    shop.happens("amina", "purchase")
    shop.settle()
    (ref,) = shop.sink.to("amina@shop.example")
    return shop, ref


def test_a_code_in_doubt_stays_with_its_customer(database: Database, tmp_path: Path) -> None:
    shop, ref = doubted(tmp_path, database)
    shop.happens("baraka", "purchase")
    shop.settle()
    assert states(shop, "few") == {"reserved": 1} and "baraka@shop.example" not in told(shop)
    with database.write() as connection:
        assert doubts.resolve(connection, ref, "sent", "the provider says so", shop.clock.now())
    assert states(shop, "few") == {"issued": 1}


def test_a_code_of_which_a_person_says_it_was_not_sent_goes_back(database: Database, tmp_path: Path) -> None:
    shop, ref = doubted(tmp_path, database)
    with database.write() as connection:
        assert doubts.resolve(connection, ref, "not-sent", "the provider says so", shop.clock.now())
    shop.settle()
    assert states(shop, "few") == {"released": 1}


def test_a_code_that_a_step_told_elsewhere_never_goes_back(database: Database, tmp_path: Path) -> None:
    steps = '  - coupon: few\n  - notify: {to: shop, text: "{{ coupon.code }}"}\n  - wait: 1d\n'
    shop = giving(tmp_path, database, steps)
    stock(shop, "few", "F-1")
    shop.happens("amina", "purchase")
    shop.settle()
    shop.happens("amina", "closed")
    shop.settle()
    assert states(shop, "few") == {"issued": 1}


def test_a_purchase_redeems_a_code_whoever_makes_it(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, GIVE)
    shop.happens("amina", "purchase")
    shop.settle()
    (code,) = told(shop)["amina@shop.example"]
    shop.happens("a-friend", "shipped", coupon=code)  # another event says nothing of coupons
    assert states(shop, "back") == {"issued": 1}
    shop.happens("a-friend", "purchase", coupon=f" {code.lower()} ")
    assert shop.rows("SELECT state, event_id IS NOT NULL FROM coupon WHERE state <> 'issued'")[0][0] == "redeemed"


def test_a_code_used_before_anybody_was_given_it_is_given_to_nobody(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, "  - coupon: few\n  - send: email/code\n")
    stock(shop, "few", "F-1", "F-2")
    shop.happens("a-thief", "shipped")
    shop.happens("amina", "purchase", coupon="f-1")
    shop.settle()
    assert told(shop) == {"amina@shop.example": ["F-2"]}
    assert states(shop, "few") == {"redeemed": 1, "issued": 1}


def test_a_code_expires_and_is_not_sent_any_more(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, GIVE + "  - wait: 31d\n  - send: email/code\n")
    shop.happens("amina", "purchase")
    shop.settle()
    shop.later(days=31)
    assert len(told(shop)["amina@shop.example"]) == 1
    assert states(shop, "back") == {"expired": 1}


def test_one_code_is_in_one_pool_whatever_the_case_of_its_letters(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, GIVE)
    stock(shop, "few", "Save-1", "SAVE-1", " save-1 ")
    stock(shop, "patient", "save-1", "save-2")
    assert shop.rows("SELECT pool, code FROM coupon ORDER BY code") == [("few", "Save-1"), ("patient", "save-2")]


def test_whoever_waits_for_a_code_gets_one_when_codes_come(database: Database, tmp_path: Path) -> None:
    from engine.imports.codes import load

    shop = giving(tmp_path, database, "  - coupon: patient\n  - send: email/code\n")
    for who in ("amina", "baraka"):
        shop.happens(who, "purchase")
    shop.settle()
    assert shop.rows("SELECT state, step FROM enrolment") == [("waiting", "coupon_1")] * 2
    file = tmp_path / "codes.csv"
    file.write_text("code,note\nP-1,x\np-1,twice\n,\nP-2,x\n")
    loaded = load(shop.runtime, "patient", file)
    assert (loaded.new, loaded.known, loaded.wrong) == (2, 1, 1)
    assert (loaded.known_at, loaded.wrong_at) == ([3], [4])
    shop.settle()
    assert sorted(code for codes in told(shop).values() for code in codes) == ["P-1", "P-2"]
    again = load(shop.runtime, "patient", file)
    assert (again.new, again.known) == (0, 3)


def test_of_two_who_are_one_both_codes_stay_good(database: Database, tmp_path: Path) -> None:
    shop = giving(tmp_path, database, "  - coupon: back\n    scope: customer\n  - send: email/code\n")
    for who in ("amina", "asha"):
        shop.happens(who, "purchase")
    shop.settle()
    assert shop.runtime.people().merge("asha", "amina").merged == 1
    rows = shop.rows("SELECT DISTINCT customer_id FROM coupon")
    assert len(rows) == 1 and states(shop, "back") == {"issued": 2}
    shop.happens("amina", "purchase")
    shop.settle()
    assert told(shop)["amina@shop.example"][-1] == told(shop)["amina@shop.example"][0]
    (theirs,) = told(shop)["asha@shop.example"]
    shop.happens("amina", "purchase", coupon=theirs)
    assert states(shop, "back") == {"issued": 1, "redeemed": 1}


def test_a_crowd_takes_its_codes_in_as_many_statements_as_one_customer(database: Database, tmp_path: Path) -> None:
    from tests.listening import before_statements, engines_of

    def statements(number: int, first: int) -> int:
        crowd(shop, number, first)
        (work,) = shop.runtime.work()
        said: list[str] = []
        with before_statements(lambda *about: said.append(about[2]), *engines_of(database)):
            shop.runtime.move(work.version_id, "coupon_1", "p")
        shop.settle()
        return len(said)

    shop = giving(tmp_path, database, "  - coupon: back\n  - wait: 1d\n  - send: email/code\n")
    statements(1, 0)  # the first of a connection makes its temporary tables
    assert statements(1, 1) == statements(400, 2)


@pytest.mark.parametrize("steps", [GIVE, "  - coupon: few\n  - send: email/code\n"])
def test_two_engines_that_move_one_cohort_give_each_customer_one_code(
    database: Database, tmp_path: Path, steps: str
) -> None:
    shop = giving(tmp_path, database, steps)
    stock(shop, "few", *(f"F-{n}" for n in range(40)))
    crowd(shop, 30)
    other: Shop = shop.beside(database)
    (work,) = shop.runtime.work()
    for engine in (shop, other):
        engine.runtime.move(work.version_id, "coupon_1", "p")
    shop.settle()
    nobody_shares(shop)
    assert all(len(codes) == 1 for codes in told(shop).values()) and len(told(shop)) == 30


def test_a_code_is_carried_by_a_survey_that_comes_last(database: Database, tmp_path: Path) -> None:
    """Till the survey has asked, its code isn't given to anybody else."""
    project = REWARDS + "surveys: {nps: {kind: nps}}\n"
    shop = giving(
        tmp_path,
        database,
        "  - coupon: few\n  - wait: 1d\n  - ask: nps\n",
        files={"workflows/project.yaml": project, "templates/email/nps.mjml": CODE},
    )
    stock(shop, "few", "F-1")
    shop.happens("amina", "purchase")
    shop.settle()
    assert states(shop, "few") == {"reserved": 1}
    shop.later(days=1)
    assert told(shop) == {"amina@shop.example": ["F-1"]} and states(shop, "few") == {"issued": 1}


def test_a_code_given_before_each_is_told_with_every_item(database: Database, tmp_path: Path) -> None:
    steps = "  - coupon: few\n  - each: entry.items\n    do: [{wait: 1d}, {send: email/code}]\n"
    lines = REWARDS.replace("coupon: text}}", "coupon: text, items: [{sku: text}]}}")
    shop = giving(tmp_path, database, steps, files={"workflows/project.yaml": lines})
    stock(shop, "few", "F-1", "F-2")
    shop.happens("amina", "purchase", items=[{"sku": "A"}, {"sku": "B"}])
    shop.settle()
    shop.later(days=1)
    assert told(shop) == {"amina@shop.example": ["F-1", "F-1"]}


def test_a_letter_after_an_empty_pool_carries_no_code_of_another(database: Database, tmp_path: Path) -> None:
    shop = giving(
        tmp_path, database, "  - coupon: back\n  - send: email/hello\n  - coupon: few\n  - send: email/code\n"
    )
    shop.happens("amina", "purchase")
    shop.settle()
    assert told(shop) == {}
    assert "send_2 not_sent no_coupon" in shop.decisions("amina")


def test_a_code_in_doubt_whose_repeat_is_stopped_stays_with_its_customer(database: Database, tmp_path: Path) -> None:
    shop, ref = doubted(tmp_path, database)
    with database.write() as connection:
        connection.exec_driver_sql("DELETE FROM consent")
        assert doubts.resolve(connection, ref, "again", "nobody knows", shop.clock.now())
    shop.settle()
    assert len(shop.sink.sent) == 1
    assert shop.rows("SELECT state, reason FROM message") == [("in_doubt", "no_consent")]
    assert states(shop, "few") == {"reserved": 1}
