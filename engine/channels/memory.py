"""The channel that keeps messages in memory: `karibu test` sends through it, and so may a test of yours.

Nothing leaves the house and nothing survives the process: it is for virtual clocks, never for customers.
"""

from __future__ import annotations

import threading
from typing import ClassVar, Self

from engine.channels import mime
from engine.channels.base import Accepted, ChannelOptions, Limits, Outgoing, Refused, Result, Surroundings
from engine.language.fields import CHANNELS
from engine.language.registry import channel


@channel("memory")
class Memory:
    """Keeps what it is given in `kept`, by message id and in order: a repeat overwrites itself. A mail is built as any
    other channel builds it, so that what could not be sent is refused here, too."""

    carries: ClassVar[frozenset[str]] = frozenset(CHANNELS)
    idempotent: ClassVar[bool] = True
    limits: ClassVar[Limits] = Limits()
    Options: ClassVar[type[ChannelOptions]] = ChannelOptions

    def __init__(self) -> None:
        self.kept: dict[str, Outgoing] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(cls, options: ChannelOptions, surroundings: Surroundings) -> Self:
        return cls()

    def send(self, message: Outgoing) -> Result:
        if message.channel == "email":
            try:
                mime.build(message)
            except ValueError as error:
                return Refused(f"content: {error}")
        with self._lock:
            self.kept[message.ref] = message
        return Accepted(provider_id=message.ref)

    def close(self) -> None:
        """What was kept stays readable."""
