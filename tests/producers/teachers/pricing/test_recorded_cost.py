"""Goal: comparing shows whether a price list agrees with recorded costs.

Method: every turn of the recorded agents is priced anew; small tables by hand show each way to differ.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tracelake.lake import Lake
from tracelake.producers.teachers.pricing.price_lists import litellm_prices
from tracelake.producers.teachers.pricing.prices import Prices
from tracelake.producers.teachers.pricing.recorded_cost import ModelCost, compare_costs, recorded_costs

PRICES = Prices(Decimal("1e-6"), Decimal("1e-7"), Decimal("1e-6"), Decimal("2e-6"))


def compared(*turns: tuple[object, ...]) -> dict[str, ModelCost]:
    rows = compare_costs(turns, lambda model: PRICES if model == "known" else None)
    return {row.model: row for row in rows}


@pytest.mark.realdata
def test_every_recorded_cost_equals_the_cost_by_litellms_list(
    recorded_lake: Lake, litellm_list: Path
) -> None:
    (row,) = recorded_costs(recorded_lake, lambda model: litellm_prices(litellm_list, model))
    assert row.model == "deepseek/deepseek-chat"
    assert (row.turn_count, row.equal_count) == (10_551, 10_551)
    assert (row.different_count, row.unpriced_count, row.incomplete_count) == (0, 0, 0)
    assert row.difference_max_usd < Decimal("1e-15")
    assert row.recomputed_usd == Decimal("8.573449948")
    assert round(row.recorded_usd, 6) == Decimal("8.573450")


def test_a_cached_token_is_paid_at_the_caches_price() -> None:
    # 60 plain tokens at 1, 40 cached ones at a tenth, 5 of completion at 2 micro-dollars.
    row = compared(("known", 100, 40, 5, 0.000074))["known"]
    assert (row.equal_count, row.recomputed_usd) == (1, Decimal("0.000074"))


def test_a_micro_dollar_is_a_difference_and_the_last_digit_of_a_float_is_not() -> None:
    row = compared(("known", 100, 0, 0, 0.000101), ("known", 100, 0, 0, 0.00010000000000000002))["known"]
    assert (row.different_count, row.equal_count) == (1, 1)
    assert row.difference_max_usd == Decimal("0.000001")


def test_a_model_without_a_price_is_counted_and_not_compared() -> None:
    row = compared(("other", 100, 0, 0, 0.5), (None, 100, 0, 0, 0.5))
    assert row["other"].unpriced_count == row[""].unpriced_count == 1
    assert row["other"].recorded_usd == 0


def test_turns_without_usage_or_cost_are_incomplete() -> None:
    row = compared(
        ("known", None, 0, 0, 0.5),
        ("known", 1, 0, None, 0.5),
        ("known", 1, 0, 0, None),
        ("known", 1, 0, 0, float("nan")),
        ("known", 1, None, 0, 0.000001),
    )["known"]
    assert (row.incomplete_count, row.equal_count, row.turn_count) == (4, 1, 5)
