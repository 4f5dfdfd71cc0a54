"""What the fake provider took: a line of JSON a request, appended and synced before it answers."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

FILE = "ledger.jsonl"


class Ledger:
    """Numbers go on where an earlier process ended."""

    def __init__(self, directory: Path) -> None:
        self._lock = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True)
        self._file = (directory / FILE).open("a+b")
        self._file.seek(0)
        self._taken = sum(1 for _ in self._file)

    def take(self, provider: str, body: Any) -> int:
        """Keep what was taken; its number, from 1."""
        with self._lock:
            number = self._taken + 1
            line = {"number": number, "provider": provider, "at": time.time(), "body": body}
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._taken = number
        return number

    def close(self) -> None:
        self._file.close()


def taken(directory: Path, provider: str) -> list[Any]:
    """The requests that were taken for a provider, in order."""
    return [body for _, body in timed(directory, provider)]


def timed(directory: Path, provider: str) -> list[tuple[float, Any]]:
    """The same, each with when it was taken: Unix seconds, by the provider's own clock."""
    lines = (json.loads(line) for line in (directory / FILE).read_bytes().splitlines())
    return [(line["at"], line["body"]) for line in lines if line["provider"] == provider]
