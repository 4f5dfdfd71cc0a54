"""Answers to surveys: one for each message that asked, as an event that journeys wait for or begin with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, exists, select

from engine.language.surveys import Survey
from engine.runtime.ingest import Incoming
from engine.runtime.references import parsed
from engine.store.tables import customer, enrolment, event, message

EVENT = "survey_answered"
SOURCE = "karibu"

ANSWERED_WITHIN = timedelta(days=90)
"""So long a survey takes answers."""

LONGEST_COMMENT = 2_000


@dataclass(frozen=True)
class Asked:
    """A message that asked a survey: whom (external id), where, and whether they have answered."""

    ref: str
    customer: str
    journey: str
    step: str
    answered: bool


def asked(connection: Connection, ref: str) -> Asked | None:
    """The message of this reference; None when there is none."""
    found = parsed(ref)
    if found is None:
        return None
    enrolment_id, visit, route = found
    row = connection.execute(
        select(customer.c.external_id, enrolment.c.journey, message.c.step)
        .select_from(
            message.join(enrolment, enrolment.c.id == message.c.enrolment_id).join(
                customer, customer.c.id == message.c.customer_id
            )
        )
        .where(message.c.enrolment_id == enrolment_id, message.c.visit == visit, message.c.route == route)
    ).first()
    if row is None:
        return None
    answered = connection.scalar(select(exists().where(event.c.source == SOURCE, event.c.key == _key(ref))))
    return Asked(ref, row.external_id, row.journey, row.step, bool(answered))


def answer(one: Asked, survey: str, score: int, comment: str, now: datetime) -> Incoming:
    """The event of an answer. Taken in once: journeys may have acted on the first, so a second changes nothing."""
    said = {"survey": survey, "score": score, "journey": one.journey, "step": one.step}
    if text := comment.replace("\0", "").strip()[:LONGEST_COMMENT]:
        said["comment"] = text
    return Incoming(one.customer, EVENT, _key(one.ref), now, said, source=SOURCE)


def score_of(survey: Survey, text: str) -> int | None:
    """The score that was typed or clicked, if the survey has it."""
    known = {str(score): score for score in survey.scores}
    return known.get(text)


def _key(ref: str) -> str:
    return f"survey:{ref}"
