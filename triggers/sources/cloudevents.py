"""CloudEvents over HTTP: structured (one or a batch) and binary.

    type      what project.yaml calls it, or the name of an event
    subject   the customer's id, unless the data says `customer`, as at POST /v1/events
    data      the properties, or what is JSON in `data_base64`; there may be none

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md. They carry no signature:
the sender shows the secret as `Authorization: Bearer`
(https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md#3-authorization).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import unquote

import orjson

from engine.language.registry import source
from triggers.sources.base import IGNORE, Headers, Said, Source, Told, Untold, Who
from triggers.sources.parts import known, mapping, moment, text
from triggers.sources.signatures import shown_token

ADDRESSES = ("id", "email", "phone", "anonymous")


@source("cloudevents")
class CloudEvents(Source):
    """CloudEvents 1.0, structured, in a batch or binary. The sender shows the secret as `Authorization: Bearer`."""

    asks_leave: ClassVar[bool] = True

    def verify(self, secrets: Sequence[str], headers: Headers, body: bytes, now: datetime) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and shown_token(secrets, token.strip())

    def payload(self, headers: Headers, body: bytes) -> Any:
        """A binary event needs no data, and so no body."""
        return None if "ce-type" in headers and not body else super().payload(headers, body)

    def read(self, headers: Headers, payload: Any) -> Said:
        if "ce-type" in headers:
            names = ("id", "source", "type", "subject", "time")
            return self._one({name: _decoded(headers.get(f"ce-{name}")) for name in names} | {"data": payload}, payload)
        batch = payload if isinstance(payload, list) else [payload]
        return [said for one in batch for said in self._one(one, one)]

    def _one(self, one: Any, payload: Any) -> Said:
        type_ = text(one, "type") or ""
        event = self.events.get(type_)
        if event == IGNORE:
            return []
        if event is None:
            return [Untold(type_, "unknown topic", payload)]
        name = text(one, "id")
        if name is None:
            return [Untold(type_, "it has no id", payload)]
        # An id is the producer's own: only with `source` it is one for all.
        key = f"{text(one, 'source') or ''}#{name}"
        try:
            data = _data(one)
        except ValueError:
            return [Untold(type_, "its data is no JSON", payload, key)]
        said = data.get("customer")
        given = said if isinstance(said, Mapping) else {"id": text(said) or text(one, "subject")}
        who = Who(text(given, "id"), text(given, "email"), text(given, "phone"), text(given, "anonymous"))
        if not who:
            return [Untold(type_, "it names no customer", payload, key)]
        profile = {name: value for name, value in given.items() if name not in ADDRESSES}
        properties = known({name: value for name, value in data.items() if name != "customer"})
        return [Told(who, event, key, moment(one, "time"), properties, profile, part=payload, topic=type_)]


def _data(one: Any) -> Mapping[str, Any]:
    """The data, if it is an object. Raises ValueError when it is binary and holds no JSON."""
    packed = text(one, "data_base64")
    return mapping(one, "data") if packed is None else mapping(orjson.loads(base64.b64decode(packed, validate=True)))


def _decoded(header: str | None) -> str | None:
    """What a header says: freed of double quotes, then percent-decoded once
    (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#3132-http-header-values)."""
    if header is None:
        return None
    if len(header) > 1 and header.startswith('"') and header.endswith('"'):
        header = re.sub(r"\\(.)", r"\1", header[1:-1])
    return unquote(header)
