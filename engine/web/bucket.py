"""A token bucket: so many requests per second, and after a pause as many at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Bucket:
    """Holds up to `rate` tokens and gets `rate` new ones per second. Not for several threads at once.

    Seconds are those of a clock that is handed in and never goes back; `at` is when it was last looked at."""

    rate: int
    at: float
    tokens: float

    @classmethod
    def full(cls, rate: int, now: float) -> Bucket:
        return cls(rate, now, float(rate))

    def take(self, now: float) -> float:
        """Take one token and give 0.0; when there is none, the seconds until there will be, and nothing is taken."""
        self.tokens = min(float(self.rate), self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0.0
        return (1.0 - self.tokens) / self.rate
