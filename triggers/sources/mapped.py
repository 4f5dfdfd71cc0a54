"""What a mapping says of a value besides where it stands: how it is written, what it is if it isn't there, or what it
always is; and the conditions of a mapping.

    total: receipt.sum
    total: {at: receipt.cents, as: minor}
    paid_at: {at: receipt.paid, zone: Africa/Nairobi}
    level: {at: member.level, default: none}
    source: {value: till}
    items: {each: receipt.lines, fields: {sku: code, price: {at: cents, as: minor}}}

What is there and isn't written as the mapping says becomes a text that shows it, `49.90 as minor`: it has another type
than its property, so the door tells it, and no condition takes a hundredfold amount for money.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from babel.numbers import get_currency_precision, list_currencies
from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, model_validator

from engine.language.errors import Path, Wrong
from engine.language.fields import FieldName, Model, Text, YesNo
from engine.language.project import Timezone
from triggers.sources.base import Headers
from triggers.sources.parts import amount, moment
from triggers.sources.places import Place, Where, parse_place

_UNIX = {"seconds": 1_000_000, "milliseconds": 1_000}
"""Microseconds in a unit of Unix time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Stands(Model):
    """Where something stands. The text alone is its place."""

    forms: ClassVar[Mapping[str, tuple[str, ...]]] = {"at": ("as", "zone")}
    """The keys of which one must be said, and what may be said beside each."""

    at: Where | None = Field(None, description="Where it stands.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"at": value} if isinstance(value, str | Place) else value

    @model_validator(mode="after")
    def _has_one_form(self) -> Stands:
        said = [field.alias or name for name, field in type(self).model_fields.items() if name in self.model_fields_set]
        form = next((key for key in said if key in self.forms), None)
        if form is None:
            raise Wrong("it isn't said where this stands", "write " + " or ".join(f"{key}:" for key in self.forms))
        for key in said:
            if key != form and key not in self.forms[form]:
                raise Wrong(f"{key} can't be said beside {form}", "remove one of them", at=(key,), on_key=True)
        if "as" in said and "zone" in said:
            raise Wrong("what is written as a number has no zone", "remove zone or as", at=("zone",), on_key=True)
        return self


class Value(Stands):
    """A text: where it stands, or what it always is."""

    forms: ClassVar[Mapping[str, tuple[str, ...]]] = {"at": ("default",), "value": ()}

    default: Text | None = Field(None, description="What it is if it isn't there.")
    value: Text | None = Field(None, description="What it always is, instead of at.")

    def of(self, headers: Headers, one: Any) -> Any:
        """What stands there, or what is said for it."""
        found = None if self.at is None else self.at.of(headers, one)
        said = self.value or self.default
        return found if said is None or _is_there(found) else said


class Time(Stands):
    """A moment: where it stands and how it is written."""

    how: Literal["seconds", "milliseconds"] | None = Field(
        None, alias="as", description="The unit of its Unix time. Default: seconds, if it is a number."
    )
    zone: Timezone | None = Field(None, description="The zone of a text that names none.")

    def of(self, headers: Headers, one: Any) -> datetime | None:
        """The moment; None if it isn't there. Raises ValueError for what is there and is none."""
        found = None if self.at is None else self.at.of(headers, one)
        if not _is_there(found):
            return None
        at = _moment(found, self.how, self.zone)
        if at is None:
            raise ValueError("this is no moment")
        return at


class Property(Value):
    """A property of an event or of a customer, by its type: where it stands and how it is written there."""

    forms: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "at": ("as", "zone", "default"),
        "value": (),
        "each": ("fields",),
    }

    how: Literal["minor", "seconds", "milliseconds"] | None = Field(
        None, alias="as", description="An amount in minor units, like cents, or the unit of its Unix time."
    )
    zone: Timezone | None = Field(None, description="The zone of a time that names none. Default: the brand's.")
    each: Where | None = Field(None, description="Where a list stands, instead of at.")
    fields: dict[FieldName, Property] = Field(
        default_factory=dict, description="What an entry of the list has; paths are of the entry."
    )

    @model_validator(mode="after")
    def _entries_have_fields(self) -> Property:
        if self.each is not None and not self.fields:
            raise Wrong(
                "it isn't said what an entry of this list has", "add fields:, and where in an entry each stands"
            )
        return self

    def minor(self, path: Path = ()) -> Iterator[Path]:
        """Where it, or a field of it, is said to be in minor units."""
        if self.how == "minor":
            yield (*path, "as")
        for name, field in self.fields.items():
            yield from field.minor((*path, "fields", name))

    def read(self, headers: Headers, one: Any, currency: str | None) -> Any:
        """The value as the door takes it: an amount in units of `currency`, a time as a text with its zone."""
        if self.each is not None:
            entries = self.each.of(headers, one)
            if not isinstance(entries, list):
                return None
            return [read(self.fields, headers, entry, currency) for entry in entries if isinstance(entry, Mapping)]
        found = None if self.at is None else self.at.of(headers, one)
        if (self.how is None and self.zone is None) or not isinstance(found, str | int | float) or found == "":
            return self.of(headers, one)
        if self.how == "minor":
            return _units(found, currency) or f"{found} as minor"
        at = _moment(found, self.how, self.zone)
        return f"{found} as {self.how or 'a time'}" if at is None else at.isoformat()


def read(values: Mapping[str, Property], headers: Headers, one: Any, currency: str | None) -> dict[str, Any]:
    """Those that are there, by name."""
    found = ((name, value.read(headers, one, currency)) for name, value in values.items())
    return {name: value for name, value in found if value is not None}


class Is(Model):
    """What must stand at a place: a text, or one of several."""

    one_of: tuple[Text, ...] = ()
    missing: YesNo | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"one_of": [value] if isinstance(value, str) else value} if isinstance(value, str | list) else value

    @model_validator(mode="after")
    def _says_one_thing(self) -> Is:
        if bool(self.one_of) == (self.missing is not None):
            raise Wrong("it isn't said what must stand there", "write a text, a list of texts, or {missing: true}")
        return self

    def holds(self, found: Any) -> bool:
        """Whether what stands there is what must."""
        if self.missing is not None:
            return self.missing is not _is_there(found)
        return any(_is(found, said) for said in self.one_of)


def _condition_place(written: Any) -> Any:
    """A place as a key: a fault is told of the whole key."""
    try:
        return parse_place(written) if isinstance(written, str) else written
    except Wrong as wrong:
        raise Wrong(f'"{written}" is no place', wrong.hint) from None


def _not_empty(conditions: dict[Place, Is]) -> dict[Place, Is]:
    if not conditions:
        raise Wrong("no condition is written here", "write a place and what stands there, like order.state: paid")
    return conditions


Conditions = Annotated[
    dict[Annotated[Place, PlainValidator(_condition_place), PlainSerializer(lambda place: place.written)], Is],
    AfterValidator(_not_empty),
]
"""What must stand where, all of it."""


def hold(conditions: Mapping[Place, Is], headers: Headers, one: Any) -> bool:
    """Whether all of them hold."""
    return all(condition.holds(place.of(headers, one)) for place, condition in conditions.items())


def _is(found: Any, said: str) -> bool:
    if isinstance(found, bool):
        return said in (("true", "yes") if found else ("false", "no"))
    if isinstance(found, int | float):
        number = amount(found)
        return number is not None and number == amount(said)
    return bool(found == said)


def _is_there(found: Any) -> bool:
    """Null and an empty text are nothing."""
    return found is not None and found != ""


def _moment(found: Any, how: str | None, zone: str | None) -> datetime | None:
    try:
        if how is not None:
            number = amount(found)
            return None if number is None else _EPOCH + timedelta(microseconds=int(number * _UNIX[how]))
        if zone is not None and isinstance(found, str):
            at = datetime.fromisoformat(found.strip())
            return at if at.tzinfo is not None else at.replace(tzinfo=ZoneInfo(zone))
    except (ValueError, OverflowError):
        return None
    return moment(found)


def _units(found: Any, currency: str | None) -> str | None:
    number = amount(found)
    if number is None or number != number.to_integral_value() or currency not in _currencies():
        return None
    return f"{Decimal(int(number)).scaleb(-get_currency_precision(currency)):f}"


@cache
def _currencies() -> frozenset[str]:
    return frozenset(list_currencies())
