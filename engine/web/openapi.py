"""What /v1 takes and answers, as OpenAPI 3.1 with examples: served at /v1/openapi.json, for everybody.

Kept by hand, because the events route reads its body itself; tests/web/test_openapi.py holds it to the running service,
with schemathesis and by its routes. Segment's calls aren't here: its specification describes them. Bounds and patterns
are those of the code.

OpenAPI: https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from engine.web import openapi_customers, openapi_journeys
from engine.web.openapi_parts import COUNT, EMAIL, ID, PHONE, READING, REQUEST_KEY, answer, errors, ref
from engine.web.reading import MOST_EVENTS, NAME_PATTERN

PATH = "/v1/openapi.json"

EVENT = {
    "event": "purchase",
    "customer": {"id": "amina", "email": "amina@shop.example", "consent": ["email/offers"]},
    "time": "2026-03-02T09:30:00+03:00",
    "key": "order-17",
    "properties": {"total": 49.90, "order_id": "17"},
}
FAULT = {
    "index": 0,
    "path": "event",
    "message": "this can't be an event's name",
    "hint": "small letters, digits and _, beginning with a letter",
}
NAMES = {"id": ID, "anonymous_id": ID, "email": EMAIL, "phone": PHONE}
"""What names a customer: one of them is needed."""

CONFLICT = {
    "index": 0,
    "path": "key",
    "message": "another event has this key",
    "hint": "a key names one event for ever",
}


def document() -> dict[str, Any]:
    """The whole document."""
    try:
        ours = version("karibu")
    except PackageNotFoundError:  # run from its directory, without having been installed
        ours = "0"
    return {
        "openapi": "3.1.0",
        "info": {"title": "Karibu", "version": ours, "description": "Events of a shop in, journeys of customers out."},
        "security": [{"bearer": []}, {"header": []}, {"basic": []}],
        "paths": {
            "/v1/events": {"post": _events()},
            **openapi_customers.paths(),
            **openapi_journeys.paths(),
            "/v1/status": {"get": _status()},
            PATH: {"get": _itself()},
        },
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The key as the user's name, and an empty password.",
                },
            },
            "schemas": {**_schemas(), **openapi_customers.schemas(), **openapi_journeys.schemas()},
        },
    }


def _events() -> dict[str, Any]:
    event = ref("Event")
    many = {"type": "array", "items": event, "minItems": 1, "maxItems": MOST_EVENTS}
    taken = {"accepted": 1, "duplicates": 0}
    return {
        "operationId": "sendEvents",
        "summary": "Take events: one, a list, or a stream of lines.",
        "description": "The answer comes when they are on the disk and have found their journeys. Of a list, those "
        "that are in order are taken and the others told in `errors`.",
        "parameters": [
            {
                **REQUEST_KEY,
                "description": "Names this request. Its events that have no key get `<key>:<place>`.",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [event, many]},
                    "examples": {"one": {"value": EVENT}, "list": {"value": [EVENT]}},
                },
                "application/x-ndjson": {
                    "schema": {"type": "array", "items": event, "minItems": 1, "description": "An event on each line."},
                    "example": [EVENT],
                },
            },
        },
        "responses": {
            "202": answer("They are kept.", "Taken", taken),
            "409": answer(
                "The key belongs to another event or request.",
                "Untaken",
                {"accepted": 0, "duplicates": 0, "errors": [CONFLICT]},
            ),
            "422": answer("None can be taken.", "Untaken", {"accepted": 0, "duplicates": 0, "errors": [FAULT]}),
            **errors((400, 401, 403, 413, 415, 429, 503)),
        },
    }


def _status() -> dict[str, Any]:
    return {
        "operationId": "status",
        "summary": "Tell who is in which journey, and what waits.",
        "responses": {
            "200": answer(
                "How it is.",
                "Status",
                {
                    "now": "2026-03-02T06:30:00+00:00",
                    "database": "sqlite",
                    "prefect": None,
                    "journeys": [
                        {
                            "journey": "welcome",
                            "version": 1,
                            "published": "2026-03-01T06:30:00+00:00",
                            "inside": 12,
                            "due": 0,
                        }
                    ],
                    "events_waiting": 0,
                    "messages_unsettled": 0,
                    "clock": {"seconds_ago": 0.4, "failed": {}},
                },
            ),
            **errors((401, 403, 429, 503), **READING),
        },
    }


def _itself() -> dict[str, Any]:
    return {
        "operationId": "openapi",
        "summary": "This document.",
        "security": [],
        "responses": {
            "200": {
                "description": "OpenAPI 3.1.",
                "content": {"application/json": {"schema": {"type": "object", "required": ["openapi", "paths"]}}},
            }
        },
    }


def _schemas() -> dict[str, Any]:
    name = {"anyOf": [*ID["anyOf"], {"type": "null"}]}
    faults = {"type": "array", "items": ref("Fault"), "minItems": 1}
    told = {"errors": faults, "warnings": faults, "errors_left_out": COUNT, "warnings_left_out": COUNT}
    counts = {"accepted": COUNT, "duplicates": COUNT, **told}
    stopped = {"error": {"type": "string"}, "durable_lines": COUNT, **counts}
    return {
        "Event": {
            "type": "object",
            "required": ["event", "customer"],
            "additionalProperties": False,
            "not": {
                "required": ["key", "id"],
                "properties": {one: {"type": ["string", "integer"]} for one in ("key", "id")},
            },
            "properties": {
                "event": {"type": "string", "pattern": f"^{NAME_PATTERN}$"},
                "customer": {"anyOf": [*ID["anyOf"], ref("Customer")]},
                "time": {
                    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
                    "description": "When it happened, from 1970 up to a day ahead. Default: now.",
                },
                "key": {**name, "description": "Names the event for ever: sent again, it counts once."},
                "id": {**name, "description": "The same as key."},
                "properties": {"type": ["object", "null"], "description": "As project.yaml declares them."},
            },
        },
        "Customer": {
            "type": "object",
            "anyOf": [{"required": [name], "properties": {name: form}} for name, form in NAMES.items()],
            "description": "A name of theirs, and what else is known: built-in names and those that project.yaml "
            "declares.",
            "properties": {
                "id": {"anyOf": [*ID["anyOf"], {"type": "null"}], "description": "Yours, for them."},
                "anonymous_id": {"anyOf": [*ID["anyOf"], {"type": "null"}], "description": "Of their device."},
                "consent": {"type": ["array", "object", "null"]},
                "tags": {"type": ["array", "string", "null"]},
            },
        },
        "Fault": {
            "type": "object",
            "required": ["path", "message"],
            "additionalProperties": False,
            "properties": {
                "index": {**COUNT, "description": "The place in the list, from 0."},
                "line": {**COUNT, "description": "The line of a stream, from 1."},
                "path": {"type": "string"},
                "message": {"type": "string"},
                "hint": {"type": "string"},
            },
        },
        "Taken": {
            "type": "object",
            "required": ["accepted", "duplicates"],
            "additionalProperties": False,
            "properties": {"lines": COUNT, **counts},
        },
        "Untaken": {"type": "object", "additionalProperties": False, "properties": {"lines": COUNT, **stopped}},
        "Error": {
            "type": "object",
            "required": ["error"],
            "additionalProperties": False,
            "properties": stopped,
            "description": "`durable_lines`: of a stream that ended in the middle, how many lines are dealt with.",
        },
        "Status": {
            "type": "object",
            "required": [
                "now",
                "database",
                "prefect",
                "journeys",
                "events_waiting",
                "messages_unsettled",
                "clock",
            ],
            "properties": {
                "now": {"type": "string", "format": "date-time"},
                "database": {"enum": ["sqlite", "postgresql"]},
                "prefect": {"type": ["object", "null"]},
                "journeys": {
                    "type": "array",
                    "items": {"type": "object", "required": ["journey", "version", "inside"]},
                },
                "events_waiting": COUNT,
                "messages_unsettled": COUNT,
                "clock": {"type": "object", "required": ["seconds_ago", "failed"]},
            },
        },
    }
