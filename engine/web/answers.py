"""Answering JSON."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Response


def answer(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, "application/json")
