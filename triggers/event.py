"""`enter: {event: NAME}`: a customer enters when such an event is accepted."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from sqlalchemy import Select, String, Table, cast, literal, select

from engine.cohort.cohort import entry_event
from engine.cohort.onward import Onward
from engine.cohort.scope import Scope
from engine.language.fields import EventName, Where
from engine.language.journey import TriggerModel
from engine.language.registry import trigger
from engine.store.tables import customer


@trigger("event")
class EventTrigger(TriggerModel):
    """Lets a customer in when such an event is accepted. The event is applied to the profile and its counts first."""

    event: EventName
    where: Where | None = Field(None, description="A condition on the event.")

    def entry_event(self) -> str:
        return self.event

    def named(self, scope: Scope, arrived: Table) -> Select[Any]:
        """Whom the events in `arrived` name: rows of customer_id, cause, event_id. One event is one cause."""
        cause = literal("event:") + cast(entry_event.c.id, String)
        source = Onward(arrived, entry_event, entry_event.c.id == arrived.c.event_id)
        source = Onward(source, customer, customer.c.id == arrived.c.customer_id)
        rows = (
            select(arrived.c.customer_id, cause.label("cause"), arrived.c.event_id)
            .select_from(source)
            .where(arrived.c.name == self.event)
        )
        if self.where is not None:
            rows = rows.where(scope.condition(self.where, event=(self.event, entry_event)))
        return rows
