"""`hush`: no messages of a topic for a while, from any journey."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from sqlalchemy import case, literal, select

from engine.cohort.cohort import Cohort, moving
from engine.cohort.scope import Scope
from engine.cohort.step import DONE, Step
from engine.language.fields import Model, TopicName
from engine.language.graph import Node
from engine.language.journey import Complaint
from engine.language.moments import Duration
from engine.language.registry import step
from engine.language.vocabulary import TRANSACTIONAL
from engine.store import tables
from engine.store.scratch import insert_into
from engine.store.types import Instant


class Hushed(Model):
    topic: TopicName
    for_: Duration = Field(alias="for")


@step("hush")
class Hush(Step):
    """Keeps every journey from sending messages of this topic to the customer until then. A longer hush stands."""

    hush: Hushed

    def complaints(self) -> Iterable[Complaint]:
        if self.hush.topic == TRANSACTIONAL:
            message = "messages of the topic transactional can't be hushed: customers count on them"
            yield Complaint(("hush", "topic"), message, "name a topic of project.yaml")

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        until = literal(cohort.now + self.hush.for_, Instant())
        rows = select(moving.c.customer_id, literal(self.hush.topic), until).where(moving.c.verdict == DONE).distinct()
        add = insert_into(cohort.connection, tables.hush).from_select(["customer_id", "topic", "until"], rows)
        new, old = add.excluded.until, tables.hush.c.until
        cohort.connection.execute(
            add.on_conflict_do_update(
                index_elements=["customer_id", "topic"], set_={"until": case((new > old, new), else_=old)}
            )
        )
        cohort.move({DONE: node.next})
