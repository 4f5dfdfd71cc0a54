"""`coupon`: reserves a code of a pool for the customer."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from engine.cohort.cohort import Cohort
from engine.cohort.coupons import BUSY, GIVEN, NONE_LEFT, USED_UP, reserve
from engine.cohort.gate import NO_COUPON
from engine.cohort.scope import Scope
from engine.cohort.step import DONE, Step
from engine.language.fields import PoolName
from engine.language.graph import Node
from engine.language.registry import step

AGAIN = timedelta(days=1)
"""So often somebody who waits for a code looks whether there is one; loading codes wakes them at once."""
SOON = timedelta(seconds=1)
"""When somebody comes back for whom others had locked the last codes."""


@step("coupon")
class Coupon(Step):
    """Reserves one code of a pool for the customer: coupon.code from there on. They get the same one when they ask
    again in the scope: this step, this entry, or ever."""

    coupon: PoolName = Field(description="A pool of project.yaml.")
    scope: Literal["step", "entry", "customer"] = Field("entry", description="Where it is their one code of the pool.")

    def move(self, node: Node, scope: Scope, cohort: Cohort) -> None:
        pool, zone = scope.program.project.coupons[self.coupon], scope.program.project.brand.timezone
        reserve(cohort, DONE, self.coupon, pool, self.scope, zone, scope.program.tells_codes, scope.chance)
        cohort.move({GIVEN: node.next})
        none = [NONE_LEFT, USED_UP]
        if pool.on_empty == "wait":
            cohort.sleep_until(NONE_LEFT, cohort.now + AGAIN)
            none.remove(NONE_LEFT)
        cohort.sleep_until(BUSY, cohort.now + SOON)
        if pool.on_empty == "exit":
            for verdict in none:
                cohort.finish(verdict, NO_COUPON)
        else:
            cohort.move(dict.fromkeys(none, node.next))
