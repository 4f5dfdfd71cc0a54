"""Chance, from a stable hash: which lot of 10,000 a customer draws at a step.

Law 6: a lot is ((bucket·a + b) mod (2³¹−1)) mod 10000, with a and b from SHA-256 of (journey, step). The bucket itself
would make every split and every holdout the same people; a and b deal them anew at each step, and the same way in any
re-entry. Both factors are below 2³¹, so the product fits a signed 64-bit integer on either database.
"""

from __future__ import annotations

from hashlib import sha256

from sqlalchemy import BigInteger, ColumnElement, cast, literal

PRIME = 2**31 - 1
LOTS = 10_000
HOLDOUT = "(holdout)"
"""Stands for the step in the draw of a holdout. No step can have this id."""


def bucket_of(external_id: str) -> int:
    """The customer's place in [0, 2³¹−1), the same on every machine and for ever: what is in flight depends on it."""
    return int.from_bytes(sha256(external_id.encode()).digest()[:16]) % PRIME


def arm(bucket: ColumnElement[int], journey: str, step: str) -> ColumnElement[int]:
    """SQL for the lot, 0 to 9999, that a bucket draws at a step (HOLDOUT: the journey's holdout)."""
    a, b = dealt(journey, step)
    product = cast(bucket, BigInteger) * literal(a, BigInteger) + literal(b, BigInteger)
    return product % literal(PRIME, BigInteger) % literal(LOTS, BigInteger)


def arm_of(bucket: int, journey: str, step: str) -> int:
    """The same lot in Python."""
    a, b = dealt(journey, step)
    return (bucket * a + b) % PRIME % LOTS


def dealt(journey: str, step: str) -> tuple[int, int]:
    # Names hold no NUL, so ("a", "bc") and ("ab", "c") stay apart. a is never 0: it would give everybody one lot.
    digest = sha256(f"{journey}\0{step}".encode()).digest()
    return 1 + int.from_bytes(digest[:16]) % (PRIME - 1), int.from_bytes(digest[16:]) % PRIME
