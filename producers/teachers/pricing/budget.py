"""The money of one replay, in whole micro-dollars.

**Settled + open + unknown ≤ cap, whenever an attempt is let through**: what an attempt can cost at most is
held before it is sent, and one lock makes the comparison and the holding one act.
**What nobody knows counts at its maximum** until somebody does.
**The cap is over all runs of a replay**: it starts from what its earlier runs left behind.
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
    """Held for attempts that this process has under way."""
    unknown: int
    """Maxima of attempts that ended, or died, without telling what they cost."""

    @property
    def committed(self) -> int:
        return self.settled + self.open + self.unknown

    @property
    def left(self) -> int:
        """Never negative."""
        return max(self.cap - self.committed, 0)


class Budget:
    """Threads may share it."""

    def __init__(
        self, cap_microusd: int, *, settled_microusd: int = 0, unknown: Mapping[str, int] | None = None
    ) -> None:
        """`unknown` are maxima by attempt."""
        self._lock = threading.Lock()
        self._cap, self._settled = cap_microusd, settled_microusd
        self._unknown = dict(unknown or {})
        self._open: dict[str, int] = {}
        # Kept beside them: a budget is asked at every attempt, and crashes may have left thousands.
        self._open_total, self._unknown_total = 0, sum(self._unknown.values())

    def hold(self, attempt_id: str, maximum_microusd: int) -> bool:
        """Whether the attempt may be made; its maximum is held then. Never twice for one attempt."""
        with self._lock:
            if attempt_id in self._open or attempt_id in self._unknown:
                raise ValueError(f"attempt {attempt_id} is held already")
            if maximum_microusd < 0 or self._committed() + maximum_microusd > self._cap:
                return False
            self._open[attempt_id] = maximum_microusd
            self._open_total += maximum_microusd
            return True

    def settle(self, attempt_id: str, cost_microusd: int | None) -> None:
        """Frees what was held, and books the cost; None: it stays unknown, at its maximum."""
        with self._lock:
            held = self._open.pop(attempt_id, None)
            if held is None:
                held = self._unknown.pop(attempt_id)
                self._unknown_total -= held
            else:
                self._open_total -= held
            if cost_microusd is None:
                self._unknown[attempt_id] = held
                self._unknown_total += held
            else:
                self._settled += cost_microusd

    def state(self) -> BudgetState:
        with self._lock:
            return BudgetState(self._cap, self._settled, self._open_total, self._unknown_total)

    def _committed(self) -> int:
        return self._settled + self._open_total + self._unknown_total


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
