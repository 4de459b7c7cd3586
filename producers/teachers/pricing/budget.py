"""The money of one replay, in whole micro-dollars.

**Settled + open + unknown ≤ cap whenever an attempt is allowed**: the most that an attempt can cost is
reserved before it is sent, and one lock covers the comparison and the reservation.
**An unknown cost counts at its maximum** until it is known.
**The cap covers all runs of a replay**: a budget starts from what earlier runs spent.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

from tracelake.producers.teachers.pricing.prices import MICROUSD_PER_USD
from tracelake.schemas.errors import BadInputError


class BudgetState(NamedTuple):
    """Micro-dollars."""

    cap: int
    settled: int
    open: int
    """Reserved for this process's attempts in flight."""
    unknown: int
    """Maxima of attempts that ended, or died, without reporting their cost."""

    @property
    def committed(self) -> int:
        return self.settled + self.open + self.unknown

    @property
    def left(self) -> int:
        """Never negative."""
        return max(self.cap - self.committed, 0)


class Budget:
    """Safe to share between threads."""

    def __init__(
        self, cap_microusd: int, *, settled_microusd: int = 0, unknown: Mapping[str, int] | None = None
    ) -> None:
        """`unknown` maps attempts to their maxima."""
        self._lock = threading.Lock()
        self._cap, self._settled = cap_microusd, settled_microusd
        self._unknown = dict(unknown or {})
        self._open: dict[str, int] = {}
        # Totals are stored: every attempt reads them, and crashes may have left thousands of unknowns.
        self._open_total, self._unknown_total = 0, sum(self._unknown.values())

    def reserve(self, attempt_id: str, maximum_microusd: int) -> bool:
        """Whether the attempt is allowed; if so, its maximum is reserved. Only once per attempt."""
        with self._lock:
            if attempt_id in self._open or attempt_id in self._unknown:
                raise ValueError(f"attempt {attempt_id} has a reservation already")
            if maximum_microusd < 0 or maximum_microusd > self._cap - self._state().committed:
                return False
            self._open[attempt_id] = maximum_microusd
            self._open_total += maximum_microusd
            return True

    def settle(self, attempt_id: str, cost_microusd: int | None) -> None:
        """Replace the reservation by the cost; None: the cost stays unknown, at its maximum."""
        with self._lock:
            reserved = self._open.pop(attempt_id, None)
            if reserved is None:
                reserved = self._unknown.pop(attempt_id)
                self._unknown_total -= reserved
            else:
                self._open_total -= reserved
            if cost_microusd is None:
                self._unknown[attempt_id] = reserved
                self._unknown_total += reserved
            else:
                self._settled += cost_microusd

    def state(self) -> BudgetState:
        with self._lock:
            return self._state()

    def _state(self) -> BudgetState:
        return BudgetState(self._cap, self._settled, self._open_total, self._unknown_total)


def cap_microusd(dollars: str) -> int:
    """Micro-dollars of an amount as people write it, such as `5.00`, rounded down. Raises BadInputError."""
    try:
        amount = Decimal(dollars)
        if not amount.is_finite() or amount < 0 or amount > 10**9:
            raise ValueError
    except (ArithmeticError, ValueError) as error:
        raise BadInputError(
            "a budget is an amount of dollars", got=dollars, expected="a number such as 5.00"
        ) from error
    return int((amount * MICROUSD_PER_USD).to_integral_value(ROUND_FLOOR))
