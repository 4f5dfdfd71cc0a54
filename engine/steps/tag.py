"""`tag` and `untag`: names on a customer."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from sqlalchemy import delete, literal, select

from engine.cohort.cohort import Cohort, moving
from engine.cohort.profile import touch
from engine.cohort.scope import Scope
from engine.cohort.step import DONE, Step
from engine.language.fields import Text
from engine.language.graph import Node
from engine.language.journey import Complaint
from engine.language.registry import step
from engine.store.scratch import insert_ignore
from engine.store.tables import customer_tag


def _literally(key: str, text: str) -> Iterable[Complaint]:
    if "{{" in text:
        hint = "write the tag out, or keep the value with update: {customer.NAME: …}"
        yield Complaint((key,), "a tag is taken as it is written, and {{ }} in it is not filled in", hint)


@step("tag")
class Tag(Step):
    """Puts a tag on the customer."""

    tag: Text = Field(description="The tag, any text.")

    def complaints(self) -> Iterable[Complaint]:
        return _literally("tag", self.tag)

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        rows = select(moving.c.customer_id, literal(self.tag)).where(moving.c.verdict == DONE).distinct()
        add = insert_ignore(cohort.connection, customer_tag).from_select(["customer_id", "tag"], rows)
        cohort.connection.execute(add)
        touch(cohort, DONE)
        cohort.move({DONE: node.next})


@step("untag")
class Untag(Step):
    """Takes a tag off the customer."""

    untag: Text = Field(description="The tag, any text.")

    def complaints(self) -> Iterable[Complaint]:
        return _literally("untag", self.untag)

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        who = select(moving.c.customer_id).where(moving.c.verdict == DONE)
        cohort.connection.execute(
            delete(customer_tag).where(customer_tag.c.tag == self.untag, customer_tag.c.customer_id.in_(who))
        )
        touch(cohort, DONE)
        cohort.move({DONE: node.next})
