"""The signed links of messages: out of a topic, to the preferences, to say yes for good, to answer a survey, to the
shop's bot. A link needs no login, and nobody can make one.

Ways out don't expire: a mail is opened when it is opened, and a way out that has closed is no way out. What asks for a
yes or an answer says when it was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from itsdangerous import BadData, Signer, URLSafeSerializer
from itsdangerous.encoding import base64_decode, base64_encode

PATH = "/u/"
PREFERENCES, CONFIRM, SURVEY = "/preferences/", "/confirm/", "/survey/"
_LONGEST = 4_000
"""Characters of a token: more than any of ours has, with the longest id there may be."""


class Tokens:
    """Signs lists of texts and whole numbers for one purpose: a token of another is none.

    `keys`: the secrets, oldest first; the last one signs, all are accepted, so that keys can change.

    ValueError without a key, or with one that is too short."""

    def __init__(self, keys: Sequence[str], purpose: str) -> None:
        if not keys or any(len(key) < 16 for key in keys):
            raise ValueError("links are signed with a key of at least 16 characters")
        self._signed = URLSafeSerializer(
            list(keys), salt=f"karibu.{purpose}", signer_kwargs={"key_derivation": "hmac", "digest_method": sha256}
        )

    def made(self, said: Sequence[object]) -> str:
        token = self._signed.dumps(list(said))
        return token.decode() if isinstance(token, bytes) else token

    def read(self, token: str) -> Any:
        """What was signed; None for a token that was not made here, or not exactly like this."""
        return loaded(self._signed, token, _LONGEST)


class Seals:
    """Message ids with our mark, for what anybody may write to us about: who makes a report up can't make the mark."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._signer = Signer(list(keys), salt="karibu.message", sep=".", key_derivation="hmac", digest_method=sha256)

    def made(self, ref: str) -> str:
        return self._signer.sign(ref).decode()

    def read(self, sealed: str) -> str | None:
        """The id; None for one that doesn't bear our mark."""
        try:
            return self._signer.unsign(sealed).decode()
        except (BadData, UnicodeError):
            return None


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a link ends: this customer's (external id) consent for this topic on this channel; `locale` is for the
    page that says so, `ref` the reference of the message that the link stands in."""

    customer: str
    channel: str
    topic: str
    locale: str = ""
    ref: str = ""


class Subscriptions:
    """Makes and reads unsubscribe links. `url` is where the engine's web side is reached from outside; `keys` as in
    Tokens."""

    def __init__(self, keys: Sequence[str], url: str) -> None:
        self._url = url.rstrip("/")
        self._tokens = Tokens(keys, "unsubscribe")

    def link(self, subscription: Subscription) -> str:
        one = subscription
        return f"{self._url}{PATH}{self._tokens.made([one.customer, one.channel, one.topic, one.locale, one.ref])}"

    def read(self, token: str) -> Subscription | None:
        """What a token says; None for one that was not made here, or not exactly like this."""
        match self._tokens.read(token):
            case [str(customer), str(channel), str(topic), str(locale), str(ref)]:
                return Subscription(customer, channel, topic, locale, ref)
        return None


@dataclass(frozen=True, slots=True)
class Preferences:
    """Whose preferences a link is for (external id), and by which channel, to which address (its keyed hash) it went:
    who opens it has that address. `ref` and `topic`: of the message that the link stands in."""

    customer: str
    channel: str
    address_hash: str = ""
    locale: str = ""
    ref: str = ""
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The yes that a link asks for: of this customer (external id), at this address (its keyed hash), to this topic on
    this channel; when it was asked, to the second."""

    customer: str
    channel: str
    topic: str
    address_hash: str
    asked_at: datetime
    locale: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """The survey that a message (by its reference) asks, and when it was asked, to the second."""

    ref: str
    survey: str
    asked_at: datetime
    locale: str = ""


class Pages:
    """Makes and reads the links of the other pages, each signed for its own purpose."""

    def __init__(self, keys: Sequence[str], url: str) -> None:
        self._url = url.rstrip("/")
        self._preferences = Tokens(keys, "preferences")
        self._confirm = Tokens(keys, "confirm")
        self._survey = Tokens(keys, "survey")

    def preferences(self, one: Preferences) -> str:
        said = one.customer, one.channel, one.address_hash, one.locale, one.ref, one.topic
        return f"{self._url}{PREFERENCES}{self._preferences.made(said)}"

    def confirm(self, one: Confirmation) -> str:
        asked = one.customer, one.channel, one.topic, one.address_hash, int(one.asked_at.timestamp())
        return f"{self._url}{CONFIRM}{self._confirm.made([*asked, one.locale])}"

    def survey(self, one: Question) -> str:
        asked = one.ref, one.survey, int(one.asked_at.timestamp())
        return f"{self._url}{SURVEY}{self._survey.made([*asked, one.locale])}"

    def read_preferences(self, token: str) -> Preferences | None:
        match self._preferences.read(token):
            case [str(customer), str(channel), str(address_hash), str(locale), str(ref), str(topic)]:
                return Preferences(customer, channel, address_hash, locale, ref, topic)
        return None

    def read_confirm(self, token: str) -> Confirmation | None:
        match self._confirm.read(token):
            case [str(customer), str(channel), str(topic), str(address_hash), int(asked), str(locale)]:
                return Confirmation(customer, channel, topic, address_hash, datetime.fromtimestamp(asked, UTC), locale)
        return None

    def read_survey(self, token: str) -> Question | None:
        match self._survey.read(token):
            case [str(ref), str(survey), int(asked), str(locale)]:
                return Question(ref, survey, datetime.fromtimestamp(asked, UTC), locale)
        return None


class Chats:
    """Makes and reads the links to the shop's bot at Telegram (`bot`: its name there). Who follows one and presses
    Start is the customer whom the link was made for.

    Telegram carries 64 letters (https://core.telegram.org/bots/features#deep-linking): our mark, and the number of the
    customer's row. The mark is also of their external id, so a row that was made anew is nobody's link."""

    def __init__(self, keys: Sequence[str], bot: str) -> None:
        self._bot = bot
        self._signer = Signer(list(keys), salt="karibu.telegram", key_derivation="hmac", digest_method=sha256)

    def link(self, row_id: int, external_id: str) -> str:
        mark = self._signer.get_signature(_chat(row_id, external_id)).decode()
        return f"https://t.me/{self._bot}?start={mark}{row_id}"

    def read(self, carried: str, named: Callable[[int], str | None]) -> str | None:
        """The external id of the customer whom a link was made for, by what it carried; None for what was not made
        here. `named`: the external id of a row."""
        mark, number = carried[:_MARK], carried[_MARK:]
        if len(carried) > _CARRIED or not carried.isascii() or not number.isdecimal():
            return None
        external_id = named(int(number)) if int(number) < 2**63 else None
        if external_id is None or not self._signer.verify_signature(_chat(int(number), external_id), mark):
            return None
        return external_id


_CARRIED, _MARK = 64, 43
"""Characters that a link to a bot carries, and those of a signature."""


def _chat(row_id: int, external_id: str) -> str:
    return f"{row_id} {external_id}"


def loaded(signed: URLSafeSerializer, token: str, longest: int) -> Any:
    """What a token of at most so many characters says; None for one that was not made with this, or not exactly like
    this."""
    if len(token) > longest or not token.isascii():
        return None
    signature = token.rpartition(".")[2]
    try:
        # The last character of base64 has spare bits: a token altered there would still verify.
        if base64_encode(base64_decode(signature)).decode() != signature:
            return None
        return signed.loads(token)
    except BadData:
        return None
