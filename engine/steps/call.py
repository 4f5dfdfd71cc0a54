"""`call`: asks another system over HTTP. The customer stands here until it is settled, as at `send`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema, model_validator
from sqlalchemy import case, literal, null

from engine.cohort import standing
from engine.cohort.cohort import Cohort, Judgement
from engine.cohort.filled import expressions
from engine.cohort.gate import CALL, FETCH
from engine.cohort.scope import Scope
from engine.cohort.standing import NOT_SENT, SENT, Otherwise
from engine.cohort.step import Step
from engine.guarded.target import Forbidden, Target, read
from engine.language.errors import Wrong
from engine.language.fields import Condition, FieldName, FilledTemplate, Model, Template
from engine.language.graph import Node
from engine.language.holes import Hole, pieces
from engine.language.journey import Complaint, Saves
from engine.language.moments import text_or
from engine.language.project import ValueType
from engine.language.registry import step
from engine.language.types import Kind, Type

ROUTE = "call"
REPEATABLE = ("GET", "PUT", "DELETE")
"""Methods that may be asked twice and mean the same (https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2)."""
OURS = frozenset(
    {"host", "connection", "content-length", "content-type", "transfer-encoding", "upgrade", "te", "trailer", "expect"}
    | {"accept-encoding", "idempotency-key", "webhook-id", "webhook-timestamp", "webhook-signature", "user-agent"}
)
"""Headers that the client writes itself."""

_SECRET = re.compile(r"""secret\(\s*(?:"([A-Z][A-Z0-9_]{0,62})"|'([A-Z][A-Z0-9_]{0,62})')\s*\)""")


def secrets_in(header: str) -> tuple[str | Hole, ...]:
    """A header's text with the names of its secrets in place of the holes. Raises Wrong."""
    parts: list[str | Hole] = []
    for part in pieces(header):
        if isinstance(part, Hole):
            found = _SECRET.fullmatch(part.text)
            if found is None:
                hint = 'like {{ secret("CRM_TOKEN") }}; what varies belongs into json or into the URL'
                raise Wrong("only a secret may be filled into a header", hint, offset=part.offset)
            parts.append(Hole(found[1] or found[2], part.offset))
        elif not part.isascii() or not part.isprintable():
            raise Wrong("a header is plain ASCII in one line")
        else:
            parts.append(part)
    return tuple(parts)


def _header(text: str) -> str:
    secrets_in(text)
    return text


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,62}", text):
        raise Wrong(f'"{text}" can\'t be the name of a header', "letters, digits and -, like Authorization")
    if text.lower() in OURS:
        raise Wrong(f"{text} is written by the engine", "remove it")
    return text


HeaderName = Annotated[str, text_or(str, _name), WithJsonSchema({"type": "string"})]
HeaderText = Annotated[str, text_or(str, _header), WithJsonSchema({"type": "string"})]

# Four levels: what refers to itself would hide its texts from the lint.
_Json1 = Template | dict[str, Template] | list[Template]
_Json2 = Template | dict[str, _Json1] | list[_Json1]
_Json3 = Template | dict[str, _Json2] | list[_Json2]
Json = dict[str, _Json3]


def static(url: str) -> Target:
    """The target of a URL with something harmless in its holes. Raises Wrong when a part that decides who is asked is
    filled in, or when nobody would be."""
    parts = pieces(url)
    first = parts[0] if parts and isinstance(parts[0], str) else ""
    if len(parts) > 1 and not re.match(r"https?://[^/]+/", first):
        raise Wrong("whom to ask must be written out", "{{ … }} may stand behind the host and its /, nowhere before")
    try:
        return read("".join("x" if isinstance(part, Hole) else part for part in parts))
    except Forbidden as error:
        raise Wrong(str(error), "like https://crm.example/customers") from None


class Asked(Model):
    url: FilledTemplate = Field(description="Whom to ask, like https://crm.example/people/{{ customer.id }}.")
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] | None = Field(
        None, description="Default: POST with json, else GET."
    )
    json_: Json | None = Field(None, alias="json", description="What is sent: a mapping of texts and `{{ … }}`.")
    headers: dict[HeaderName, HeaderText] = Field(
        default_factory=dict, description='Of the request. `{{ secret("NAME") }}` is KARIBU_CALL_NAME.'
    )
    save: FieldName | None = Field(None, description="The answer's name afterwards: save: quote, quote.price.")
    answer: dict[FieldName, ValueType] = Field(
        default_factory=dict, description="What is kept of the answer: names and types, as of an event."
    )

    @model_validator(mode="after")
    def _whole(self) -> Asked:
        try:
            static(self.url)
        except Wrong as wrong:
            raise Wrong(wrong.message, wrong.hint, at=("url",)) from None
        if bool(self.answer) != (self.save is not None):
            hint = "say what is kept of it, like answer: {price: number}" if self.save else "name it, like save: quote"
            raise Wrong("save and answer belong together", hint, at=("save" if self.save else "answer",), on_key=True)
        if self.json_ is not None and self.asks_with in ("GET", "DELETE"):
            raise Wrong(f"{self.asks_with} sends no json", "remove it, or choose POST", at=("json",), on_key=True)
        return self

    @property
    def asks_with(self) -> str:
        return self.method or ("GET" if self.json_ is None else "POST")

    @property
    def repeatable(self) -> bool:
        return self.asks_with in REPEATABLE

    @cached_property
    def host(self) -> str:
        return static(self.url).origin.host

    @cached_property
    def expressions(self) -> tuple[str, ...]:
        """All that is to be filled in."""
        return tuple(dict.fromkeys(one for text in (self.url, *_texts(self.json_)) for one in expressions(text)))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


@step("call")
class Call(Step):
    """Asks another system over HTTP, and may keep what it answers. A GET, PUT or DELETE is asked again when nobody can
    say whether it arrived; any other never is."""

    sends = True
    call: Asked
    when: Condition | None = Field(None, description="Not asked where this is false.")
    on_not_sent: Otherwise = Field(
        "continue", description="What to do when it was refused, or not asked: continue, exit or goto ID."
    )

    def jumps(self) -> tuple[str, ...]:
        return standing.jumps(self.on_not_sent)

    @property
    def channel(self) -> str:
        """A channel for each host: one that doesn't answer holds up nobody else's calls."""
        return (FETCH if self.call.repeatable else CALL) + self.call.host

    def channels(self) -> frozenset[str]:
        return frozenset({self.channel})

    def saves(self) -> Saves | None:
        if self.call.save is None:
            return None
        return Saves(self.call.save, Type(Kind.OBJECT, tuple(self.call.answer.items())))

    def complaints(self) -> Iterable[Complaint]:
        for name, text in self.call.headers.items():
            if name.lower() == "authorization" and not expressions(text):
                hint = 'write Bearer {{ secret("CRM_TOKEN") }}, and set KARIBU_CALL_CRM_TOKEN'
                yield Complaint(("call", "headers", name), "a secret doesn't belong into this file", hint)

    def judge(self, node: Node, scope: Scope) -> Judgement:
        if self.when is None:
            return Judgement(literal(SENT))
        asked = scope.condition(self.when)
        return Judgement(case((asked, SENT), else_=NOT_SENT), case((asked, null()), else_="when"))

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        cohort.queue(
            SENT,
            route=ROUTE,
            version_id=scope.program.version_id,
            channel=self.channel,
            template=f"{self.call.asks_with} {self.call.host}",
            topic="",
        )
        standing.leave(node, cohort, self.on_not_sent)

    def settle(self, node: Node, cohort: Cohort, *, leaves: bool = False) -> None:
        """Move on those whose call is settled. No cap counts calls."""
        standing.settle(node, cohort, self.on_not_sent)
