"""What somebody may tell with a browser key. It stands in a page, where everybody can read it: who shows it is anybody.

    may      send events, of whomever they name; tell facts about them; say which customer their browser is of
    may not  change what the shop has told, or an address (engine/cohort/facts.py); make two known customers one
             (engine/runtime/customers.py); say yes for somebody, give them a tag, say since when they are a customer;
             spend or earn points, or use up a code (engine/runtime/rewards.py, engine/steps/points.py)

Their events have keys of their own, so nobody can use up the key of the shop's next order. A no is taken, though it may
be somebody else's: a mail too few is the smaller harm, and the consent says that it came from a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.cohort.facts import ADDRESSES, PAGE, fact_of
from engine.runtime.door import Problems
from engine.runtime.identity import EMAIL, PHONE, Who
from engine.runtime.profile import Profile

SOURCE = PAGE
"""Follows the source of an event that a page has sent."""

CONSENT = "page"
"""How a no was said."""

_FOUND_BY = {EMAIL: "email", PHONE: "phone"}

NOT_YOURS = "a page can't tell this of a customer: send it from your server, with a key that is kept secret"


def named(who: Who) -> Who:
    """Whom a page means: an address doesn't make two one."""
    if who.external_id is None and who.anonymous_id is None:
        return replace(who, page=True)
    return replace(who, email_hash=None, phone_hash=None, page=True)


def told(profile: Profile, who: Who, given: Mapping[str, Any], problems: Problems) -> Profile:
    """What counts of what a page tells of somebody."""
    by_address = next((fact for prefix, fact in _FOUND_BY.items() if who.name.startswith(prefix)), None)
    # Who is found by an address gets no other one from a page: what is for them would go to whoever told it.
    others = set(ADDRESSES) - {by_address} if by_address else set()
    columns = {name: value for name, value in profile.columns.items() if fact_of(name) not in others}
    noes = tuple(replace(one, source=CONSENT) for one in profile.consents if one.state == "off")
    if len(noes) < len(profile.consents):
        problems.add("consent", NOT_YOURS)
    for name in ("tags", "created"):
        if given.get(name):
            problems.add(name, NOT_YOURS)
    return replace(profile, columns=columns, consents=noes, tags=(), created_at=None, page=True)
