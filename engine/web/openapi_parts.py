"""What the descriptions of several routes share: answers, errors, and the form of an id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.runtime.bounds import LONGEST_ID
from engine.web.events import KEY_PATTERN

REFUSED: Mapping[int, tuple[str, str]] = {
    400: ("The body can't be read.", "the list is empty"),
    401: ("No API key, or a wrong one.", "an API key is needed"),
    403: ("The key is of another scope.", "a key of scope read may not do this: it needs one of scope write or admin"),
    413: ("The body is too large.", "a body may have 2097152 bytes, unpacked"),
    415: ("The body is packed in another way than gzip.", "a body may be packed with gzip, or not at all"),
    429: (
        "Too much waits. Come again.",
        "too many events are waiting; nothing of this request was taken",
    ),
    503: ("It can't be kept now. Come again.", "the events could not be kept; nothing of this request was taken"),
}
"""What each refusal means, and an example of what it says."""

RATED = ("The key has a rate. Come again.", "this key may make 50 requests per second")
READING = {
    "_403": (
        "The key is of another scope.",
        "a key of scope write may not do this: it needs one of scope read or admin",
    ),
    "_429": RATED,
    "_503": ("It can't be told now. Come again.", "the API key can't be looked up now; send the request again"),
}
"""What those refusals say of a route that only reads."""

UNREAD = {"path": "", "message": "the body is no JSON: unexpected end of data: line 1 column 2 (char 1)"}
REQUEST_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "pattern": f"^(?:{KEY_PATTERN})$"},
    "example": '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
}

COUNT = {"type": "integer", "minimum": 0}
MOMENT = {"type": "string", "format": "date-time"}
ID = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": LONGEST_ID, "format": "id"},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1},
    ],
    "description": "Printable, without spaces around it.",
}

EMAIL = {"type": "string", "format": "email"}
PHONE = {"type": "string", "format": "phone", "description": "With its country, like +254712345678."}


def ref(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def answer(description: str, schema: str, example: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": ref(schema), "example": example}}}


def errors(statuses: Iterable[int], **said: tuple[str, str]) -> dict[str, Any]:
    """These refusals, by status. `said`: in other words than REFUSED, like `_413=(description, message)`."""
    told = {}
    for status in statuses:
        description, message = said.get(f"_{status}", REFUSED[status])
        told[str(status)] = answer(description, "Error", {"error": message})
        if status in (429, 503):
            told[str(status)]["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "string"}}}
    return told


def refused(wrong: Any, **said: tuple[str, str]) -> dict[str, Any]:
    """How routes that are asked for something by one JSON object refuse it. `wrong`: an example of what is wrong."""
    unreadable = answer(
        "The body can't be read: it is no JSON (`errors`), or no gzip (`error`).", "Wrong", {"errors": [UNREAD]}
    )
    unreadable["content"]["application/json"]["schema"] = {"anyOf": [ref("Wrong"), ref("Error")]}
    return {
        "400": unreadable,
        "422": answer("Something in it is wrong. Nothing was done.", "Wrong", {"errors": [wrong]}),
        **errors((401, 403, 413, 415, 429, 503), **said),
    }


def closed(properties: Mapping[str, Any], optional: Iterable[str] = ()) -> dict[str, Any]:
    """An object with these properties and no others."""
    needed = [name for name in properties if name not in set(optional)]
    return {"type": "object", "required": needed, "additionalProperties": False, "properties": dict(properties)}
