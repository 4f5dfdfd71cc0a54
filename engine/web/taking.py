"""What a source said is taken: events into the journeys, the rest kept for a person to look at.

What was kept because nobody knew whose it is, and waits for one of these events, is taken right after it, before the
shop gets its answer. A crash between the two answers nothing, so the shop sends the event again, and what waits for it
is found then.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi.concurrency import run_in_threadpool

from engine.app import App
from engine.runtime import kept
from engine.runtime.kept import Kept
from engine.web import again, pages
from engine.web.intake import Intake
from engine.web.offering import Refused, Taken, away, offer
from engine.web.saying import Asked
from triggers.sources.base import Said, Source


async def take(
    intake: Intake,
    app: App,
    name: str,
    source: Source,
    said: Said,
    *,
    page: bool = False,
    asked: Asked | None = None,
) -> Taken | Refused:
    """Take the events and keep the rest, until both are durable. `page`: it came with a browser key. `asked`: the
    request, if what is kept of it is to be read again one day."""
    if page:
        name += pages.SOURCE
    offered = await offer(intake, app, name, source, said, page=page, asked=asked)
    if isinstance(offered, Refused):
        return offered
    taken, left = offered
    try:
        if left:
            await run_in_threadpool(_keep, app, name, left)
        # What can't be read again waits for nothing.
        late = [] if asked is None else await again.late(intake, app, name, said, left)
    except Exception as error:
        return away(name, error)
    return Refused.AWAY if any(one.became == "refused" for one in late) else taken


def _keep(app: App, name: str, left: Sequence[Kept]) -> None:
    with app.database.write() as connection:
        kept.keep(connection, name, left, app.clock.now())
