"""Goal: every answer is bought once, within the budget, whatever the endpoint does; the rest is reported.

Method: a real endpoint on this machine that charges, counts by itself, and fails on purpose.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web

from tests.producers.teachers.fault_scenarios import Exchange
from tests.producers.teachers.fault_schedules import asked_under_faults
from tests.producers.teachers.fault_server import FaultServer
from tests.producers.teachers.priced_server import PricedServer
from tests.producers.teachers.question_lake import question_lake, teacher
from tracelake.lake import Lake
from tracelake.producers.calling.retry import RetryPolicy
from tracelake.producers.teachers.asking.order import CacheOrder
from tracelake.producers.teachers.asking.questions import select
from tracelake.producers.teachers.pricing.budget import Budget
from tracelake.producers.teachers.run.journal import Journal
from tracelake.producers.teachers.run.prepared import ReplayOptions
from tracelake.producers.teachers.run.replay import replay
from tracelake.producers.teachers.run.replay_lock import replay_lock
from tracelake.producers.teachers.run.replay_report import Progress, ReplayReport
from tracelake.producers.teachers.run.run_control import RunControl, StopReason
from tracelake.schemas.errors import BadInputError, ReplayRunningError
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.teacher_events import TeacherCallReserved

PRICE = {"input": 3, "output": 15}
SAMPLING = {"max_tokens": 60}
PLENTY = 10_000_000
SOON = RetryPolicy(wait_first_s=0.001)
"""Short waits, for tests."""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two traces of three turns: six questions."""
    return question_lake(str(tmp_path / "lake"))


@pytest.fixture
def server() -> Iterator[PricedServer]:
    with PricedServer() as running:
        yield running


def run(lake: Lake, server: PricedServer, *, budget: int = PLENTY, **options: Any) -> ReplayReport:
    specs = options.pop("specs", None) or [paid(server)]
    questions = select(lake, options.pop("traces", "all"))
    asked = ReplayOptions(options.pop("replay_id", "mine"), budget, policy=SOON, **options)
    return replay(lake, questions, specs, asked)


def paid(server: PricedServer, name: str = "one", **fields: Any) -> Any:
    return teacher(server.base_url, name=name, **{"price": PRICE, "sampling": SAMPLING, **fields})


def rows(lake: Lake, kind: str) -> pl.DataFrame:
    lake.project()
    return lake.scan(kind).collect()


def test_every_answer_lands_with_its_reservation_its_id_and_its_cost(
    lake: Lake, server: PricedServer
) -> None:
    report = run(lake, server)
    assert (report.answered_count, report.left_count, report.stopped) == (6, 0, None)
    answers, reserved = rows(lake, "teacher_answered"), rows(lake, "teacher_call_reserved")
    settled, started = rows(lake, "teacher_call_settled"), rows(lake, "teacher_call_started")
    assert (answers.height, reserved.height, settled.height, started.height) == (6, 6, 6, 6)
    attempts = set(answers["attempt_id"])
    assert attempts == set(reserved["attempt_id"]) == set(settled["attempt_id"]) == set(started["attempt_id"])
    assert settled["cost_microusd"].sum() == server.counts().charged_microusd
    assert set(settled["cost_source"]) == {"provider"}
    assert round(report.settled_usd * 10**6) == server.counts().charged_microusd
    assert set(started["response_id"]) == set(answers["response_id"])
    assert (reserved["max_cost_microusd"].min() or 0) > (settled["cost_microusd"].max() or 0)
    assert set(reserved["endpoint"]) == {"http://127.0.0.1/v1"}


def test_a_second_run_sends_nothing(lake: Lake, server: PricedServer) -> None:
    run(lake, server)
    before = server.counts()
    again = run(lake, server, replay_id="another")
    assert (again.known_count, again.answered_count) == (6, 0)
    assert server.counts() == before


def test_the_saving_of_a_cache_is_measured_and_reported(tmp_path: Path) -> None:
    lake = question_lake(str(tmp_path / "long"), turn_count=8)
    price = PRICE | {"cached_input": 1}
    with PricedServer(caches_prompts=True) as server:
        specs = [paid(server, price=price)]
        [cached] = run(lake, server, specs=specs, cache_order="strict").teachers
    with PricedServer() as server:
        other = question_lake(str(tmp_path / "other"), turn_count=8)
        [plain] = run(other, server, specs=[paid(server, price=price)]).teachers
    assert cached.prompt_token_count == plain.prompt_token_count
    assert 0.5 < cached.cached_token_count / cached.prompt_token_count < 1
    assert plain.cached_token_count == plain.cache_saved_usd == 0
    assert cached.cache_saved_usd == pytest.approx(plain.settled_usd - cached.settled_usd)


def test_samples_are_bought_one_by_one(lake: Lake, server: PricedServer) -> None:
    spec = paid(server, sampling=SAMPLING | {"sample_count": 3})
    assert run(lake, server, specs=[spec]).answered_count == 18
    assert set(rows(lake, "teacher_answered")["sample_index"]) == {0, 1, 2}
    fewer = paid(server, sampling=SAMPLING | {"sample_count": 2})
    assert run(lake, server, specs=[fewer]).known_count == 12


def test_the_cap_stops_before_it_is_exceeded_and_the_replay_continues_from_there(
    tmp_path: Path, server: PricedServer
) -> None:
    lake, cap = question_lake(str(tmp_path / "long"), turn_count=8), 9_000
    report = run(lake, server, budget=cap)
    charged = server.counts().charged_microusd
    assert report.stopped is StopReason.BUDGET
    assert 0 < charged <= cap
    assert 0 < report.answered_count < 16
    assert report.left_count == 16 - report.answered_count
    assert 0 < report.left_expected_usd < report.left_max_usd
    again = run(lake, server, budget=cap)
    assert (again.stopped, again.answered_count) == (StopReason.BUDGET, 0)
    rest = run(lake, server, budget=PLENTY)
    assert (rest.left_count, rest.known_count) == (0, report.answered_count)
    assert set(server.counts().asked.values()) == {1}


def test_a_budget_belongs_to_its_replay(lake: Lake, server: PricedServer) -> None:
    run(lake, server, traces="rollout_id = 'trace-0'")
    spent = rows(lake, "teacher_call_settled")["cost_microusd"].sum()
    other = run(lake, server, replay_id="other", budget=1)
    assert other.stopped is StopReason.BUDGET
    assert (other.settled_usd, spent > 1) == (0, True)


@pytest.mark.parametrize("seed", range(10))
def test_no_schedule_of_faults_overshoots_or_buys_an_answer_twice(tmp_path: Path, seed: int) -> None:
    scheduled = asked_under_faults(tmp_path, seed)
    assert scheduled.problems == []
    assert scheduled.overshoot_microusd == 0
    assert scheduled.failure_count > 0


def test_a_replay_that_is_stopped_does_not_wait_to_ask_again(lake: Lake, server: PricedServer) -> None:
    patient = RetryPolicy(wait_first_s=3600.0, wait_max_s=3600.0)
    waiting = paid(server, name="waiting").model_copy(update={"base_url": "http://127.0.0.1:9/v1"})
    poor = paid(server, name="poor", price={"input": 0.000001, "output": 0.000001})
    options = ReplayOptions("mine", PLENTY, policy=patient)
    report = replay(lake, select(lake, "all"), [waiting, poor], options)
    assert report.stopped is StopReason.PRICE_EXCEEDED
    assert {each.name: each.left_count > 0 for each in report.teachers} == {"waiting": True, "poor": False}


def test_an_error_of_the_watcher_is_raised_and_the_next_run_continues(
    lake: Lake, server: PricedServer
) -> None:
    def fails(_: Progress) -> None:
        raise BadInputError("the watcher fell asleep")

    with pytest.raises(BadInputError, match="fell asleep"):
        replay(lake, select(lake, "all"), [paid(server)], ReplayOptions("mine", PLENTY), fails)
    report = run(lake, server)
    assert report.left_count == 0
    assert report.known_count > 0
    assert server.counts().charged_microusd <= round((report.settled_usd + report.unknown_usd) * 10**6)


def test_a_lake_that_was_replayed_is_sound(lake: Lake) -> None:
    with PricedServer(faults=("reset", "rate_limit"), fault_rate=0.3, seed=1) as server:
        run(lake, server)
    assert lake.verify(deep=True).ok
    assert not lake.ledger().problems


def test_a_cost_that_is_never_reported_stays_unknown_at_its_maximum(lake: Lake) -> None:
    with PricedServer(faults=("reset",), fault_rate=1.0) as server:
        report = run(lake, server, budget=20_000, concurrency=1)
        assert server.counts().charged_microusd <= 20_000
    assert report.stopped is StopReason.BUDGET
    assert report.settled_usd == 0
    assert server.counts().charged_microusd / 10**6 < report.unknown_usd <= 0.02
    failed = rows(lake, "teacher_failed")
    assert set(failed["failure"]) == {"connection"}
    assert failed["attempt_id"].n_unique() == failed.height


def test_a_router_is_asked_for_the_cost_of_a_torn_call(lake: Lake) -> None:
    with PricedServer(faults=("cut_stream",), fault_rate=0.5, seed=3) as server:
        report = run(lake, server, specs=[paid(server, routing={"enabled": True})])
        charged = server.counts().charged_microusd
    assert report.reconciled_count > 0
    assert report.unknown_usd == 0
    assert round(report.settled_usd * 10**6) == charged


def test_an_empty_account_stops_the_run_and_topping_up_goes_on(lake: Lake) -> None:
    with PricedServer(credit_microusd=1200) as server:
        report = run(lake, server, concurrency=1)
        assert report.stopped is StopReason.OUT_OF_CREDIT
        assert 0 < report.answered_count < 6
        assert report.left_count == 6 - report.answered_count
    with PricedServer() as server:
        spec = paid(server).model_copy(update={"base_url": server.base_url})
        assert run(lake, server, specs=[spec]).left_count == 0


def test_a_provider_that_charges_more_than_its_price_allows_stops_the_run(
    lake: Lake, server: PricedServer
) -> None:
    cheap = paid(server, price={"input": 0.000001, "output": 0.000001})
    report = run(lake, server, specs=[cheap], concurrency=1)
    assert report.stopped is StopReason.PRICE_EXCEEDED
    assert report.answered_count == 1
    assert "correct its price" in report.stop_detail


def test_attempts_that_are_reserved_when_the_run_stops_are_not_sent_and_not_billed(
    lake: Lake, server: PricedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run stops while four reservations become durable."""
    controls: list[RunControl] = []
    record, create = Journal.record, RunControl.__init__

    def remember(control: RunControl, budget: Budget) -> None:
        create(control, budget)
        controls.append(control)

    async def stop_after(journal: Journal, events: Sequence[Event]) -> None:
        await record(journal, events)
        if any(isinstance(event, TeacherCallReserved) for event in events):
            controls[0].stop(StopReason.INTERRUPTED)

    monkeypatch.setattr(RunControl, "__init__", remember)
    monkeypatch.setattr(Journal, "record", stop_after)
    report = run(lake, server, concurrency=4)
    assert server.counts().asked.total() == 0
    assert (report.left_count, report.unknown_usd, report.settled_usd) == (6, 0, 0)
    reserved, settled = rows(lake, "teacher_call_reserved"), rows(lake, "teacher_call_settled")
    assert reserved.height > 1
    assert set(reserved["attempt_id"]) == set(settled["attempt_id"])
    assert set(settled["cost_source"]) == {"unbilled"}


def test_nothing_is_sent_after_a_charge_above_its_price(lake: Lake) -> None:
    with PricedServer(delay_s=0.2) as server:
        cheap = paid(server, price={"input": 0.000001, "output": 0.000001})
        report = run(lake, server, specs=[cheap], concurrency=1)
        assert sum(server.counts().asked.values()) == 1
    assert report.stopped is StopReason.PRICE_EXCEEDED
    assert (report.left_count, report.unknown_usd) == (5, 0)
    reserved, settled = rows(lake, "teacher_call_reserved"), rows(lake, "teacher_call_settled")
    assert set(reserved["attempt_id"]) == set(settled["attempt_id"])
    assert settled.filter(pl.col("cost_source") != "unbilled").height == 1


def test_a_job_that_waits_to_be_asked_again_holds_no_slot(lake: Lake) -> None:
    async def refuse_once(exchange: Exchange) -> web.StreamResponse:
        return exchange.error(429, "slow down", Retry_After="0.5")

    with FaultServer() as server:
        server.play(refuse_once)
        spec = teacher(server.base_url, price=PRICE, sampling=SAMPLING)
        report = replay(lake, select(lake, "all"), [spec], ReplayOptions("mine", PLENTY, concurrency=1))
        sent = [each.body["messages"] for each in server.served]
    assert (report.answered_count, len(sent)) == (6, 7)
    assert sent[-1] == sent[0]
    assert server.in_flight_max == 1


def test_a_teacher_that_the_endpoint_does_not_know_stops_alone(lake: Lake, server: PricedServer) -> None:
    lost = paid(server).model_copy(update={"name": "lost", "base_url": server.base_url + "/nowhere"})
    report = run(lake, server, specs=[paid(server), lost])
    assert {each.name: each.stopped for each in report.teachers} == {"one": None, "lost": "not_found"}
    assert (report.answered_count, report.left_count) == (6, 6)


def test_contexts_over_the_window_have_one_failure_and_cost_nothing(lake: Lake, server: PricedServer) -> None:
    small = paid(server, limits={"context_token_max": 61})
    for unsent, refused in ((6, 0), (0, 6)):
        report = run(lake, server, specs=[small])
        assert (report.unsent_count, report.refused_count, report.answered_count) == (unsent, refused, 0)
    assert server.counts().charged_microusd == 0
    assert set(rows(lake, "teacher_failed")["failure"]) == {"context_too_long"}
    assert run(lake, server, specs=[paid(server)], retry_failed=True).answered_count == 6


def test_a_shortened_context_says_so_in_its_answer(tmp_path: Path, server: PricedServer) -> None:
    lake = question_lake(str(tmp_path / "long"), trace_count=1, turn_count=4, output="word " * 500)
    limits = {"context_token_max": 2000, "over_context": "drop_oldest_tool_outputs"}
    assert run(lake, server, specs=[paid(server, limits=limits)]).answered_count == 4
    rules = rows(lake, "teacher_answered").sort("turn_index")["context_rule"].to_list()
    assert rules == [None, None, None, "drop_oldest_tool_outputs:1"]


@pytest.mark.parametrize("cache_order", ["prefer", "strict"])
def test_both_orders_ask_everything(lake: Lake, server: PricedServer, cache_order: CacheOrder) -> None:
    assert run(lake, server, cache_order=cache_order, concurrency=8).answered_count == 6


def test_a_fixed_concurrency_is_respected(lake: Lake) -> None:
    with PricedServer(delay_s=0.01) as server:
        run(lake, server, concurrency=2)
        assert server.at_once_max == 2


def test_expensive_tiers_are_asked_only_where_cheap_ones_disagree(lake: Lake, server: PricedServer) -> None:
    cheap = [paid(server, "a"), paid(server, "b")]
    dear = paid(server, "dear", tier=1)
    report = run(lake, server, specs=[*cheap, dear], tiered=True)
    # The teachers of this endpoint all answer by their own name: they disagree everywhere.
    assert report.answered_count == 18
    alone = run(lake, server, specs=[*cheap, paid(server, "other", tier=1)], tiered=True, replay_id="2")
    assert alone.tiers[0].asked_state_count == 6
    agreeing = run(
        lake,
        server,
        specs=[paid(server, "c", sampling=SAMPLING | {"sample_count": 2}), paid(server, "last", tier=1)],
        tiered=True,
        replay_id="3",
    )
    assert agreeing.answered_count == 12
    assert (agreeing.tiers[0].asked_state_count, agreeing.tiers[0].saved_call_count) == (0, 6)
    assert agreeing.tiers[0].saved_usd > 0
    assert agreeing.tiers[0].missed_share is None
    run(lake, server, specs=[paid(server, "last", tier=1)], replay_id="4")
    measured = run(
        lake,
        server,
        specs=[paid(server, "c", sampling=SAMPLING | {"sample_count": 2}), paid(server, "last", tier=1)],
        tiered=True,
        replay_id="5",
    )
    assert (measured.tiers[0].measured_state_count, measured.tiers[0].missed_share) == (6, 1.0)


def test_one_replay_at_a_time(lake: Lake, server: PricedServer) -> None:
    with replay_lock(lake, "first"), pytest.raises(ReplayRunningError, match="first"):
        run(lake, server)
    assert run(lake, server).answered_count == 6


def test_a_remote_lakes_lock_outlives_its_holder_and_can_be_broken() -> None:
    lake = Lake.create("memory://locked")
    with replay_lock(lake, "first"):
        with pytest.raises(ReplayRunningError, match="--break-lock"), replay_lock(lake, "second"):
            pass
        with replay_lock(lake, "third", breaks=True):
            pass
    with replay_lock(lake, "fourth"):
        pass


def test_a_teacher_without_a_price_or_a_key_is_refused_before_anything_is_sent(
    lake: Lake, server: PricedServer
) -> None:
    unpriced = paid(server).model_copy(update={"price": "genai-prices", "model": "nobody/nothing-2026-01-02"})
    with pytest.raises(BadInputError, match="price"):
        run(lake, server, specs=[unpriced])
    locked = paid(server, api_key_env="A_KEY_THAT_IS_NOT_SET")
    with pytest.raises(BadInputError, match="A_KEY_THAT_IS_NOT_SET"):
        run(lake, server, specs=[locked])
    assert server.counts().charged_microusd == 0


@pytest.mark.parametrize("key", ["sk-1\n", " sk-1", "clé"])
def test_a_key_that_no_header_can_carry_is_refused_before_anything_is_reserved(
    lake: Lake, server: PricedServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("A_TEACHERS_KEY", key)
    with pytest.raises(BadInputError, match="cannot be sent in a header") as refused:
        run(lake, server, specs=[paid(server, api_key_env="A_TEACHERS_KEY")])
    assert key not in str(refused.value)
    assert lake.scan("teacher_call_reserved", fresh=True).collect().height == 0


def test_reservations_name_the_arm_that_they_are_for(lake: Lake, server: PricedServer) -> None:
    run(lake, server, arm="B")
    assert set(rows(lake, "teacher_call_reserved")["arm"]) == {"B"}


def test_threads_of_the_caller_do_not_matter(lake: Lake, server: PricedServer) -> None:
    reports: list[ReplayReport] = []
    thread = threading.Thread(target=lambda: reports.append(run(lake, server)))
    thread.start()
    thread.join()
    assert reports[0].answered_count == 6
