"""Hand-written SQL that makes the same writes as the engine in bench/cohort.py: what a careful engineer would type for
this one journey, who knows that everybody's id is the number of their event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import TextClause, text

from engine.cohort.arms import dealt
from engine.store.database import Database

DECISION = "INSERT INTO decision (enrolment_id, visit, kind, step, outcome, reason, at, event_id, detail)"
MINE = "WHERE id BETWEEN :lo AND :hi"
PEOPLE = "FROM enrolment e JOIN customer c ON c.id = e.customer_id WHERE e.id BETWEEN :lo AND :hi"


def statements(kind: str, now: int) -> dict[str, list[str]]:
    """The statements of each stage for one chunk of ids, :lo to :hi."""
    sqlite = kind == "sqlite"
    tier = "c.attributes ->> '$.tier'" if sqlite else "c.attributes ->> 'tier'"
    make_object = "json_object" if sqlite else "jsonb_build_object"
    a, b = dealt("bench", "split_1")
    lot = f"((CAST(bucket AS BIGINT) * {a} + {b}) % 2147483647) % 10000"
    moved = f"visit = visit + 1, moved_at = {now}, due_at = {now}, pass_id = 'hand'"
    due = now + 3 * 86_400 * 1_000_000
    return {
        "entry": [
            f"""INSERT INTO enrolment (id, journey, version_id, customer_id, key, cause, event_id, side_by_side, state,
                step, visit, due_at, entered_at, moved_at)
                SELECT id, 'bench', 1, customer_id, '', 'event:' || id, id, {0 if sqlite else "false"}, 'ready',
                'branch_1', 1, {now}, {now}, {now} FROM event {MINE}""",
            f"""{DECISION} SELECT id, 0, 'enters', NULL, 'entered', cause, {now}, event_id, NULL
                FROM enrolment {MINE}""",
        ],
        "branch": [
            f"""{DECISION} SELECT e.id, e.visit, 'moves', 'branch_1',
                CASE WHEN {tier} = 'gold' AND c.country = 'KE' THEN 'if' ELSE 'else' END, NULL, {now}, NULL,
                {make_object}('customer.tier', {tier}, 'customer.country', c.country) {PEOPLE}""",
            f"UPDATE enrolment SET step = 'split_1', {moved} {MINE}",
        ],
        "split": [
            f"""{DECISION} SELECT e.id, e.visit, 'moves', 'split_1',
                CASE WHEN {lot} < 5000 THEN '50%' ELSE '50% (2)' END, NULL, {now}, NULL, NULL {PEOPLE}""",
            f"""UPDATE enrolment SET step = CASE WHEN {lot} < 5000 THEN 'send_1' ELSE 'send_2' END, {moved}
                FROM customer c WHERE c.id = enrolment.customer_id AND enrolment.id BETWEEN :lo AND :hi""",
        ],
        "send": [
            f"""INSERT INTO message (enrolment_id, visit, route, customer_id, version_id, step, channel, template,
                topic, state, queued_at, due_at, fence, attempts)
                SELECT e.id, e.visit, 'primary', e.customer_id, 1, e.step, 'email', 'email/a', 'offers',
                'queued', {now}, {now}, 0, 0 {PEOPLE} AND c.email IS NOT NULL AND c.email_hash IS NOT NULL
                AND EXISTS (SELECT 1 FROM consent t WHERE t.customer_id = c.id AND t.channel = 'email'
                            AND t.topic = 'offers' AND t.state = 'on')
                AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.channel = 'email' AND s.address_hash = c.email_hash)
                AND NOT EXISTS (SELECT 1 FROM hush h WHERE h.customer_id = c.id AND h.topic = 'offers'
                                AND h.until > {now})""",
            f"UPDATE enrolment SET state = 'standing', due_at = NULL, pass_id = 'hand' {MINE}",
        ],
        "record": [
            f"UPDATE message SET state = 'accepted', settled_at = {now} WHERE enrolment_id BETWEEN :lo AND :hi",
            f"{DECISION} SELECT id, visit, 'moves', step, 'sent', NULL, {now}, NULL, NULL FROM enrolment {MINE}",
            f"UPDATE enrolment SET step = 'wait_1', state = 'ready', {moved} {MINE}",
        ],
        "wait": [
            f"""{DECISION} SELECT id, visit, 'stays', 'wait_1', 'wait', NULL, {now}, NULL,
                {make_object}('until', {due}) FROM enrolment {MINE}""",
            f"UPDATE enrolment SET state = 'waiting', due_at = {due}, pass_id = 'hand' {MINE}",
        ],
    }


@dataclass(frozen=True)
class Hand:
    """The work over `size` customers in chunks of `chunk`, each its own commit. `kind` is sqlite or postgresql."""

    kind: str
    database: Database
    chunk: int
    size: int
    now: int

    def stages(self) -> dict[str, Callable[[], None]]:
        """What each stage does, in order."""
        written = statements(self.kind, self.now)
        return {stage: partial(self._run, [text(one) for one in those]) for stage, those in written.items()}

    def _run(self, prepared: list[TextClause]) -> None:
        for low in range(1, self.size + 1, self.chunk):
            with self.database.write() as connection:
                for statement in prepared:
                    connection.execute(statement, {"lo": low, "hi": low + self.chunk - 1})
