"""What an author is told when a story doesn't come true: each text is compared with the one that stands in told/.

KARIBU_WRITE=1 pytest tests/scenarios/test_failures.py    writes them anew, to be read before they are kept
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import Engine

from engine.language.registry import Registry
from engine.runtime.profile import Writer
from engine.runtime.simulate import Outcome, run, side_by_side
from engine.store.database import Database
from engine.store.types import EPOCH
from tests.listening import before_statements
from tests.scenarios.shop import read, write

WRITE = "KARIBU_WRITE" in os.environ
"""Read here, before a fixture hides the settings of whoever runs the tests."""

TOLD = Path(__file__).parent / "told"

JOURNEY = """
enter: {event: signed_up, audience: customer.country != "XX"}
exit: [{event: closed}]
goal: {event: purchase, within: 30d, value: event.total}
steps:
  - {send: email/a, id: hello}
  - {wait: 3d at 10:00, id: pause}
  - split:
      - 50%: [{send: email/b, id: offer}]
      - 50%: [{send: sms/a, id: nudge}]
    id: coin
  - branch:
      - if: clicked("hello") and customer.tier == "gold"
        then: [{update: {customer.city: Nairobi}}]
      - else: [{notify: {to: orders, text: "Look after {{ customer.id }}"}}]
    id: gold
"""

# name of the text: the story
STORIES = {
    "another-time": """
- {event: signed_up}
- {sends: email/a}
- {after: 3d, skips: sms/a, reason: no_consent}
- {ends: finished}
""",
    "another-message": """
- {event: signed_up}
- {sends: email/a}
- {at: 2026-03-05 10:00, sends: email/b}
- {ends: finished}
""",
    "another-reason-and-arm": """
- {event: signed_up}
- {sends: email/a}
- {at: 2026-03-05 10:00, skips: sms/a, reason: no_address}
- {takes: {gold: 'clicked("hello") and customer.tier == "gold"'}}
- {updates: {customer.city: Nairobi}}
- {ends: finished}
""",
    "not-told-to-the-end": """
- {event: signed_up}
- {sends: email/a}
""",
    "cannot-happen": """
- {after: 1h, clicks: hello}
- {event: signed_up}
- {sends: email/a}
- {at: 2026-03-05 10:00, skips: sms/a}
- {ends: finished}
""",
    "another-value": """
- {event: signed_up}
- {sends: email/a}
- {after: 1h, event: purchase, with: {total: 60.5, order_id: "a very long order id that must not make the table wide"}}
- {reaches: goal, value: 60}
- {after: 1h, event: closed}
- {ends: finished}
""",
    "refused": """
- {updates: {country: XX}}
- {event: signed_up}
- {sends: email/a}
""",
    "later": """
- {event: signed_up}
- {sends: email/a}
- {event: closed}
- {at: 2026-03-05 10:00, skips: sms/a}
""",
}


def _failure(root: Path, registry: Registry) -> Outcome:
    (outcome,) = run(read(root, registry), registry)
    assert not outcome.passed
    return outcome


@pytest.mark.parametrize("name", STORIES)
def test_a_failure_shows_both_stories_side_by_side(name: str, tmp_path: Path, registry: Registry) -> None:
    text = side_by_side(_failure(write(tmp_path, JOURNEY, STORIES[name]), registry))
    file = TOLD / f"{name}.txt"
    if WRITE:
        TOLD.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
    assert max(len(line) for line in text.splitlines()) <= 100


def test_a_loop_that_nobody_leaves_is_no_story(tmp_path: Path, registry: Registry) -> None:
    journey = "enter: {event: signed_up}\nsteps: [{send: email/a, id: again}, {wait: 7d}, {goto: again}]\n"
    outcome = _failure(write(tmp_path, journey, "- {event: signed_up}\n- {sends: email/a}\n"), registry)
    assert outcome.notes[0].startswith("they are still in the journey")
    assert sum(row.kind == "untold" for row in outcome.rows) == 12


def test_why_a_message_could_not_be_rendered_is_told(tmp_path: Path, registry: Registry) -> None:
    journey = "topic: transactional\nenter: {event: signed_up}\nsteps: [{send: email/due, with: {what: x}}]\n"
    story = "- {event: signed_up}\n- {sends: email/due}\n- {ends: finished}\n"
    outcome = _failure(write(tmp_path, journey, story), registry)
    assert "spent is missing" in outcome.notes[0]


def test_a_failure_is_plain_data(tmp_path: Path, registry: Registry) -> None:
    told = _failure(write(tmp_path, JOURNEY, STORIES["another-time"]), registry).plain()
    assert told["place"] == "workflows/j.test.yaml:7:7"
    assert (
        told["rows"][3]
        == {
            "kind": "differs",
            "line": 3,
            "told": {"at": "2026-03-05T09:00:00+03:00", "what": "skips sms/a, no_consent"},
            "happened": {"at": "2026-03-05T10:00:00+03:00", "what": "skips sms/a, no_consent"},
        }
        or told["rows"]
    )


def test_scenarios_play_on_no_database_that_holds_customers(
    tmp_path: Path, registry: Registry, sqlite_database: Database
) -> None:
    with sqlite_database.write() as connection:
        Writer(connection, EPOCH).customers(["amina"])
    content = read(write(tmp_path, JOURNEY, STORIES["later"]), registry)
    with pytest.raises(ValueError, match="holds customers"):
        run(content, registry, None, sqlite_database)


def test_nine_hundred_days_cost_what_nine_do(tmp_path: Path, registry: Registry) -> None:
    def statements(days: int) -> int:
        segments = f'lapsed: elapsed("purchase") > {days}d\n'
        journey = "enter: {segment: lapsed}\nsteps: [{send: email/a}]\n"
        story = (
            f"- {{event: purchase, with: {{total: 5}}}}\n- {{after: {days}d, sends: email/a}}\n- {{ends: finished}}\n"
        )
        root = write(tmp_path / str(days), journey, story, {"workflows/segments.yaml": segments})
        content, seen = read(root, registry), list[object]()

        def count(*statement: object) -> None:
            seen.append(statement)

        with before_statements(count, Engine):
            (outcome,) = run(content, registry)
        assert outcome.passed
        return len(seen)

    statements(9)  # the first run makes tables once
    assert statements(9) == statements(900)
