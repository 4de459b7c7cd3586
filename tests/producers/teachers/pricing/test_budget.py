"""Goal: no order of events commits more than the cap, and amounts are exact to the last micro-dollar."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.producers.teachers.pricing.budget import Budget, cap_microusd
from tracelake.schemas.errors import BadInputError

ACTIONS = st.lists(
    st.tuples(st.sampled_from(["reserve", "settle", "unknown"]), st.integers(0, 9), st.integers(0, 60)),
    max_size=60,
)


@given(st.integers(0, 200), st.integers(0, 100), st.integers(0, 100), ACTIONS)
def test_what_is_committed_never_exceeds_the_cap(
    cap: int, settled: int, unknown: int, actions: list[tuple[str, int, int]]
) -> None:
    budget = Budget(cap, settled_microusd=settled, unknown={"old": unknown})
    start = settled + unknown
    reserved: dict[str, int] = {}
    closed: set[str] = set()
    for action, number, amount in actions:
        name = str(number)
        if action == "reserve" and name not in reserved and name not in closed:
            before = budget.state().committed
            if budget.reserve(name, amount):
                reserved[name] = amount
                assert before + amount <= cap
            else:
                assert before + amount > cap
        elif action != "reserve" and name in reserved:
            cost = None if action == "unknown" else min(amount, reserved[name])
            del reserved[name]
            closed.add(name)
            budget.settle(name, cost)
        state = budget.state()
        assert state.committed <= max(cap, start)
        assert state.open == sum(reserved.values())
        assert state.left == max(cap - state.committed, 0)


def test_threads_that_race_for_the_last_dollar_do_not_both_get_it() -> None:
    budget = Budget(100)
    with ThreadPoolExecutor(8) as pool:
        let_through = list(pool.map(lambda number: budget.reserve(str(number), 7), range(200)))
    assert sum(let_through) == 100 // 7
    assert budget.state().committed == 98


def test_an_attempt_is_reserved_only_once() -> None:
    budget = Budget(10)
    assert budget.reserve("a", 1)
    with pytest.raises(ValueError, match="has a reservation already"):
        budget.reserve("a", 1)


def test_unknown_costs_count_at_their_maximum_until_they_are_reconciled() -> None:
    budget = Budget(100, settled_microusd=10, unknown={"dead": 60})
    assert not budget.reserve("a", 31)
    budget.settle("dead", 5)
    assert budget.state() == (100, 15, 0, 0)
    assert budget.reserve("a", 85)
    budget.settle("a", None)
    assert budget.state() == (100, 15, 0, 85)


def test_free_calls_are_allowed_with_an_empty_budget() -> None:
    budget = Budget(0)
    assert budget.reserve("a", 0)
    assert not budget.reserve("b", 1)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("5.00", 5_000_000), ("0", 0), ("0.0000019", 1), ("1e2", 100_000_000), ("0.1", 100_000)],
)
def test_a_budget_is_read_exactly_and_rounded_down(text: str, amount: int) -> None:
    assert cap_microusd(text) == amount


@pytest.mark.parametrize("text", ["", "five", "-1", "NaN", "Infinity", "1e99", "5,00", "$5"])
def test_an_invalid_amount_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="dollars"):
        cap_microusd(text)
