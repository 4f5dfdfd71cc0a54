"""What `GET /v1/customers/{id}` answers (engine/runtime/portrait.py) as a schema, with an example."""

from __future__ import annotations

from typing import Any

from engine.runtime.portrait import LATEST
from engine.web.openapi_parts import COUNT, MOMENT, closed

EXAMPLE: dict[str, Any] = {
    "id": "amina",
    "merged_ids": ["asha"],
    "anonymous_ids": ["4f2c"],
    "profile": {
        "email": "amina@shop.example",
        "phone": None,
        "telegram": None,
        "first_name": "Amina",
        "last_name": None,
        "locale": None,
        "timezone": None,
        "country": None,
        "birthday": "03-08",
        "created": "2026-03-02T06:30:00Z",
    },
    "consents": [
        {
            "channel": "email",
            "topic": "offers",
            "state": "on",
            "at": "2026-03-02T06:30:00Z",
            "source": "api: checkout",
            "proof": "Send me offers by e-mail.",
            "said": [
                {
                    "state": "on",
                    "at": "2026-03-02T06:30:00Z",
                    "received": "2026-03-02T06:30:01Z",
                    "source": "api: checkout",
                    "proof": "Send me offers by e-mail.",
                }
            ],
        }
    ],
    "hushed": {"offers": "2026-04-01T00:00:00Z"},
    "tags": ["regular"],
    "segments": ["gold"],
    "tallies": {
        "purchase": {"count": 1, "first": "2026-03-02T06:30:00Z", "last": "2026-03-02T06:30:00Z", "total": 49.9}
    },
    "events": [
        {
            "event": "purchase",
            "time": "2026-03-02T06:30:00Z",
            "received": "2026-03-02T06:30:01Z",
            "source": "api",
            "key": "order-17",
            "properties": {"total": 49.9, "order_id": "17"},
            "wrong": [],
        }
    ],
    "journeys": [
        {
            "journey": "order",
            "version": 1,
            "key": "17",
            "state": "waits at wait_1 until 2026-03-04 09:30",
            "entered": "2026-03-02T06:30:01Z",
            "ended": None,
            "decisions": [
                {
                    "at": "2026-03-02T06:30:01Z",
                    "local": "2026-03-02 09:30",
                    "words": "entered, because purchase came",
                    "step": None,
                    "kind": "enters",
                    "outcome": "entered",
                    "reason": "event:1",
                    "seen": {},
                    "aside": False,
                }
            ],
        }
    ],
    "messages": [
        {
            "journey": "order",
            "step": "send_1",
            "channel": "email",
            "template": "email/order",
            "topic": "transactional",
            "state": "accepted",
            "reason": None,
            "queued": "2026-03-02T06:30:01Z",
            "settled": "2026-03-02T06:30:02Z",
        }
    ],
}


def schema() -> dict[str, Any]:
    """Closed in all its parts: what it doesn't name isn't told."""
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    perhaps = {"type": ["string", "null"]}
    ended = {"anyOf": [MOMENT, {"type": "null"}]}
    line = {"at": MOMENT, "local": text, "words": text, "step": perhaps, "kind": text, "outcome": text}
    line |= {"reason": perhaps, "seen": {"type": "object"}, "aside": {"type": "boolean"}}
    way = {"journey": text, "version": COUNT, "key": text, "state": text, "entered": MOMENT, "ended": ended}
    happened = {"event": text, "time": MOMENT, "received": MOMENT, "source": text, "key": text}
    message = {"journey": text, "step": text, "channel": text, "template": text, "topic": text, "state": text}
    tally = closed({"count": COUNT, "first": MOMENT, "last": MOMENT, "total": {"type": "number"}}, optional=["total"])
    word = {"state": {"enum": ["on", "off", "pending"]}, "at": MOMENT, "source": text, "proof": perhaps}
    consent = {"channel": text, "topic": text, **word, "said": _list({**word, "received": MOMENT})}
    return closed(
        {
            "id": text,
            "merged_ids": texts,
            "anonymous_ids": texts,
            "profile": {"type": "object", "required": list(EXAMPLE["profile"])},
            "consents": _list(consent),
            "hushed": {"type": "object", "additionalProperties": MOMENT},
            "tags": texts,
            "segments": texts,
            "tallies": {"type": "object", "additionalProperties": tally},
            "events": _list({**happened, "properties": {"type": "object"}, "wrong": texts}) | {"maxItems": LATEST},
            "journeys": _list({**way, "decisions": _list(line)}),
            "messages": _list({**message, "reason": perhaps, "queued": MOMENT, "settled": ended})
            | {"maxItems": LATEST},
        }
    )


def _list(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": closed(properties)}
