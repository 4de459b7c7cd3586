"""Whether a replay goes on, and whether there is money for the next attempt; for one event loop.

**An attempt waits for money while attempts in flight may still release some**: a reservation is far more
than most calls cost. The cap is reached only when nothing is in flight and the next attempt does not fit.
**A process that dies loses a part of the budget, not all of it**: what it had in flight counts at its
maximum, and at most a quarter of the money may be in flight.
**A stopped replay sends nothing new**; attempts in flight end and land.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum

from tracelake.producers.teachers.pricing.budget import Budget, BudgetState

AT_RISK_PART = 4
"""One part in so many of the money that is neither spent nor unknown may be in flight at a time."""


class StopReason(StrEnum):
    """Why a replay ended before everything was asked."""

    BUDGET = "budget"
    OUT_OF_CREDIT = "out_of_credit"
    """The endpoint's account is empty."""
    PRICE_EXCEEDED = "price_exceeded"
    """An attempt cost more than its prices allow: they are wrong, and no reservation is safe."""
    INTERRUPTED = "interrupted"


class RunControl:
    """Every task of a run asks here whether it may go on."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._changed, self._over = asyncio.Event(), asyncio.Event()
        self._on_stop: list[Callable[[], None]] = []
        self.stopped: StopReason | None = None
        self.stop_detail = ""

    async def reserve(self, attempt_id: str, maximum_microusd: int) -> bool:
        """Wait until the attempt fits the budget, and reserve its maximum. False if the run was stopped."""
        while self.stopped is None:
            state = self._budget.state()
            at_risk = state.open + maximum_microusd
            # One attempt is always bearable, and so is a free one.
            is_bearable = (
                not state.open or not maximum_microusd or at_risk * AT_RISK_PART <= state.open + state.left
            )
            if is_bearable and self._budget.reserve(attempt_id, maximum_microusd):
                return True
            if not state.open:
                self.stop(StopReason.BUDGET, f"the next call may cost {maximum_microusd} micro-dollars")
                return False
            self._changed.clear()
            await self._changed.wait()
        return False

    def settle(self, attempt_id: str, cost_microusd: int | None) -> None:
        """Replace a reservation by the cost; null: unknown."""
        self._budget.settle(attempt_id, cost_microusd)
        self._changed.set()

    def budget_state(self) -> BudgetState:
        return self._budget.state()

    def stop(self, reason: StopReason, detail: str = "") -> None:
        """The first reason stays."""
        if self.stopped is not None:
            return
        self.stopped, self.stop_detail = reason, detail
        self._over.set()
        self._changed.set()
        for callback in self._on_stop:
            callback()

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Call it when the run is stopped; at once if it is."""
        self._on_stop.append(callback)
        if self.stopped is not None:
            callback()

    async def sleep(self, seconds: float) -> None:
        """Ends early when the run is stopped."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
