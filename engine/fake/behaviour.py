"""How the fake provider behaves: `behaviour.json` in its directory, read at each request."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

FILE = "behaviour.json"

MODES = {
    "accept": "takes it",
    "429": "too many requests; come again in 7 seconds",
    "429-date": "the same, with a date in Retry-After",
    "500": "answers 500 and takes nothing",
    "400": "finds the message wrong",
    "401": "finds the key wrong",
    "hang": "takes it and never answers",
    "accept-500": "takes it and answers 500",
    "accept-reset": "takes it and resets the connection",
    "reset": "resets the connection before it reads anything",
    "slow": "takes it and answers a byte at a time",
}


@dataclass(frozen=True)
class Behaviour:
    """`hook`: where SendGrid's events and incoming messages are posted (status callbacks name their own address).
    `lost`, `twice`, `late`: of so large a part of the webhooks; `late_s`: how late those are. `opens`, `clicks`: so
    large a part of the people open a mail, and of them click; `machines`: so many mails are opened by a machine, too.
    `pace`: seconds between two things that somebody does."""

    mode: str = "accept"
    hook: str | None = None
    lost: float = 0
    twice: float = 0
    late: float = 0
    late_s: float = 10
    opens: float = 0.6
    clicks: float = 0.5
    machines: float = 0.2
    pace: float = 1
    sendgrid_key: str = "SG.fake"
    twilio_sid: str = "ACfake"
    twilio_token: str = "fake"
    telegram_token: str = "1:fake"
    telegram_secret: str = "fake"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f'there is no mode "{self.mode}": {", ".join(MODES)}')
        for name in ("lost", "twice", "late", "opens", "clicks", "machines"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a part of 1")
        if self.hook is not None and not local(self.hook):
            raise ValueError("the fake provider calls back to this machine only")

    @classmethod
    def read(cls, directory: Path) -> Self:
        """How it behaves now; as it was made, where nobody has said otherwise."""
        try:
            return cls(**json.loads((directory / FILE).read_text()))
        except FileNotFoundError:
            return cls()

    def write(self, directory: Path) -> None:
        draft = directory / f"{FILE}.{os.getpid()}"
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(directory / FILE)  # whoever reads it meanwhile reads all of one


def change(directory: Path, **given: Any) -> Behaviour:
    """Have it behave otherwise from now on."""
    new = replace(Behaviour.read(directory), **given)
    new.write(directory)
    return new


def local(url: str) -> bool:
    """Whether an address is one of this machine."""
    parts = urlsplit(url)
    try:
        return parts.scheme == "http" and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"
