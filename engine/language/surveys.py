"""Surveys as project.yaml declares them: what is asked, on which scale, in which words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from engine.language.errors import Wrong
from engine.language.fields import Model, Text

Kind = Literal["nps", "csat"]

SCALES: Mapping[Kind, range] = {"nps": range(11), "csat": range(1, 6)}
"""The answers there are: would they recommend us (0 to 10), are they content (1 to 5)."""


def _or_text(schema: dict[str, Any]) -> None:
    """One text may stand for all languages."""
    schema["anyOf"] = [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}]
    for key in ("type", "properties", "required", "additionalProperties"):
        schema.pop(key, None)


class Spoken(Model):
    """A text in several languages, by locale; a text alone is in the brand's."""

    model_config = {"json_schema_extra": _or_text}

    by_locale: dict[str, Text] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"by_locale": {"": value}}
        if isinstance(value, Mapping) and set(value) != {"by_locale"}:
            if not value:
                raise Wrong("there is no text here", "write it, or one for each language: {en: …, sw: …}")
            return {"by_locale": dict(value)}
        return value


class Survey(Model):
    """A question with its scale, and a comment that may be left out. Karibu has words for both in four languages."""

    kind: Kind = Field(description="nps: 0 to 10, would you recommend us. csat: 1 to 5, how content are you.")
    question: Spoken | None = Field(None, description="What is asked, as a text or by locale. Default: by the kind.")
    comment: Spoken | None = Field(None, description="What the comment is asked for. Default: the reason.")

    @property
    def scores(self) -> range:
        return SCALES[self.kind]
