"""Goal: projected dollars are recorded tokens at registered prices, with no cache and with a perfect one.

Method: sums by hand, in micro-dollars.
"""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest

from tests.assets.folds.replay_cost.replay_frames import calls, replay, spec
from tracelake.assets.folds.replay_cost.cost_verdict import cost_verdict
from tracelake.assets.verdicts.projected_cost import PROJECTED_COLUMNS, project_cost
from tracelake.schemas.experiments.cost_experiment import ClaimedTeacher, CostRule

RULE = CostRule(resample_count=100)


def teacher(name: str = "opus", cache_write: str | None = None) -> ClaimedTeacher:
    return ClaimedTeacher(
        teacher=name,
        input=Decimal(10),
        cached_input=Decimal(1),
        cache_write=None if cache_write is None else Decimal(cache_write),
        output=Decimal(100),
    )


def turns(*rows: tuple[str, int, int | None, int | None, int | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=list(PROJECTED_COLUMNS), orient="row")


TWO_TURNS = (("r", 0, None, 1000, 10), ("r", 1, 0, 1500, 20))


@pytest.mark.parametrize(("cache_write", "cached_usd"), [(None, 0.019), ("20", 0.034)])
def test_the_turn_before_is_read_from_the_cache_and_the_rest_is_written(
    cache_write: str | None, cached_usd: float
) -> None:
    found = project_cost(turns(*TWO_TURNS), (teacher(cache_write=cache_write),), RULE)
    assert found is not None
    # 2,500 prompt tokens at 10 and 30 of completion at 100 micro-dollars.
    assert found.total.uncached.mean == pytest.approx(0.028)
    # 1,000 of them are read at 1; 1,500 are written.
    assert found.total.cached.mean == pytest.approx(cached_usd)


def test_a_branch_shares_the_prompt_of_its_parent_only() -> None:
    rows = (*TWO_TURNS, ("r", 2, None, 700, 0), ("r", 3, 0, 900, 0))
    found = project_cost(turns(*rows), (teacher(),), RULE)
    assert found is not None
    # Turn 2 starts anew; turn 3 cannot share more than it has.
    assert found.total.cached.mean == pytest.approx(0.019 + 0.007 + 0.0009)


def test_teachers_add_up_and_traces_do_not() -> None:
    rows = (*TWO_TURNS, ("s", 0, None, 1000, 0))
    found = project_cost(turns(*rows), (teacher("opus"), teacher("gpt")), RULE)
    assert found is not None
    assert (found.trace_count, found.turn_count) == (2, 3)
    assert [each.uncached.mean for each in found.teachers] == [pytest.approx(0.019)] * 2
    assert found.total.uncached.mean == pytest.approx(0.038)


def test_traces_without_token_counts_are_left_out() -> None:
    silent = ("s", 0, None, None, 5)
    found = project_cost(turns(*TWO_TURNS, silent), (teacher(),), RULE)
    assert found is not None
    assert found.trace_count == 1
    assert project_cost(turns(silent), (teacher(),), RULE) is None


def test_projected_dollars_decide_nothing() -> None:
    projected = project_cost(turns(*TWO_TURNS), (teacher(),), RULE)
    expensive = cost_verdict(replay(calls(usd=5.0)), spec(), projected=projected)
    assert expensive.outcome == "INVALIDATED"
    rehearsal = cost_verdict(replay(calls(teachers=["tiny"])), spec(), projected=projected)
    assert rehearsal.outcome == "UNDERPOWERED"
    assert rehearsal.reasons[-1].startswith("Projected, not measured")
