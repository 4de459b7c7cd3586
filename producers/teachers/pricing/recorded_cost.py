"""Recorded costs of turns compared with their cost by a price list.

Flow: usage of `turn_completed` events → prices of each turn's model → one row per model.

**Recordings are never corrected.** A list that agrees with them to the micro-dollar can be trusted; a
difference is the finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from tracelake.producers.teachers.pricing.prices import Prices, exact_cost_usd
from tracelake.producers.teachers.pricing.usage import Usage, read_cost

if TYPE_CHECKING:
    from tracelake.lake import Lake

COST_COLUMNS = (
    "model_requested",
    "prompt_token_count",
    "cached_token_count",
    "completion_token_count",
    "cost_usd",
)
# Half a micro-dollar: larger than any rounding of a binary fraction.
EQUAL_WITHIN_USD = Decimal("0.0000005")


class ModelCost(NamedTuple):
    """One model's turns; each is either equal, different, unpriced or incomplete."""

    model: str
    turn_count: int
    equal_count: int
    """Equal to the recorded cost, to the micro-dollar."""
    different_count: int
    unpriced_count: int
    """The list has no price for the model."""
    incomplete_count: int
    """Without recorded usage or cost."""
    recorded_usd: Decimal
    """Sum over the compared turns."""
    recomputed_usd: Decimal
    """Sum over the same turns."""
    difference_max_usd: Decimal
    """Largest absolute difference of one turn."""


def recorded_costs(lake: Lake, price_of: Callable[[str], Prices | None]) -> list[ModelCost]:
    """One row per requested model, sorted by name."""
    turns = lake.scan("turn_completed").select(*COST_COLUMNS).collect()
    return compare_costs(turns.iter_rows(), price_of)


def compare_costs(
    turns: Iterable[Sequence[object]], price_of: Callable[[str], Prices | None]
) -> list[ModelCost]:
    """`recorded_costs` for rows of `COST_COLUMNS`."""
    tallies: dict[str, _Tally] = {}
    for model, *recorded in turns:
        name = str(model) if model is not None else ""
        if name not in tallies:
            tallies[name] = _Tally(price_of(name) if name else None)
        tallies[name].add(*recorded)
    return [tallies[name].row(name) for name in sorted(tallies)]


class _Tally:
    def __init__(self, prices: Prices | None) -> None:
        self._prices = prices
        self._equal = self._different = self._unpriced = self._incomplete = 0
        self._recorded = self._recomputed = self._difference_max = Decimal(0)

    def add(self, prompt: object, cached: object, completion: object, cost: object) -> None:
        recorded = read_cost(cost)
        if self._prices is None:
            self._unpriced += 1
        elif recorded is None or not isinstance(prompt, int) or not isinstance(completion, int):
            self._incomplete += 1
        else:
            read = cached if isinstance(cached, int) else 0
            self._compare(exact_cost_usd(self._prices, Usage(prompt, read, 0, completion)), recorded)

    def _compare(self, recomputed: Decimal, recorded: Decimal) -> None:
        difference = abs(recomputed - recorded)
        equal = difference < EQUAL_WITHIN_USD
        self._equal += equal
        self._different += not equal
        self._recorded += recorded
        self._recomputed += recomputed
        self._difference_max = max(self._difference_max, difference)

    def row(self, model: str) -> ModelCost:
        counts = (self._equal, self._different, self._unpriced, self._incomplete)
        return ModelCost(model, sum(counts), *counts, self._recorded, self._recomputed, self._difference_max)
