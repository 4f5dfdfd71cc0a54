"""The made part of the demo's people: names, addresses, birthdays, languages and consents, laid over real households.

Nothing here is anybody's. All of it comes from a seed; addresses end in `.example`.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl
from faker import Faker

SEED = 2017
YEAR = 2017


@dataclass(frozen=True)
class Place:
    """Where a share of the customers lives: `mobile` begins their phone numbers, `digits` more follow."""

    country: str
    language: str
    timezone: str
    names: str
    share: int
    mobile: str
    digits: int

    @property
    def locale(self) -> str:
        return f"{self.language}-{self.country}"


PLACES = (
    Place("KE", "en", "Africa/Nairobi", "en_KE", 42, "+2547", 8),
    Place("TZ", "sw", "Africa/Dar_es_Salaam", "sw", 22, "+25571", 7),
    Place("PH", "fil", "Asia/Manila", "fil_PH", 14, "+63917", 7),
    Place("AM", "hy", "Asia/Yerevan", "hy_AM", 10, "+37491", 6),
    Place("US", "en", "America/New_York", "en_US", 12, "+1202555", 4),
)
# What share of the customers has said yes, in percent. Those who have not: the reason why nothing is sent to them.
CONSENT = {"email/offers": 85, "email/news": 70, "sms/offers": 60, "sms/news": 30, "push/offers": 25}
NO_EMAIL, BAD_EMAIL, HAS_PHONE, HAS_BIRTHDAY, YEAR_UNKNOWN = 2, 1, 85, 80, 10

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,
    "email": pl.String,
    "phone": pl.String,
    "push_token": pl.String,
    "first_name": pl.String,
    "last_name": pl.String,
    "locale": pl.String,
    "timezone": pl.String,
    "country": pl.String,
    "birthday": pl.String,
    "created": pl.Datetime("us", "UTC"),
    "consent": pl.List(pl.String),
}


def people(created: Mapping[str, datetime], ages: Mapping[str, tuple[int, int]]) -> pl.DataFrame:
    """One row a customer id of `created`: the columns of SCHEMA. `birthday` is 1984-02-29, or --02-29 with no year."""
    fakers = {place.names: Faker(place.names) for place in PLACES}
    rows = [_person(id, at, ages.get(id, (20, 75)), fakers) for id, at in sorted(created.items())]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _person(id: str, created: datetime, ages: tuple[int, int], fakers: Mapping[str, Faker]) -> Sequence[object]:
    chance = random.Random(f"{SEED}:{id}")
    place = chance.choices(PLACES, [place.share for place in PLACES])[0]
    faker = fakers[place.names]
    faker.seed_instance(f"{SEED}:{id}")
    first, last = faker.first_name(), faker.last_name()
    consent = [name for name, percent in CONSENT.items() if chance.random() * 100 < percent]
    return (
        id,
        _email(chance, id, first),
        place.mobile + "".join(chance.choices("0123456789", k=place.digits)) if _percent(chance, HAS_PHONE) else None,
        f"token-{id}" if "push/offers" in consent else None,
        first,
        last,
        place.locale,
        place.timezone,
        place.country,
        _birthday(chance, ages),
        created,
        consent,
    )


def _percent(chance: random.Random, percent: int) -> bool:
    return chance.random() * 100 < percent


def _email(chance: random.Random, id: str, first: str) -> str | None:
    if _percent(chance, NO_EMAIL):
        return None
    if _percent(chance, BAD_EMAIL):
        return f"{id} at home"
    plain = unicodedata.normalize("NFKD", first).encode("ascii", "ignore").decode().lower()
    name = "".join(letter for letter in plain if letter.isalpha()) or "customer"
    return f"{name}.{id}@{chance.choice(('mail', 'home', 'post'))}.example"


def _birthday(chance: random.Random, ages: tuple[int, int]) -> str | None:
    if not _percent(chance, HAS_BIRTHDAY):
        return None
    year = YEAR - chance.randint(*ages)
    day = date(year, 1, 1) + timedelta(days=chance.randrange(366 if year % 4 == 0 else 365))
    return day.strftime("--%m-%d") if _percent(chance, YEAR_UNKNOWN) else day.isoformat()
