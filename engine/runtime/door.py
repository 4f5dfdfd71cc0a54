"""The door: what a shop says of customers and events, in the form it is kept in.

Types are those of project.yaml. A property of another type than declared is kept as it was sent, and told as a problem:
expressions don't see it, and the event isn't lost.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import orjson
import phonenumbers
from email_validator import EmailNotValidError, validate_email

from engine.language.errors import Wrong, did_you_mean
from engine.language.project import Project
from engine.language.types import TEXT, Type
from engine.language.values import stored
from engine.language.vocabulary import Vocabulary
from engine.runtime.bounds import EARLIEST, TOO_EARLY
from engine.runtime.identity import Who
from engine.runtime.profile import Consented, Profile
from engine.runtime.sightings import Sightings
from engine.store import zones

TEXTS = ("first_name", "last_name", "locale", "country")
BESIDES = frozenset({"id", "external_id", "anonymous_id", "push_token", "consent", "tags"})
"""What is said of a customer besides attributes."""

PROOF = frozenset({"state", "how", "text", "at", "confirmed"})
"""What may be told of a consent."""

LONGEST_PROOF = 4_000
"""Characters of the text that somebody agreed to."""

LONGEST_LABEL = 255
"""Characters of a tag, a channel or a topic: they stand in keys, and a key on PostgreSQL has 2,704 bytes at most."""


_CHAT = re.compile(r"[1-9][0-9]{0,15}")
_CHATS = 2**52
"""Ids of chats have at most 52 bits: https://core.telegram.org/bots/api#chat. Those of groups are below 0."""

NO_CHAT = (
    "this is no chat with a person; write the number that the bot got when they pressed Start, like 123456789, "
    "no @name and no group"
)


@dataclass
class Problems:
    """What is wrong with what came, by name; the rest was taken."""

    found: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, message: str) -> None:
        self.found.setdefault(name, message)


@dataclass(frozen=True)
class Door:
    """Reads customers and events for one project. `secret` keys the hashes of addresses; `sightings` counts what comes
    through."""

    project: Project
    vocabulary: Vocabulary
    secret: str
    sightings: Sightings = field(default_factory=Sightings, compare=False, repr=False)

    def address_hash(self, channel: str, address: str) -> str:
        """The keyed hash of an address: what a suppression is kept under."""
        return hmac.new(self.secret.encode(), f"{channel}\0{address}".encode(), hashlib.sha256).hexdigest()[:32]

    def digest(self, told: bytes) -> str:
        """A keyed digest of what was told of a customer: it tells two words apart, and tells neither."""
        return hmac.digest(self.secret.encode(), told, "sha256").hex()[:20]

    def hashed(self, channel: str, address: str) -> str | None:
        """The keyed hash of an address of a channel, as it is typed or as a provider sends it; None if it is none. A
        phone number begins with + and its country."""
        if channel == "push":
            return self.address_hash("push", address)
        if channel == "email":
            found: str | None = self._email(address, Problems())["email_hash"]
        elif channel == "telegram":
            found = self._telegram(address, Problems())["telegram_hash"]
        else:
            found = self._phone(address, None, Problems())["phone_hash"]
        return found

    def properties(self, event: str, given: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
        """An event's properties in their kept form. One that isn't declared, or of another type, is kept as sent."""
        known = self.vocabulary.events.get(event)
        types: Mapping[str, Type] = {} if known is None else known.properties
        mine = Problems() if problems.found else problems
        kept: dict[str, Any] = {}
        for name, value in given.items():
            if value is not None:
                type_ = types.get(name)
                if (type_ is None or type_ is TEXT) and _is_plain(value):
                    kept[name] = value
                    continue
                form = self._stored(name, value, type_, mine)
                if form is not None:
                    kept[name] = form
        self.sightings.event(event, given, mine.found, self.vocabulary)
        if mine is not problems:
            problems.found = mine.found | problems.found
        return kept

    def profile(self, given: Mapping[str, Any], problems: Problems) -> Profile:
        """A customer as the shop describes them. `consent`: ["email/offers", …], {"email/offers": true} or
        {"email/offers": {state, how, text, at, confirmed}}; `tags`: a list."""
        mine = Problems()
        read = self._profile(given, mine)
        attributes = self.vocabulary.customer
        self.sightings.customer(
            {name: value for name, value in given.items() if name not in BESIDES},
            (name for name in mine.found if name in attributes),
            attributes,
        )
        problems.found = mine.found | problems.found
        return read

    def _profile(self, given: Mapping[str, Any], problems: Problems) -> Profile:
        columns: dict[str, Any] = {}
        attributes: dict[str, Any] = {}
        consents: tuple[Consented, ...] = ()
        tags: tuple[str, ...] = ()
        created: datetime | None = None
        for name, value in given.items():
            if name in ("id", "external_id", "anonymous_id"):
                continue
            if name == "email":
                columns |= self._email(value, problems)
            elif name == "phone":
                columns |= self._phone(value, given.get("country"), problems)
            elif name == "push_token":
                token = None if value is None else str(value)
                columns |= {"push_token": token, "push_hash": token and self.address_hash("push", token)}
            elif name == "telegram":
                columns |= self._telegram(value, problems)
            elif name == "birthday":
                columns |= _birthday(value, problems)
            elif name == "timezone":
                columns["timezone"] = _timezone(value, problems)
            elif name in TEXTS:
                columns[name] = None if value is None else str(value)
            elif name == "consent":
                consents = self.agreed(_consents(value, problems))
            elif name == "tags":
                tags = _tags(value, problems)
            elif name == "created":
                created = _moment(value, problems)
            elif name in self.vocabulary.attributes:
                attributes[name] = self._attribute(name, value, problems)
            else:
                problems.add(name, f'customers have no "{name}"' + _hint(did_you_mean(name, self.vocabulary.customer)))
        return Profile(columns, attributes, consents, tags, (), created)

    def agreed(self, said: Iterable[Consented]) -> tuple[Consented, ...]:
        """What was said, as it counts here: a yes to a topic that wants to be confirmed is pending until it is."""
        topics = self.project.topics
        return tuple(
            replace(one, state="pending")
            if one.state == "on" and not one.confirmed and one.topic in topics and topics[one.topic].double_opt_in
            else one
            for one in said
        )

    def _attribute(self, name: str, value: Any, problems: Problems) -> Any:
        return None if value is None else self._stored(name, value, self.vocabulary.attributes[name], problems)

    def _stored(self, name: str, value: Any, type_: Type | None, problems: Problems) -> Any:
        if not _can_be_kept(value):
            problems.add(name, "U+0000, half a character or a number beyond 64 bits can't be kept; it is left out")
            return None
        if type_ is None:
            return value
        try:
            return stored(value, type_, self.vocabulary.digits, self.vocabulary.timezone)
        except Wrong as wrong:
            problems.add(name, wrong.message)
            return value

    def _email(self, value: Any, problems: Problems) -> dict[str, Any]:
        if value is None:
            return {"email": None, "email_hash": None}
        try:
            address = validate_email(str(value), check_deliverability=False, test_environment=True).normalized
        except EmailNotValidError:
            problems.add("email", "this is no e-mail address")
            return {"email": str(value), "email_hash": None}
        return {"email": address, "email_hash": self.address_hash("email", address.lower())}

    def _phone(self, value: Any, country: Any, problems: Problems) -> dict[str, Any]:
        if value is None:
            return {"phone": None, "phone_hash": None}
        try:
            number = phonenumbers.parse(str(value), str(country) if country else None)
            if phonenumbers.is_possible_number(number):
                written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
                return {"phone": written, "phone_hash": self.address_hash("phone", written)}
        except phonenumbers.NumberParseException:
            pass
        problems.add("phone", "this is no phone number; write it with its country, like +254712345678")
        return {"phone": str(value), "phone_hash": None}

    def _telegram(self, value: Any, problems: Problems) -> dict[str, Any]:
        if value is None:
            return {"telegram": None, "telegram_hash": None}
        chat = str(value).strip()
        if _CHAT.fullmatch(chat) and int(chat) < _CHATS:
            return {"telegram": chat, "telegram_hash": self.address_hash("telegram", chat)}
        problems.add("telegram", NO_CHAT)
        return {"telegram": str(value), "telegram_hash": None}


def _is_plain(value: Any) -> bool:
    """Whether a value is a text that is kept as it is."""
    return type(value) is str and value.isascii() and "\0" not in value and "\\" not in value


def _can_be_kept(value: Any) -> bool:
    """Whether both databases can keep a value as JSON: one that they refuse would fail all that came with it."""
    if _is_plain(value):
        return True  # nearly every value: no need to write it out
    try:
        return b"\\u0000" not in orjson.dumps(value)
    except TypeError:
        return False


def who_of(given: Mapping[str, Any], profile: Profile | None) -> Who:
    """Who is meant by a customer as a sender describes them: `id`, `anonymous_id`, and the addresses of the profile
    that was made of it. What can't be an address names nobody."""
    columns = {} if profile is None else profile.columns
    own, anonymous = (None if given.get(name) is None else str(given[name]) for name in ("id", "anonymous_id"))
    return Who(own, anonymous, columns.get("email_hash"), columns.get("phone_hash"))


def _hint(hint: str | None) -> str:
    return f" ({hint})" if hint else ""


def _timezone(value: Any, problems: Problems) -> str | None:
    if value is None or (isinstance(value, str) and value in zones.names()):
        return value
    problems.add("timezone", "there is no such time zone; write one like Africa/Nairobi")
    return None


def _birthday(value: Any, problems: Problems) -> dict[str, Any]:
    """`1990-03-08`, or `--03-08` and `03-08` where the year isn't known."""
    if value is None:
        return {"birth_month": None, "birth_day": None, "birth_year": None}
    text = value.isoformat() if isinstance(value, date) else str(value).strip()
    year, _, rest = (
        text.partition("-") if not text.startswith("--") and text.count("-") == 2 else ("", "", text.lstrip("-"))
    )
    try:
        month, day = (int(part) for part in rest.split("-"))
        date(int(year) if year else 2000, month, day)
    except (ValueError, OverflowError):
        problems.add("birthday", "this is no birthday; write 1990-03-08, or 03-08 without the year")
        return {}
    return {"birth_month": month, "birth_day": day, "birth_year": int(year) if year else None}


def _consents(value: Any, problems: Problems) -> tuple[Consented, ...]:
    pairs = value.items() if isinstance(value, Mapping) else [(one, True) for one in value or ()]
    found = []
    for name, state in pairs:
        name = str(name)
        channel, slash, topic = name.partition("/")
        if not slash or not channel or not topic:
            problems.add("consent", f'"{name[:LONGEST_LABEL]}" names no channel and topic; write email/offers')
            continue
        if max(len(channel), len(topic)) > LONGEST_LABEL:
            problems.add("consent", f"a channel and a topic have up to {LONGEST_LABEL} characters; it is left out")
            continue
        found.append(_consented(channel, topic, state, problems))
    return tuple(found)


def _consented(channel: str, topic: str, said: Any, problems: Problems) -> Consented:
    """A consent as it is told: a yes or no, or an object with its proof."""
    if not isinstance(said, Mapping):
        return Consented(channel, topic, "on" if said in (True, "on", "true", "yes") else "off")
    for name in said.keys() - PROOF:
        problems.add("consent", f'a consent has no "{str(name)[:LONGEST_LABEL]}"; known: {", ".join(sorted(PROOF))}')
    how, text = (None if said.get(name) is None else str(said[name]) for name in ("how", "text"))
    if not all(one is None or (_can_be_kept(one) and len(one) <= LONGEST_PROOF) for one in (how, text)):
        problems.add("consent", f"how and text have up to {LONGEST_PROOF} characters and no U+0000; they are left out")
        how = text = None
    at = None if said.get("at") is None else _moment(said["at"], problems, "consent")
    state = "on" if said.get("state", True) in (True, "on", "true", "yes") else "off"
    source = "api" if how is None else f"api: {how}"
    return Consented(channel, topic, state, source, text, at, said.get("confirmed") is True)


def _tags(value: Any, problems: Problems) -> tuple[str, ...]:
    given = value if isinstance(value, list | tuple) else (value,)
    said = [str(tag) for tag in given if tag is not None]
    tags = tuple(tag for tag in said if 0 < len(tag) <= LONGEST_LABEL)
    if len(tags) < len(said):
        problems.add("tags", f"a tag has 1 to {LONGEST_LABEL} characters; another is left out")
    return tags


def _moment(value: Any, problems: Problems, name: str = "created") -> datetime | None:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        if moment.tzinfo is not None and moment < EARLIEST:
            problems.add(name, TOO_EARLY)
            return None
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)  # near the year 9999 it may be none
    except (ValueError, OverflowError):
        pass
    problems.add(name, "this is no time with a zone; write it like 2026-12-24T18:00:00+03:00")
    return None
