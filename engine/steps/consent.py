"""`consent`: records what the customer has said about a topic on a channel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field
from sqlalchemy import Text as SqlText
from sqlalchemy import literal, or_, select

from engine.cohort.cohort import Cohort, moving
from engine.cohort.profile import touch
from engine.cohort.scope import Scope
from engine.cohort.step import DONE, Step
from engine.language.fields import ChannelName, Model, Text, TopicName
from engine.language.graph import Node
from engine.language.journey import Complaint
from engine.language.registry import step
from engine.language.vocabulary import TRANSACTIONAL
from engine.store import tables
from engine.store.said import remember
from engine.store.scratch import insert_into
from engine.store.types import Instant


class Said(Model):
    channel: ChannelName
    topic: TopicName
    state: Literal["on", "off"]
    proof: Text | None = Field(None, description="How and with what words they said yes. Needed for on.")


@step("consent")
class Consent(Step):
    """Records consent to a topic on a channel, or its end. A yes needs a proof, and waits to be confirmed if the topic
    wants that."""

    consent: Said

    def complaints(self) -> Iterable[Complaint]:
        if self.consent.topic == TRANSACTIONAL:
            message = "messages of the topic transactional need no consent, so there is none to record"
            yield Complaint(("consent", "topic"), message, "name a topic of project.yaml")
        if self.consent.state == "on" and self.consent.proof is None:
            yield Complaint(
                ("consent",),
                "a consent that is turned on needs a proof",
                "add proof: how the customer agreed, in what words",
            )

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        said = self.consent
        # A journey can't say for a customer that they mean it: where that is wanted, it asks with `confirms: true`.
        topic = scope.program.project.topics.get(said.topic)
        asks = said.state == "on" and topic is not None and topic.double_opt_in
        rows = (
            select(
                moving.c.customer_id,
                literal(said.channel, SqlText).label("channel"),
                literal(said.topic, SqlText).label("topic"),
                literal("pending" if asks else said.state, SqlText).label("state"),
                literal(cohort.now, Instant()).label("at"),
                literal(f"journey:{scope.program.name}/{node.id}", SqlText).label("source"),
                literal(said.proof, SqlText).label("proof"),
            )
            .where(moving.c.verdict == DONE)
            .distinct()
        )
        columns = ["customer_id", "channel", "topic", "state", "at", "source", "proof"]
        word = rows.subquery("word")
        heard = select(*word.c, word.c.at.label("heard_at")).subquery("heard")
        cohort.connection.execute(remember(cohort.connection.dialect.name, heard))
        add = insert_into(cohort.connection, tables.consent).from_select(columns, rows)
        new = {name: add.excluded[name] for name in columns[3:]}
        cohort.connection.execute(
            add.on_conflict_do_update(
                index_elements=["customer_id", "channel", "topic"],
                set_=new,
                where=or_(tables.consent.c.state != "on", add.excluded.state != "pending"),
            )
        )
        touch(cohort, DONE)
        cohort.move({DONE: node.next})
