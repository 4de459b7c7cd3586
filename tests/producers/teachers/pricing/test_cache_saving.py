"""Goal: a saving is what a prompt without a cache would have cost more, and may be a loss.

Method: drawn usages under a price table.
"""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tests.producers.teachers.question_lake import teacher
from tracelake.producers.teachers.pricing.cache_saving import CacheSaving
from tracelake.producers.teachers.pricing.price_table import Prices
from tracelake.producers.teachers.pricing.prices import exact_cost_usd, prices_for
from tracelake.producers.teachers.pricing.usage import Usage
from tracelake.producers.teachers.spec.teacher_parts import PriceTable

COUNT = st.integers(0, 10**6)


def prices(**fields: float) -> Prices:
    table = PriceTable.model_validate({"input": 4, "output": 20, **fields})
    found = prices_for(teacher(price=table))
    assert found is not None
    return found


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    prompt = draw(COUNT)
    cached = draw(st.integers(0, prompt))
    return Usage(prompt, cached, draw(st.integers(0, prompt - cached)), draw(COUNT))


def _bill(rates: Prices, calls: list[Usage]) -> Decimal:
    return sum((exact_cost_usd(rates, call) for call in calls), Decimal(0))


@given(st.lists(usages(), max_size=5))
def test_savings_add_up_to_the_difference_of_two_bills(calls: list[Usage]) -> None:
    rates = prices(cached_input=0.4, cache_write=5)
    total = CacheSaving()
    for call in calls:
        total = total.with_all(CacheSaving().with_call(rates, call))
    plain = [call._replace(cached_token_count=0, cache_write_token_count=0) for call in calls]
    assert total.saved_usd == _bill(rates, plain) - _bill(rates, calls)
    assert total.cached_token_count == sum(call.cached_token_count for call in calls)


def test_writing_what_nobody_reads_is_a_loss() -> None:
    saving = CacheSaving().with_call(
        prices(cached_input=0.4, cache_write=5), Usage(1_000_000, 0, 1_000_000, 0)
    )
    assert saving.saved_usd == Decimal(-1)
