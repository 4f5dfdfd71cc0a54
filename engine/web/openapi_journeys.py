"""The route that lets customers into a journey (engine/web/journeys.py) as OpenAPI: a part of engine/web/openapi.py."""

from __future__ import annotations

from typing import Any

from engine.runtime.bounds import AN_ID, NO_ID
from engine.web.journeys import MOST, TOLD
from engine.web.openapi_parts import COUNT, ID, REQUEST_KEY, answer, closed, ref, refused

ENTERED = {
    "journey": "recall",
    "entered": 1,
    "others": [
        {
            "customer": "baraka",
            "outcome": "refused",
            "reason": "again",
            "words": "not let in when somebody entered them by hand: they had been in before (again: never)",
        },
        {"customer": "zuri", "outcome": "unknown", "reason": None, "words": "nobody has this id"},
    ],
}
MISSPELT = {"path": "journey", "message": 'there is no journey "recal"', "hint": 'did you mean "recall"?'}
BY_EVENT = {
    "path": "journey",
    "message": "hello lets customers in by event, not by hand",
    "hint": "send the event itself: POST /v1/events",
}
WRONG_ID = {"path": "customers.1", "message": NO_ID, "hint": AN_ID}
_SAID = {
    "_403": (
        "The key is of another scope.",
        "a key of scope write may not do this: it needs one of scope admin",
    ),
    "_429": ("Too much waits, or the key has a rate. Come again.", "this key may make 50 requests per second"),
    "_503": ("It can't be done now. Come again.", "this can't be done now; nothing was changed, send it again"),
}


def paths() -> dict[str, Any]:
    """The operation, by path and method."""
    return {"/v1/journeys/{journey}/enter": {"parameters": [_JOURNEY], "post": _enter()}}


_JOURNEY = {
    "name": "journey",
    "in": "path",
    "required": True,
    "description": "A published journey with `enter: {manual: true}`.",
    "schema": {"type": "string", "minLength": 1, "format": "journey"},
    "example": "recall",
}


def _enter() -> dict[str, Any]:
    unknown = answer("There is no such journey.", "Wrong", {"errors": [MISSPELT]})
    unknown["content"]["application/json"]["schema"] = {"anyOf": [ref("Wrong"), ref("Error")]}
    return {
        "operationId": "enterJourney",
        "summary": "Let customers into a journey by hand.",
        "description": "Its audience, again and limit still decide. All of them are let in at once, or nobody is.",
        "parameters": [
            {
                **REQUEST_KEY,
                "description": "Names the cause: for one cause nobody enters a journey twice, and who has been named "
                "for it before is told what came of it then.",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": ref("Entering"),
                    "examples": {
                        "one": {"value": {"customer": "amina"}},
                        "list": {"value": {"customers": ["amina", "baraka", "zuri"]}},
                    },
                }
            },
        },
        "responses": {
            "200": answer("Who was let in is in.", "Entered", ENTERED),
            "404": unknown,
            "409": answer("It takes nobody by hand, or isn't live.", "Wrong", {"errors": [BY_EVENT]}),
            **refused(WRONG_ID, **_SAID),
        },
    }


def schemas() -> dict[str, Any]:
    """Its schemas, by name."""
    text = {"type": "string"}
    other = {
        "customer": text,
        "outcome": {"enum": ["held_out", "waits", "refused", "unknown"]},
        "reason": {"type": ["string", "null"], "description": "Of a refusal: audience, again, limit or no_key."},
        "words": {**text, "description": f"For people. Of those who were refused, the first {TOLD} have them."},
    }
    many = {"type": "array", "items": ID, "minItems": 1, "maxItems": MOST}
    return {
        "Entering": {
            **closed({"customer": ID, "customers": many}, optional=["customer", "customers"]),
            "oneOf": [{"required": ["customer"]}, {"required": ["customers"]}],
        },
        "Entered": closed(
            {
                "journey": text,
                "entered": COUNT,
                "others": {"type": "array", "items": closed(other, optional=["words"])},
            }
        ),
    }
