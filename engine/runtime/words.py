"""Facts, decisions and reasons in words, for people, on the command line and on pages alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from engine.cohort.gate import CAPPED, DUPLICATE, QUIET_HOURS
from engine.language import tree
from engine.language.moments import duration_text
from engine.language.types import Kind
from engine.runtime.conditions import Fact, Part
from engine.store.types import moment

ADDRESS = {
    "email": "e-mail address",
    "sms": "phone number",
    "whatsapp": "phone number",
    "push": "push token",
    "telegram": "Telegram chat",
}

_PROVIDER = {
    "bounced": "it came back",
    "no_channel": "project.yaml has no such channel",
    "retries": "the provider did not take it after several tries",
}


@dataclass(frozen=True)
class Words:
    """How a project speaks to one reader: whose clock, which currency, with so many digits after the point."""

    zone: ZoneInfo
    currency: str
    digits: int

    def time(self, at: datetime) -> str:
        """`2026-03-01 09:30`, on the reader's clock."""
        return f"{at.astimezone(self.zone):%Y-%m-%d %H:%M}"

    def day(self, at: datetime) -> str:
        return f"{at.astimezone(self.zone):%Y-%m-%d}"

    def money(self, minor: float) -> str:
        return f"{minor / 10**self.digits:,.{self.digits}f} {self.currency}"

    def value(self, value: Any, kind: Kind) -> str:
        """A value in its kept form."""
        if value is None:
            return "not set"
        if kind is Kind.BOOLEAN:
            return "true" if value else "false"
        if kind is Kind.MONEY and isinstance(value, int | float):
            return self.money(value)
        if kind is Kind.INSTANT and isinstance(value, int):
            return self.time(moment(value))
        if kind is Kind.DURATION and isinstance(value, int | float):
            return length(timedelta(microseconds=value))
        if kind is Kind.NUMBER and isinstance(value, float):
            return f"{value:.6f}".rstrip("0").rstrip(".")
        return f'"{value}"' if kind is Kind.TEXT and isinstance(value, str) and not value.isprintable() else str(value)

    def fact(self, fact: Fact, at: datetime, *, past: bool) -> str:
        """What was seen at a moment: `the last purchase was 12 days ago (2026-03-01)`."""
        typed, value = fact.typed, fact.value
        match typed:
            case tree.Elapsed():
                if value is None:
                    return f"there has been no {typed.event}"
                ago = timedelta(microseconds=value)
                return f"the last {typed.event} was {length(ago)} ago ({self.day(at - ago)})"
            case tree.EventTime():
                when = f"was at {self.value(value, Kind.INSTANT)}" if value is not None else "never was"
                return f"the {typed.function} {typed.event} {when}"
            case tree.Events():
                return self._events(typed, value)
            case tree.UsualGap():
                gap = f"is {length(timedelta(microseconds=value))}" if value is not None else "is not known yet"
                return f"the usual gap between one {typed.event} and the next {gap}"
            case tree.InSegment():
                return f"they {_not('were' if past else 'are', value)} in the segment {typed.segment}"
            case tree.Consented():
                return f"they {_not('had' if past else 'have', value)} agreed to {typed.topic} by {typed.channel}"
            case tree.Tagged():
                return f"they {_not('had' if past else 'have', value)} got the tag {typed.tag}"
            case tree.Points():
                n = int(value or 0)
                return f"they {'had' if past else 'have'} {n:,} point{'' if n == 1 else 's'}"
            case tree.InJourney():
                return f"they {_not('were' if past else 'are', value)} in {typed.journey}"
            case tree.Messaged():
                return f"the message of {typed.step} {_not('was', value)} {typed.function}"
        return f"{fact.text} {'was' if past else 'is'} {self.value(value, typed.type.kind)}"

    def _events(self, typed: tree.Events, value: Any) -> str:
        window = f" in {duration_text(timedelta(microseconds=typed.within))}" if typed.within is not None else ""
        such = " like that" if typed.where is not None else ""
        if typed.function == "did":
            return f"there was {'a' if value else 'no'} {typed.event}{such}{window}"
        if typed.function == "times":
            n = int(value or 0)
            return f"{typed.event}{such} came {'once' if n == 1 else f'{n} times' if n else 'not once'}{window}"
        return f"the {typed.event}{such}{window} came to {self.value(value, typed.type.kind)} in all"

    def part(self, part: Part, at: datetime, *, past: bool) -> str:
        """`elapsed("purchase") > 30d is false: the last purchase was 12 days ago (2026-03-01)`."""
        truth = "true" if part.true else "false"
        verdict = f"{part.text} {'was' if past else 'is'} {truth}"
        facts = dict.fromkeys(self.fact(fact, at, past=past) for fact in part.facts)
        said = "; ".join(fact for fact in facts if fact != verdict)
        return f"{verdict}: {said}" if said else verdict

    def parts(self, parts: Iterable[Part], at: datetime, *, past: bool) -> str:
        return ", and ".join(self.part(part, at, past=past) for part in parts)


def length(of: timedelta) -> str:
    """`12 days`, `5 hours`, `3 minutes`: the largest unit, with one digit after the point where it says more."""
    minutes = abs(of) / timedelta(minutes=1)
    for name, size in (("day", 1440), ("hour", 60), ("minute", 1)):
        if minutes >= size or name == "minute":
            n = minutes / size
            shown = f"{n:.1f}".removesuffix(".0") if n < 10 else f"{n:.0f}"
            return f"{shown} {name}" + ("" if shown == "1" else "s")
    raise AssertionError("unreachable")


def often(beat: timedelta) -> str:
    """`once a day`, `once in 6 hours`."""
    return f"once {'a day' if beat == timedelta(days=1) else f'in {length(beat)}'}"


def stopped(reason: str | None, channel: str, topic: str) -> str:
    """Why a message was not sent, from the reason code of the gate, the renderer or the provider."""
    address = ADDRESS.get(channel, "address")
    known = {
        "left_journey": "they had left the journey",
        "hushed": f"messages about {topic} are hushed for them",
        "no_consent": f"they have not agreed to {topic} by {channel}",
        "confirmed": f"they have confirmed {topic} by {channel} already",
        "no_address": f"they have no {address}",
        "bad_address": f"their {address} is not valid",
        "suppressed": f"nothing may be sent to their {address}",
        "no_coupon": "there was no coupon code for them, or theirs was no longer good",
        "same_address": "another customer with the same address got it",
        "when": "the step's `when` was false",
        CAPPED: "they had had as many such messages as a cap lets them have",
        QUIET_HOURS: "it was in the quiet hours of their day",
        DUPLICATE: "the same message had been held for them more than once, and another of them went",
        **_PROVIDER,
    }
    if reason is None:
        return "for no recorded reason"
    if reason.startswith("render:"):
        return f"the template could not be filled in ({reason.removeprefix('render:')})"
    return known.get(reason, reason)


def held(reason: str | None) -> str:
    """Why a message goes out later."""
    known = {CAPPED: "they have had as many such messages as a cap lets them have", QUIET_HOURS: "it is quiet now"}
    return known.get(reason or "", reason or "for no recorded reason")


def _not(verb: str, value: Any) -> str:
    return verb if value else f"{verb} not"


def utc(at: datetime) -> str:
    """A moment for machines: `2026-03-01T06:30:00Z`."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
