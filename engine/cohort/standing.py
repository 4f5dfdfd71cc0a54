"""A step that customers stand at until something that was sent for them is settled, and where they go then."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import WithJsonSchema

from engine.cohort.cohort import Cohort
from engine.language.errors import Wrong
from engine.language.graph import Node
from engine.language.moments import text_or

SENT, NOT_SENT, IN_DOUBT = "sent", "not_sent", "in_doubt"


def _otherwise(text: str) -> str:
    if text in ("continue", "exit") or re.fullmatch(r"goto [a-z][a-z0-9_]*", text):
        return text
    raise Wrong(f'"{text}" is nothing to do when a message is not sent', "write continue, exit or goto ID")


Otherwise = Annotated[
    str,
    text_or(str, _otherwise),
    WithJsonSchema({"type": "string", "pattern": "^(continue|exit|goto [a-z][a-z0-9_]*)$"}),
]
"""What becomes of those for whom nothing was sent."""


def jumps(otherwise: str) -> tuple[str, ...]:
    """Where `goto ID` leads."""
    return (otherwise[5:],) if otherwise.startswith("goto ") else ()


def settle(node: Node, cohort: Cohort, otherwise: str) -> None:
    """Move on those whose message is settled: sent, not_sent (stopped or refused) or in_doubt."""
    cohort.move({SENT: node.next, IN_DOUBT: node.next})
    leave(node, cohort, otherwise)


def leave(node: Node, cohort: Cohort, otherwise: str) -> None:
    """Move on those for whom nothing is sent."""
    if otherwise == "exit":
        cohort.finish(NOT_SENT, "not_sent")
    else:
        cohort.move({NOT_SENT: next(iter(jumps(otherwise)), node.next)})
