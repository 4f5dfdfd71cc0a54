"""What a tick did."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from engine.cohort.program import Program

log = logging.getLogger("karibu.tick")


@dataclass
class Ticked:
    """Entries by journey, and journeys whose trigger failed (tried again at the next tick). `more`: somebody is still
    to be let in by the next tick."""

    entered: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    more: bool = False

    def add(self, program: Program, entered: int) -> None:
        if entered:
            self.entered[program.name] = self.entered.get(program.name, 0) + entered

    def fails(self, journey: str, error: Exception) -> None:
        """The class of the error only: its text may hold a customer's data."""
        log.error("journey %s could not let anybody in: %s", journey, type(error).__name__)
        self.failed[journey] = type(error).__name__

    def join(self, other: Ticked) -> None:
        """What was done besides."""
        for journey, entered in other.entered.items():
            self.entered[journey] = self.entered.get(journey, 0) + entered
        self.failed |= other.failed
        self.more = self.more or other.more

    def followed_by(self, later: Ticked) -> None:
        """What the tick after this one did."""
        self.failed, self.more = {}, False
        self.join(later)
