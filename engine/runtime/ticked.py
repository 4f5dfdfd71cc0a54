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

    def join(self, later: Ticked) -> None:
        """What the tick after this one did."""
        for journey, entered in later.entered.items():
            self.entered[journey] = self.entered.get(journey, 0) + entered
        self.failed, self.more = later.failed, later.more
