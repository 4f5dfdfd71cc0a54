"""From a request's events to their verdicts: whoever is told by several names is introduced before them.

An introduction is a transaction of its own, for merging must be alone and taking events in must not wait for it. So
that nobody is introduced by a request of which nothing is taken, there is room for its events first, and an event that
will be refused introduces nobody. What is left is a database that fails between the two (503): then the introduction
stands, which the same request, sent again, tells anyhow.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.concurrency import run_in_threadpool

from engine.runtime.identity import Who
from engine.web.intake import Intake, Request, Verdict


async def accept(
    intake: Intake, request: Request, whos: Mapping[int, Who], *, also_refused: bool = False
) -> list[Verdict]:
    """The verdicts on the events, in order, once they are durable. `whos`: by place. `also_refused`: an event that is
    put aside, as another one has its key, still says who its customer is. Raises Full, Reused."""
    if not whos:
        return await intake.submit(request)
    with intake.room(len(request.events)) as submit:
        await run_in_threadpool(_introduce, intake, request, whos, also_refused)
        verdicts = submit(request)
    return await verdicts


def _introduce(intake: Intake, request: Request, whos: Mapping[int, Who], also_refused: bool) -> None:
    runtime = intake.runtime
    if not runtime.strangers(list(whos.values())):
        return
    refused = set() if also_refused else intake.contradicts(request, whos)
    runtime.introduce([who for place, who in whos.items() if place not in refused])
