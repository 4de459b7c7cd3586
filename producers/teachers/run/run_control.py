"""Whether a replay goes on, and whether there is money for the next attempt; for one event loop.

**An attempt waits for money while attempts under way may still free some**: what is reserved is far more
than what is mostly spent. Only when nothing is under way and the next attempt does not fit, the cap is
reached.
**A process that dies loses a part of the budget, not all of it**: what is under way then is unknown, at its
maximum.
**A replay that was stopped sends nothing new**; what is under way ends and lands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum

from tracelake.producers.teachers.pricing.budget import Budget, BudgetState

AT_RISK_PART = 4
"""One part in so many of the money that is neither spent nor unknown may be under way at a time."""


class StopReason(StrEnum):
    """Why a replay ended before all was asked."""

    BUDGET = "budget"
    OUT_OF_CREDIT = "out_of_credit"
    """The endpoint's account is empty."""
    PRICE_EXCEEDED = "price_exceeded"
    """An attempt cost more than its prices allow: they are wrong, and no reservation holds."""
    INTERRUPTED = "interrupted"


class Room:
    """The one place where tasks ask whether they may go on."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._changed, self._over = asyncio.Event(), asyncio.Event()
        self._on_stop: list[Callable[[], None]] = []
        self.stopped: StopReason | None = None
        self.stop_detail = ""

    async def hold(self, attempt_id: str, maximum_microusd: int) -> bool:
        """Whether the attempt may be made; False: the replay is over."""
        while self.stopped is None:
            state = self._budget.state()
            if self._bearable(state, maximum_microusd) and self._budget.hold(attempt_id, maximum_microusd):
                return True
            if not state.open:
                self.stop(StopReason.BUDGET, f"the next call may cost {maximum_microusd} micro-dollars")
                return False
            self._changed.clear()
            await self._changed.wait()
        return False

    def _bearable(self, state: BudgetState, maximum_microusd: int) -> bool:
        """Whether so much may be under way; one attempt always may."""
        at_risk = state.open + maximum_microusd
        return not state.open or not maximum_microusd or at_risk * AT_RISK_PART <= state.open + state.left

    def settle(self, attempt_id: str, cost_microusd: int | None) -> None:
        self._budget.settle(attempt_id, cost_microusd)
        self._changed.set()

    def state(self) -> BudgetState:
        return self._budget.state()

    def stop(self, reason: StopReason, detail: str = "") -> None:
        """The first reason stays."""
        if self.stopped is not None:
            return
        self.stopped, self.stop_detail = reason, detail
        self._over.set()
        self._changed.set()
        for stop in self._on_stop:
            stop()

    def now_s(self) -> float:
        """As a clock of waits: they end when the replay is stopped."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)

    def when_stopped(self, stop: Callable[[], None]) -> None:
        """Calls it at once if that has happened."""
        self._on_stop.append(stop)
        if self.stopped is not None:
            stop()
