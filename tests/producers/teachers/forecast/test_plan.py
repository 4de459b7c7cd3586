"""Goal: a plan predicts what the replay then uses and costs, and names the source of its figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.producers.teachers.priced_server import PricedServer
from tests.producers.teachers.question_lake import question_lake, teacher
from tracelake.lake import Lake
from tracelake.producers.teachers.asking.questions import select
from tracelake.producers.teachers.forecast.plan import ReplayPlan
from tracelake.producers.teachers.run.prepared import ReplayOptions
from tracelake.producers.teachers.run.replay import plan_replay, replay

PRICE = {"input": 3, "cached_input": 0.3, "output": 15}
BUDGET = 10_000_000


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return question_lake(str(tmp_path / "lake"), turn_count=10)


@pytest.fixture
def server() -> Iterator[PricedServer]:
    with PricedServer() as running:
        yield running


def paid(server: PricedServer, **fields: Any) -> Any:
    return teacher(server.base_url, **{"price": PRICE, "sampling": {"max_tokens": 60}, **fields})


def planned(lake: Lake, *specs: Any, traces: str = "all", **options: Any) -> ReplayPlan:
    return plan_replay(lake, traces, specs, ReplayOptions("mine", BUDGET, **options))


def bought(lake: Lake, *specs: Any, traces: str = "all") -> None:
    replay(lake, select(lake, traces), specs, ReplayOptions("mine", BUDGET))


def test_a_plan_sends_nothing_and_bounds_what_the_replay_then_costs(lake: Lake, server: PricedServer) -> None:
    plan = planned(lake, paid(server))
    assert server.counts().charged_microusd == 0
    assert (plan.trace_count, plan.question_count, plan.call_count) == (2, 20, 20)
    bought(lake, paid(server))
    charged = server.counts().charged_microusd / 10**6
    assert plan.cost_usd.low <= plan.cost_usd.expected <= plan.cost_usd.high <= plan.max_cost_usd
    assert plan.cost_usd.low <= charged <= plan.cost_usd.high


def test_known_answers_are_not_planned_again(lake: Lake, server: PricedServer) -> None:
    bought(lake, paid(server), traces="rollout_id = 'trace-0'")
    plan = planned(lake, paid(server))
    assert (plan.teachers[0].known_count, plan.call_count) == (10, 10)
    assert plan.settled_usd * 10**6 == pytest.approx(server.counts().charged_microusd)
    assert plan.budget_left_usd == pytest.approx(plan.budget_usd - plan.settled_usd)


def test_without_recorded_answers_the_plan_states_its_assumptions(lake: Lake, server: PricedServer) -> None:
    plan = planned(lake, paid(server), concurrency=4)
    [ours] = plan.teachers
    assert ours.basis.startswith("assumed")
    assert plan.wall_clock_s == 20 * 15 / 4
    assert ours.completion_tokens.expected == 20 * 20
    assert (ours.completion_tokens.low, ours.completion_tokens.high) == (20 * 10, 20 * 60)


def test_the_figures_come_from_recorded_answers(lake: Lake, server: PricedServer) -> None:
    bought(lake, paid(server), traces="rollout_id = 'trace-0'")
    answers = lake.scan("teacher_answered").collect() if lake.project() else None
    assert answers is not None
    [ours] = planned(lake, paid(server), concurrency=5).teachers
    assert ours.basis.startswith("10 recorded answers")
    mean = answers["completion_token_count"].mean()
    assert ours.completion_tokens.expected == pytest.approx(10 * mean)  # type: ignore[operator]
    seconds = answers["latency_ms"].sum() / 1000
    assert ours.wall_clock_s == pytest.approx(seconds / 5)


def test_a_rate_limit_sets_the_wall_clock_time(lake: Lake, server: PricedServer) -> None:
    plan = planned(lake, paid(server, limits={"requests_per_minute": 2}))
    assert plan.wall_clock_s == 600


def test_teachers_are_planned_in_parallel(lake: Lake, server: PricedServer) -> None:
    free = paid(server, name="free", price="free")
    plan = planned(lake, paid(server), free)
    assert [each.name for each in plan.teachers] == ["one", "free"]
    assert plan.call_count == 40
    assert plan.teachers[1].cost_usd.high == plan.teachers[1].max_cost_usd == 0
    assert plan.wall_clock_s == plan.teachers[0].wall_clock_s


def test_contexts_with_undefined_tools_are_noted(tmp_path: Path, server: PricedServer) -> None:
    lake = question_lake(str(tmp_path / "bare"), tools=False)
    assert "4 of 6 contexts use tools" in planned(lake, paid(server)).notes[0]
    assert planned(question_lake(str(tmp_path / "whole")), paid(server)).notes == ()


def test_a_tiered_plan_is_marked_as_an_upper_bound(lake: Lake, server: PricedServer) -> None:
    assert "the most calls" in planned(lake, paid(server), tiered=True).notes[0]


def test_unsent_contexts_are_counted_and_cost_nothing(lake: Lake, server: PricedServer) -> None:
    plan = planned(lake, paid(server, limits={"context_token_max": 61}))
    assert (plan.teachers[0].unsent_count, plan.call_count, plan.max_cost_usd) == (20, 0, 0)
