"""What became of a message in doubt, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from engine.cohort.gate import TEAM
from engine.language.vocabulary import TRANSACTIONAL
from engine.runtime.doubts import REPEATED, SETTLED, SILENT, SPOKEN
from engine.runtime.words import length, stopped

_DECIDED = {"sent": "it was {verb}", "not-sent": "it was not {verb}", "again": "it is {verb} once more"}


def is_later(kind: str) -> bool:
    """Whether a decision of this kind was made of a message in doubt, when its customer had gone on."""
    return kind == REPEATED or kind.startswith(SETTLED)


def decided(one: Row[Any], what: str, verb: str) -> str:
    """Such a decision. `what`: the message; `verb`: what was done with it, sent or asked."""
    if one.kind == REPEATED:
        return f"{what} is {verb} once more, as the provider was silent for {length(SILENT)}"
    return f"somebody decided of {what}: {_decision(one.outcome, verb)}, because {one.reason}"


def since(message: Row[Any] | None, later: Sequence[Row[Any]], verb: str) -> tuple[bool, str]:
    """Whether a message is in doubt as yet, and what will or did become of it. `later`: the decisions about it
    that were made when it was in doubt, the newest last."""
    if message is None:
        return True, f"it is not {verb} again"
    if message.state == "in_doubt":
        return True, _still(message, verb)
    if message.reason == SPOKEN:
        return False, f"{SPOKEN}, so it was {verb}"
    last = later[-1] if later else None
    if message.state not in ("accepted", "refused"):
        return False, f"it is to be {verb} once more"
    if last is None:
        return False, f"the answer came late: it was {'' if message.state == 'accepted' else 'not '}{verb}"
    if last.outcome == "again":
        return False, f"it was {verb} once more"
    return False, f"decided by a person: {_decision(last.outcome, verb)} ({last.reason})"


def _still(message: Row[Any], verb: str) -> str:
    if message.doubts > 1:
        why = stopped(message.reason, message.channel, message.topic)
        return f"it was to be {verb} once more, which settled nothing ({why}), and is not {verb} again"
    if message.topic == TRANSACTIONAL and message.channel != TEAM:
        return f"it is {verb} once more when the provider stays silent for {length(SILENT)}"
    return f"it is not {verb} again"


def _decision(outcome: str, verb: str) -> str:
    return _DECIDED.get(outcome, outcome).format(verb=verb)
