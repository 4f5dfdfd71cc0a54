"""The message's id outside: the same for the same message in any rerun, and nothing of the customer's."""

from __future__ import annotations

import re

_REFERENCE = re.compile(r"([0-9]{1,18})-([0-9]{1,9})(?:-([a-z]+))?")


def reference(enrolment_id: int, visit: int, route: str) -> str:
    return f"{enrolment_id}-{visit}" + ("" if route == "primary" else f"-{route}")


def parsed(ref: str) -> tuple[int, int, str] | None:
    """(enrolment, visit, route) of a reference; None when it is none of ours."""
    found = _REFERENCE.fullmatch(ref)
    return None if found is None else (int(found[1]), int(found[2]), found[3] or "primary")
