"""What the routes of the service need of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.app import App
from engine.web.intake import Intake


@dataclass(frozen=True)
class Site:
    """`app` is asked anew at each request: its content changes when journeys are published."""

    app: Callable[[], App]
    intake: Intake
    report: Callable[[], dict[str, Any]]
    healthy: Callable[[], bool]
