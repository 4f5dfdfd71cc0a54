"""The customers' routes (engine/web/customers.py) as OpenAPI: a part of engine/web/openapi.py."""

from __future__ import annotations

from typing import Any

from engine.runtime.bounds import AN_ID
from engine.runtime.door import LONGEST_LABEL
from engine.web import openapi_portrait
from engine.web.customers import FULL
from engine.web.openapi_parts import ID, READING, answer, closed, errors, ref, refused
from engine.web.reading import LARGEST_EVENT

AMINA = {
    "first_name": "Amina",
    "email": "amina@shop.example",
    "birthday": "03-08",
    "consent": ["email/offers"],
    "tags": ["regular"],
}
FAULT = {
    "path": "consent",
    "message": "consent is a list of texts",
}
UNKNOWN = {
    "path": "id",
    "message": "nobody has this id",
    "hint": "their first event, or PUT, makes them known",
}
MISSING = {"path": "into", "message": "the id is missing", "hint": AN_ID}
_SAID = {
    "_413": ("The body is too large.", f"a body may have {LARGEST_EVENT} bytes, unpacked"),
    "_429": ("The key has a rate, or too much waits. Come again.", FULL),
    "_503": (
        "It can't be done now. Come again.",
        "this can't be done now; nothing was changed, send it again",
    ),
}


def paths() -> dict[str, Any]:
    """The operations, by path and method."""
    return {
        "/v1/customers/{id}": {"parameters": [_ID], "put": _put(), "get": _get()},
        "/v1/customers/merge": {"post": _merge()},
    }


_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The customer's id, or one that was merged into theirs.",
    "schema": ID["anyOf"][0],
    "example": "amina",
}


def _put() -> dict[str, Any]:
    warned = {"customer": "amina", "warnings": [{"path": "teir", "message": 'customers have no "teir"'}]}
    return {
        "operationId": "setCustomer",
        "summary": "Set what is known of a customer. What isn't mentioned stays; null clears.",
        "requestBody": _body("Description", AMINA),
        "responses": {
            "200": answer("It is set.", "Set", {"customer": "amina"}),
            "201": answer("It is set, and they are new.", "Set", warned),
            **refused(FAULT, **_SAID),
        },
    }


def _get() -> dict[str, Any]:
    return {
        "operationId": "customer",
        "summary": "Tell all that is known of a customer.",
        "responses": {
            "200": answer("All of it.", "Portrait", openapi_portrait.EXAMPLE),
            "404": answer("Nobody has this id.", "Wrong", {"errors": [UNKNOWN]}),
            **errors((401, 403, 429, 503), **READING),
        },
    }


def _merge() -> dict[str, Any]:
    return {
        "operationId": "mergeCustomers",
        "summary": "Make two customers one: `from` turns out to be `into`.",
        "description": "Told again it changes nothing.",
        "requestBody": _body("Merge", {"from": "asha", "into": "amina"}),
        "responses": {
            "200": answer("They are one.", "Merged", {"customer": "amina", "merged": True}),
            **refused(MISSING, **_SAID),
        },
    }


def _body(schema: str, example: Any) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": ref(schema), "example": example}}}


def schemas() -> dict[str, Any]:
    """Their schemas, by name."""
    faults = {"type": "array", "items": ref("Fault"), "minItems": 1}
    return {
        "Description": {
            "type": "object",
            "description": "Built-in names and those that project.yaml declares, as in an event's `customer`.",
            "properties": {
                # The service takes the address's own id here too; no schema can say so.
                "id": {"type": "null", "description": "Better left out: the address says it."},
                "anonymous_id": {"anyOf": [*ID["anyOf"], {"type": "null"}], "description": "Of their device."},
                "consent": {
                    "type": ["array", "object", "null"],
                    "description": "Like email/offers. An object says of each yes or no: true, false, or an object "
                    "with state (on, off), how, text (the words they agreed to), at, and confirmed.",
                },
                "tags": {
                    "type": ["array", "string", "null"],
                    "description": f"Those of 1 to {LONGEST_LABEL} characters are kept.",
                },
            },
        },
        "Set": closed({"customer": {"type": "string"}, "warnings": faults}, optional=["warnings"]),
        "Merge": closed({"from": ID, "into": ID}),
        "Merged": closed({"customer": {"type": "string"}, "merged": {"type": "boolean"}}),
        "Wrong": closed({"errors": faults}),
        "Portrait": openapi_portrait.schema(),
    }
