"""`enter: {segment: NAME}`: a customer enters when they join the segment."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import Select, String, cast, literal, null, select

from engine.language.fields import SegmentName
from engine.language.journey import TriggerModel
from engine.language.registry import trigger
from engine.store.tables import segment_member


@trigger("segment")
class SegmentTrigger(TriggerModel):
    """Lets a customer in when they join the segment. Its first filling, and imported history, let nobody in."""

    segment: SegmentName
    members: Literal["now"] | None = Field(
        None, description="now: also those who are in it when the journey is published."
    )

    def broadcasts(self) -> bool:
        return self.members == "now"

    def named(self, joined_at: datetime | None = None, among: Select[Any] | None = None) -> Select[Any]:
        """Who is in the segment, or with `joined_at` who of these customers joined at that moment: rows of customer_id,
        cause, event_id.

        Each join is one cause; those of the first filling have joined at no moment."""
        member = segment_member.c
        cause = literal("join:") + cast(member.joins, String)
        rows = select(member.customer_id, cause.label("cause"), null().label("event_id"))
        rows = rows.where(member.segment == self.segment, member.left_at.is_(None))
        if among is not None:
            rows = rows.where(member.customer_id.in_(among))
        return rows if joined_at is None else rows.where(member.joins > 0, member.joined_at == joined_at)
