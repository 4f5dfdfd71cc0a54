"""The field types of the language: what a text in YAML means is said by the type of its field.

A marker in the Annotated type tells `check` what else to do with the text: parse it as an expression, find the `{{
}}` in it, or look up the name it gives. The value itself stays the text that was typed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType

from engine.language.errors import CURLY, Path, Wrong, did_you_mean, nearest
from engine.language.moments import text_or


class Model(BaseModel):
    """Frozen, and strict about keys: an unknown one is a problem, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="wrap")
    @classmethod
    def _name_unknown_keys(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        # Only here is it known which keys this mapping could have had; pydantic's error doesn't say.
        try:
            return handler(value)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                error.title, [_own(cls, each, info.context) for each in error.errors()]
            ) from None

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """The keys that a mapping of this model may have in YAML."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())

    @classmethod
    def unknown_key(cls, key: str, context: Any) -> Wrong:
        """What is said of a key that this model doesn't have."""
        keys = cls.keys()
        return Wrong(f'unknown key "{key}"', did_you_mean(key, keys), on_key=True, meant=nearest(key, keys))


def _own(model: type[Model], error: Any, context: Any) -> InitErrorDetails:
    """An error of pydantic as it was; that of an unknown key as Wrong, with the nearest key there is."""
    kind: str | PydanticCustomError = error["type"]
    if kind == "extra_forbidden" and len(error["loc"]) == 1:
        wrong = model.unknown_key(str(error["loc"][0]), context)
        return InitErrorDetails(
            type=PydanticCustomError("value_error", "unknown key", {"error": wrong}),
            loc=error["loc"],
            input=error["input"],
        )
    if kind not in _PYDANTIC_KINDS:
        kind = PydanticCustomError(error["type"], error["msg"].replace("{", "{{"), error.get("ctx"))
    return InitErrorDetails(type=kind, loc=error["loc"], input=error["input"], ctx=error.get("ctx") or {})


_PYDANTIC_KINDS = frozenset(get_args(ErrorType))


@dataclass(frozen=True)
class Expression:
    """Marks a bare expression. With `of_event`, `event.*` in it is the event named by the field `event` of the same
    model.
    """

    expects: Literal["condition", "key", "value", "amount", "date", "list"]
    of_event: bool = False


@dataclass(frozen=True)
class Literally:
    """Marks a text that is literal but for the expressions in `{{ }}`."""


@dataclass(frozen=True)
class Refers:
    """Marks the name of something that must exist: an event, segment, topic, journey, step, template, channel,
    customer attribute or pool of coupons.
    """

    to: Literal["event", "segment", "topic", "journey", "step", "template", "channel", "attribute", "person", "pool"]


Marker = Expression | Literally | Refers


def _text(check: Callable[[str], str]) -> Any:
    return text_or(str, check)


def _expression(text: str) -> str:
    if not text.strip():
        raise Wrong("the expression is empty", 'write a condition or a value, like customer.country == "KE"')
    return text


def named(
    pattern: str, what: str, hint: str, meant: Callable[[str], str | None] = lambda text: None
) -> tuple[Any, WithJsonSchema]:
    """A validator and a JSON Schema for names of this pattern; `meant` may guess what to write instead."""
    matches = re.compile(pattern).fullmatch

    def read(text: str) -> str:
        if not text:
            raise Wrong(f"{what} is missing here", hint)
        if not matches(text):
            quoted = text[:1] in tuple(CURLY)
            raise Wrong(f'"{text}" can\'t be {what}', "leave out the curly quotes" if quoted else meant(text) or hint)
        return text

    return _text(read), WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


CHANNELS = ("email", "sms", "push", "whatsapp", "telegram")
ANY_CHANNEL = "|".join(CHANNELS)
"""A pattern of them."""

_CHANNELS_IN_WORDS = f"{', '.join(CHANNELS[:-1])} and {CHANNELS[-1]}"

_WORDS = "small letters, digits and _, beginning with a letter"
_DASHED = "small letters, digits and -, beginning with a letter"
_ID = named(r"[a-z][a-z0-9_]{0,62}", "a step's id", _WORDS)
_EVENT = named(r"[a-z][a-z0-9_]{0,62}", "the name of an event", _WORDS)
_JOURNEY = named(r"[a-z][a-z0-9-]{0,62}", "the name of a journey", _DASHED)
_SEGMENT = named(r"[a-z][a-z0-9-]{0,62}", "the name of a segment", _DASHED)
_TOPIC = named(r"[a-z][a-z0-9_-]{0,62}", "the name of a topic", _DASHED)
_POOL = named(r"[a-z][a-z0-9-]{0,62}", "the name of a pool", _DASHED)
_CHANNEL = named(r"[a-z][a-z0-9_]{0,62}", "a channel", _CHANNELS_IN_WORDS.replace(" and ", " or "))
_ATTRIBUTE = named(
    r"customer\.[a-z][a-z0-9_]{0,62}", "a customer attribute", "write customer. and its name, like customer.tier"
)


def _template_meant(text: str) -> str | None:
    name = text.strip().lower().removeprefix("templates/").replace(" ", "-")
    for ending in (".mjml", ".txt", ".yaml"):
        name = name.removesuffix(ending)
    return f"write {name}" if re.fullmatch(_TEMPLATE_NAME, name) else None


_SURVEY = named(r"[a-z][a-z0-9_-]{0,62}", "the name of a survey", "small letters, digits, - and _, like nps")
_TEMPLATE_NAME = rf"(?:{ANY_CHANNEL})/[a-z0-9][a-z0-9_-]{{0,62}}"
_TEMPLATE = named(
    _TEMPLATE_NAME,
    "a template",
    f"write channel/name, like email/welcome; the channels are {_CHANNELS_IN_WORDS}",
    _template_meant,
)

NewStepId = Annotated[str, *_ID]
NewEventName = Annotated[str, *_EVENT]
NewJourneyName = Annotated[str, *_JOURNEY]
NewSegmentName = Annotated[str, *_SEGMENT]
NewTopicName = Annotated[str, *_TOPIC]
NewPoolName = Annotated[str, *_POOL]
NewSurveyName = Annotated[str, *_SURVEY]
FieldName = Annotated[str, *named(r"[a-z][a-z0-9_]{0,62}", "a name", _WORDS)]

StepId = Annotated[str, *_ID, Refers("step")]
EventName = Annotated[str, *_EVENT, Refers("event")]
JourneyName = Annotated[str, *_JOURNEY, Refers("journey")]
SegmentName = Annotated[str, *_SEGMENT, Refers("segment")]
TopicName = Annotated[str, *_TOPIC, Refers("topic")]
PoolName = Annotated[str, *_POOL, Refers("pool")]
ChannelName = Annotated[str, *_CHANNEL, Refers("channel")]
Attribute = Annotated[str, *_ATTRIBUTE, Refers("attribute")]
PersonName = Annotated[str, *named(r"[a-z][a-z0-9_]{0,62}", "a name", _WORDS), Refers("person")]
SurveyName = Annotated[str, *_SURVEY, Refers("survey")]
DateAttribute = Annotated[str, *_ATTRIBUTE, Expression("date")]
TemplateRef = Annotated[str, *_TEMPLATE, Refers("template")]

_BARE = (_text(_expression), WithJsonSchema({"type": "string", "minLength": 1}))
Condition = Annotated[str, *_BARE, Expression("condition")]
Where = Annotated[str, *_BARE, Expression("condition", of_event=True)]
Key = Annotated[str, *_BARE, Expression("key")]
Value = Annotated[str, *_BARE, Expression("value")]
Amount = Annotated[str, *_BARE, Expression("amount")]
ListValue = Annotated[str, *_BARE, Expression("list")]
DateValue = Annotated[str, *_BARE, Expression("date")]
EventAmount = Annotated[str, *_BARE, Expression("amount", of_event=True)]
Template = Annotated[str, _text(lambda text: text), WithJsonSchema({"type": "string"}), Literally()]


def _filled(text: str) -> str:
    if not text.strip():
        raise Wrong("a text is missing here", "write what it should say")
    return text


Text = Annotated[str, _text(_filled), WithJsonSchema({"type": "string", "minLength": 1})]
FilledTemplate = Annotated[str, _text(_filled), WithJsonSchema({"type": "string", "minLength": 1}), Literally()]


def whole(low: int, high: int) -> tuple[Any, WithJsonSchema]:
    """A validator and a JSON Schema for whole numbers from `low` to `high`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
            raise Wrong(f'"{text}" is not a whole number')
        if not low <= int(text) <= high:
            raise Wrong(f"{int(text)} is out of bounds", f"from {low} to {high}")
        return int(text)

    return text_or(int, read), WithJsonSchema({"type": ["integer", "string"]})


def parse_percent(text: str) -> int:
    """`10%` or `12.5%` in 1/10000: 1000, 1250. At most two decimals, because arms are drawn from 10,000 lots."""
    found = re.fullmatch(r"([0-9]{1,3})(?:\.([0-9]{1,2}))?\s*%", text.strip())
    parts = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0")) if found else -1
    if not 0 <= parts <= 10000:
        raise Wrong(f'"{text}" is not a percentage', "write a number from 0 to 100 and %, like 10% or 12.5%")
    return parts


def percent_text(parts: int) -> str:
    """1250 as `12.5%`."""
    return f"{parts / 100:.2f}".rstrip("0").rstrip(".") + "%"


Percent = Annotated[
    int,
    text_or(int, parse_percent),
    PlainSerializer(percent_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,2})?\s*%$", "examples": ["10%"]}),
]


def _yes_no(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "false", "yes", "no"):
        raise Wrong(f'"{text}" is neither true nor false', "write true or false")
    return word in ("true", "yes")


YesNo = Annotated[bool, text_or(bool, _yes_no), WithJsonSchema({"enum": [True, False, "yes", "no"]})]


@dataclass(frozen=True)
class Marked:
    """A text of a model that carries a marker: its path below the model, by YAML keys, and the model that holds the
    field.
    """

    path: Path
    marker: Marker
    text: str
    owner: object


class Partly(Model):
    """A mapping that could not be read as the model `of`: its marked texts are those that stand in it."""

    of: type[Model] | None = None
    given: Mapping[str, Any] = {}


def marked(model: BaseModel, skip: Callable[[Any], bool] = lambda value: False) -> Iterator[Marked]:
    """Every marked text of a model and of what it holds; values for which `skip` is true are left out with all that
    is in them.
    """
    if isinstance(model, Partly):
        yield from _as_written(model.given, model.of, (), model)
        return
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        path: Path = (field.alias or name,)
        for marker in field.metadata:
            if isinstance(marker, Marker) and isinstance(value, str):
                yield Marked(path, marker, value, model)
        yield from _inside(value, field.annotation, path, model, skip)


def _inside(value: Any, annotation: Any, path: Path, owner: BaseModel, skip: Callable[[Any], bool]) -> Iterator[Marked]:
    if value is None or skip(value):
        return
    if isinstance(value, BaseModel):
        for found in marked(value, skip):
            yield Marked(path + found.path, found.marker, found.text, found.owner)
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value), include_extras=True)
        for each in fields(value):
            yield from _inside(getattr(value, each.name), hints[each.name], (*path, each.name), owner, skip)
    elif origin is Annotated:
        for marker in arguments[1:]:
            if isinstance(marker, Marker) and isinstance(value, str):
                yield Marked(path, marker, value, owner)
        yield from _inside(value, arguments[0], path, owner, skip)
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from _inside(value, argument, path, owner, skip)
    elif isinstance(value, (tuple, list)):
        for n, item in enumerate(value):
            kind = arguments[0] if arguments else Any
            yield from _inside(item, kind, (*path, n), owner, skip)
    elif isinstance(value, Mapping):
        key_kind, value_kind = arguments if len(arguments) == 2 else (Any, Any)
        for key, item in value.items():
            yield from _inside(key, key_kind, (*path, str(key)), owner, skip)
            yield from _inside(item, value_kind, (*path, str(key)), owner, skip)


def _as_written(value: Any, annotation: Any, path: Path, owner: object) -> Iterator[Marked]:
    """The marked texts in plain data of which a model of this type was to be made."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        for marker in arguments[1:]:
            if isinstance(marker, Marker) and isinstance(value, str):
                yield Marked(path, marker, value, owner)
        yield from _as_written(value, arguments[0], path, owner)
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from _as_written(value, argument, path, owner)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and isinstance(value, Mapping):
        here = SimpleNamespace(**{key: inner for key, inner in value.items() if isinstance(inner, str)})
        for name, field in annotation.model_fields.items():
            if (key := field.alias or name) in value:
                kind = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
                yield from _as_written(value[key], kind, (*path, key), here)
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from _as_written(item, arguments[0] if arguments else Any, (*path, n), owner)
    elif isinstance(value, Mapping):
        kinds = arguments if len(arguments) == 2 else (Any, Any)
        for key, item in value.items():
            yield from _as_written(str(key), kinds[0], (*path, str(key)), owner)
            yield from _as_written(item, kinds[1], (*path, str(key)), owner)
