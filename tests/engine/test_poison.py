"""One journey of ten is poison: the other nine do what they do without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.runtime.runtime import Runtime
from engine.store.database import Database
from tests.engine.shop import MAIL, Shop
from tests.listening import before_statements, engines_of
from tests.promises import figures

STEPS = "enter: {{event: purchase, again: always}}\nsteps:\n  - send: email/{template}\n  - wait: 1d\n  - send: email/again\n"
NINE = {f"good-{n}": STEPS.format(template="hello") for n in range(9)}
CUSTOMERS = 25
BAD_TEMPLATE = MAIL.replace("Hello {{ customer.first_name }}", "{{ customer.no_such_thing }}")
ENDLESS = MAIL.replace("{{ brand.address }}", "{% for n in range(100000000) %}x{% endfor %}{{ brand.address }}")


def lived(shop: Shop) -> dict[str, list[str]]:
    """What the nine did: whom they wrote to, and when."""
    for n in range(CUSTOMERS):
        shop.happens(f"c{n}", "purchase")
    turn(shop)
    shop.clock.advance_to(shop.clock.now().replace(day=shop.clock.now().day + 1))
    turn(shop)
    told: dict[str, list[str]] = {}
    for one in shop.sink.sent:
        told.setdefault(one.labels["journey"], []).append(f"{one.to} {one.labels['step']} {one.at}")
    return {name: sorted(those) for name, those in told.items() if name.startswith("good")}


def turn(shop: Shop) -> None:
    """Every journey is moved until nothing of it is due; one that fails is left, as its Prefect run would be."""
    runtime: Runtime = shop.runtime
    runtime.tick()
    for _ in range(4):
        for work in runtime.work():
            for step in work.steps:
                try:
                    runtime.move(work.version_id, step, "pass")
                except Exception:
                    assert work.journey == "bad", f"{work.journey} failed with it"


@pytest.mark.parametrize("poison", ["a step that fails", "a template that can't be filled", "a template without end"])
def test_a_poison_journey_changes_nothing_for_the_others(poison: str, database: Database, tmp_path: Path) -> None:
    alone = Shop.of(tmp_path / "alone", Database.memory(), NINE)
    expected = lived(alone)
    assert len(expected) == 9 and all(len(those) == 2 * CUSTOMERS for those in expected.values())
    more = {
        "templates/email/broken.mjml": BAD_TEMPLATE if poison == "a template that can't be filled" else ENDLESS,
    }
    template = "hello" if poison == "a step that fails" else "broken"
    shop = Shop.of(tmp_path / "poisoned", database, {**NINE, "bad": STEPS.format(template=template)}, more=more)
    (bad,) = (program for program in shop.runtime.programs().values() if program.name == "bad")

    def fails(connection: object, cursor: object, statement: str, parameters: object, *rest: object) -> None:
        said = str(parameters)
        if "INSERT INTO message" in statement and f"{bad.version_id}," in said and poison == "a step that fails":
            raise RuntimeError("poison")

    with before_statements(fails, *engines_of(database)):
        found = lived(shop)
    changed = [name for name in expected if found[name] != expected[name]]
    figures(
        "a poison journey harms no other",
        poison=poison,
        messages_of_the_others=sum(map(len, expected.values())),
        changed_journeys=len(changed),
    )
    assert found == expected
    assert not [one for one in shop.sink.sent if one.labels["journey"] == "bad" and one.labels["step"] == "send_1"]
