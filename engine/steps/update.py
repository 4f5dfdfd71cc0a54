"""`update`: sets attributes of the customer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field
from sqlalchemy import ColumnElement, Text, cast, false, func, literal, null, true

from engine.cohort import profile
from engine.cohort.cohort import Cohort
from engine.cohort.filled import expressions, pieces
from engine.cohort.scope import Scope
from engine.cohort.step import DONE, Step
from engine.language.errors import Wrong
from engine.language.fields import Attribute, Template
from engine.language.graph import Node
from engine.language.holes import Hole
from engine.language.journey import Complaint
from engine.language.registry import step
from engine.language.types import Kind
from engine.language.values import stored
from engine.segments.seen import JsonBoolean

FIXED = frozenset({"id", "email", "phone", "telegram", "birthday", "created", "timezone"})
"""Who the customer is and where they are reached comes in through the API only."""


@step("update")
class Update(Step):
    """Sets attributes of the customer, to a literal or to what `{{ … }}` says."""

    update: dict[Attribute, Template] = Field(description="customer.NAME: value, as many as you like.")

    def complaints(self) -> Iterable[Complaint]:
        for name in self.update:
            if name.removeprefix("customer.") in FIXED:
                yield Complaint(
                    ("update", name),
                    f"a journey can't change {name}",
                    "send it with the customer's profile, through the API",
                )
        if not self.update:
            yield Complaint(("update",), "nothing is set here", "write customer.NAME: value")

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        values = {name.removeprefix("customer."): text for name, text in self.update.items()}
        columns = {name: _column(scope, name, text) for name, text in values.items() if name in profile.COLUMNS}
        attributes = {name: _column(scope, name, text) for name, text in values.items() if name not in columns}
        profile.write(cohort, DONE, columns, attributes)
        cohort.move({DONE: node.next})


def _column(scope: Scope, name: str, text: str) -> ColumnElement[Any]:
    """The value as it is kept: an expression's own, a text put together, or the literal in the attribute's type."""
    vocabulary = scope.program.vocabulary
    type_ = vocabulary.customer[name]
    if not expressions(text):
        try:
            kept = stored(text, type_, vocabulary.digits, vocabulary.timezone)
        except Wrong:
            return null()
        return JsonBoolean(true() if kept else false()) if isinstance(kept, bool) else literal(kept)
    parts = pieces(text)
    if len(parts) == 1 and isinstance(parts[0], Hole):
        return scope.stored(parts[0].text)
    joined: ColumnElement[str] = literal("")
    for part in parts:
        shown = func.coalesce(scope.shown(part.text), "") if isinstance(part, Hole) else literal(part)
        joined = joined + cast(shown, Text)
    return joined if type_.kind is Kind.TEXT else null()
