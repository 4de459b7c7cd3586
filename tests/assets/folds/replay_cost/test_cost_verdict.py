"""Goal: the verdict on a replay's cost states the measured figures and their teachers, and never claims more.

Method: replays written by hand, with known dollars, seconds and answers.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.assets.folds.replay_cost.replay_frames import CLAIMED, Call, calls, replay, spec
from tracelake.assets.folds.replay_cost.cost_model import CostVerdict
from tracelake.assets.folds.replay_cost.cost_verdict import ReplayEvents, cost_verdict


def verdict_on(attempts: list[Call], **thresholds: Any) -> CostVerdict:
    return cost_verdict(replay(attempts), spec(**thresholds))


def replaced(attempts: list[Call], teacher: str, **fields: Any) -> list[Call]:
    return [call._replace(**fields) if call.teacher == teacher else call for call in attempts]


def test_a_cheap_fast_whole_replay_of_the_claims_teachers_validates_it() -> None:
    found = verdict_on(calls())
    assert (found.outcome, found.rehearsal, found.absent_teachers) == ("VALIDATED", False, ())
    assert found.measured is not None
    # Three teachers, four turns, a quarter each: from $3 to $3.30.
    spread = found.measured.dollars_per_trace
    assert (spread.mean, spread.median) == (pytest.approx(3.15), pytest.approx(3.15))
    assert 3.0 < spread.interval_low < 3.15 < spread.interval_high < 3.3
    assert found.measured.seconds_per_turn is not None
    assert 5.0 < found.measured.seconds_per_turn.p95 < 5.6
    assert found.measured.answered_share == 1.0
    assert [each.cost_from for each in found.teachers] == ["provider"] * 3
    assert [each.cached_share for each in found.teachers] == [0.8] * 3
    assert found.teachers[0].served_by == ("opus-served by house",)


def test_other_teachers_are_a_rehearsal_and_show_nothing_however_cheap() -> None:
    found = verdict_on(calls(teachers=["tiny-1", "tiny-2"], usd=0.001))
    assert (found.outcome, found.rehearsal) == ("UNDERPOWERED", True)
    assert found.absent_teachers == CLAIMED
    assert found.measured is not None
    assert found.measured.findings.all == ("holds", "holds", "holds")
    assert "None of the claim's teachers was asked" in found.reasons[0]


def test_other_teachers_cannot_refute_the_claim_either() -> None:
    found = verdict_on(calls(teachers=["tiny-1"], usd=90.0, seconds=90.0))
    assert found.outcome == "UNDERPOWERED"


def test_other_teachers_do_not_count_if_the_claims_were_asked() -> None:
    found = verdict_on(calls() + calls(teachers=["tiny-1"], usd=50.0))
    assert found.outcome == "VALIDATED"
    assert [each.teacher for each in found.teachers] == list(CLAIMED)


@pytest.mark.parametrize(
    ("source", "max_usd", "label"), [("price_table", 1.0, "price table"), ("price_table", 0.0, "free")]
)
def test_dollars_that_no_provider_stated_do_not_validate(source: str, max_usd: float, label: str) -> None:
    found = verdict_on(calls(source=source, max_usd=max_usd, usd=0.25 if max_usd else 0.0))
    assert found.outcome == "UNDERPOWERED"
    assert {each.cost_from for each in found.teachers} == {label}
    assert any("the provider did not state them" in reason for reason in found.reasons)


def test_a_reconciled_cost_counts_as_stated_by_the_provider() -> None:
    found = verdict_on(calls(source="reconciled"))
    assert (found.outcome, found.teachers[0].cost_from) == ("VALIDATED", "provider")


def test_too_few_traces_show_nothing() -> None:
    found = verdict_on(calls(traces=4))
    assert found.outcome == "UNDERPOWERED"
    assert "4 whole traces" in found.reasons[0]


def test_a_trace_that_was_not_put_to_every_teacher_as_a_whole_is_left_out() -> None:
    attempts = [
        call for call in calls() if not (call.trace == "r2" and call.turn == 3 and call.teacher == "gpt")
    ]
    found = verdict_on(attempts)
    assert (found.trace_count, found.chosen_trace_count, found.turn_count) == (5, 6, 20)
    assert any("as a whole: 1 chosen trace." in reason for reason in found.reasons)


def test_traces_of_fewer_turns_do_not_count() -> None:
    events = replay(calls())
    short = events._replace(
        turns=events.turns.filter(~((pl.col("rollout_id") == "r0") & (pl.col("turn_index") == 0)))
    )
    found = cost_verdict(short, spec())
    assert (found.trace_count, found.chosen_trace_count) == (5, 5)


def test_expensive_teachers_refute_the_claim_with_their_interval() -> None:
    found = verdict_on(calls(usd=5.0))
    assert found.outcome == "INVALIDATED"
    assert found.measured is not None
    assert found.measured.traces_above_count == 6
    assert "dollars" in found.reasons[0]


def test_a_claim_is_narrowed_if_one_teacher_is_too_expensive() -> None:
    found = verdict_on(replaced(calls(), "opus", usd=3.0))
    assert found.outcome == "PARTIAL"
    assert found.cheaper_mix is not None
    assert found.cheaper_mix.teachers == ("gpt", "deepseek")
    assert found.cheaper_mix.dollars_per_trace.mean == pytest.approx(2.1)
    assert "gpt, deepseek only" in found.reasons[0]


def test_a_claim_is_narrowed_if_one_teacher_is_too_slow() -> None:
    found = verdict_on(replaced(calls(), "deepseek", seconds=60.0))
    assert found.outcome == "PARTIAL"
    assert found.cheaper_mix is not None
    assert found.cheaper_mix.teachers == ("opus", "gpt")


def test_a_claim_about_three_teachers_can_hold_for_two_of_them() -> None:
    found = verdict_on(calls(teachers=["opus", "gpt"]))
    assert (found.outcome, found.absent_teachers) == ("PARTIAL", ("deepseek",))


def test_an_interval_across_the_threshold_shows_nothing() -> None:
    found = verdict_on(calls(), dollars_per_trace_max=3.15)
    assert found.outcome == "UNDERPOWERED"
    assert found.measured is not None
    assert found.measured.findings.dollars == "open"


def test_attempts_of_unknown_cost_are_bounded_by_what_was_reserved() -> None:
    lost = [call._replace(usd=None) if call.teacher == "opus" else call for call in calls()]
    found = verdict_on(lost)
    assert found.measured is not None
    assert found.measured.dollars_per_trace.mean == pytest.approx(2.1)
    assert found.measured.dollars_per_trace_max.mean == pytest.approx(6.1)
    assert (found.measured.findings.dollars, found.outcome) == ("open", "UNDERPOWERED")
    assert found.teachers[0].cost_from == "unknown"
    assert any("up to $4.00 per trace" in reason for reason in found.reasons)


def test_failures_are_counted_by_class_and_a_teacher_without_answers_is_not_cheap() -> None:
    attempts = replaced(calls(), "gpt", failure="refusal", usd=0.0)
    found = verdict_on(attempts)
    assert found.teachers[1].failures == {"refusal": 24}
    assert found.teachers[1].measured.answered_share == 0.0
    assert found.outcome == "PARTIAL"
    assert found.cheaper_mix is not None
    assert found.cheaper_mix.teachers == ("opus", "deepseek")
    assert (
        verdict_on(replaced(attempts, "opus", failure="refusal"), answered_share_min=0.9).outcome == "PARTIAL"
    )
    assert verdict_on([call._replace(failure="timeout") for call in attempts]).outcome == "INVALIDATED"


def test_a_turn_takes_as_long_as_its_slowest_teacher_with_every_attempt() -> None:
    again = Call("r0", 0, "gpt", seconds=9.0, failure="rate_limited", usd=0.0, source="unbilled")
    attempts = [
        call._replace(attempt=1) if call[:3] == again[:3] else call
        for call in replaced(calls(seconds=2.0), "opus", seconds=1.0)
    ]
    found = verdict_on([*attempts, again])
    assert found.measured is not None
    assert found.measured.seconds_per_turn is not None
    assert found.measured.seconds_per_turn.p95_high == pytest.approx(11.0)
    assert found.teachers[1].failures == {"rate_limited": 1}
    assert found.teachers[1].attempt_count == 25
    assert found.measured.answered_share == 1.0


def test_requests_that_could_not_be_sent_are_questions_without_an_answer() -> None:
    events = replay(calls())
    lost = (pl.col("teacher") == "opus") & (pl.col("state_key") == "r1/3")
    key = "r1/3/opus/0"
    unsent = replay([Call("r1", 3, "opus", failure="context_too_long", seconds=None)]).failed
    changed = ReplayEvents(
        events.turns,
        events.reserved.filter(~lost),
        events.settled.filter(pl.col("attempt_id") != key),
        events.answered.filter(~lost),
        unsent.with_columns(pl.lit(None, pl.String).alias("attempt_id")),
    )
    found = cost_verdict(changed, spec(answered_share_min=0.9))
    assert (found.trace_count, found.outcome) == (6, "VALIDATED")
    assert found.measured is not None
    assert found.measured.answered_share == pytest.approx(71 / 72)


def test_without_any_call_nothing_is_measured() -> None:
    events = replay(calls())
    empty = ReplayEvents(events.turns, *(each.clear() for each in events[1:]))
    found = cost_verdict(empty, spec())
    assert (found.outcome, found.measured, found.teachers) == ("UNDERPOWERED", None, ())
    assert "nothing is measured" in found.reasons[0]


def test_thresholds_set_after_the_first_call_are_named_as_a_doubt() -> None:
    found = cost_verdict(replay(calls()), spec(), registered_late=True)
    assert any("after the first call" in reason for reason in found.reasons)


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_events_changes_nothing(dice: Any) -> None:
    attempts = calls(traces=5)
    events = replay(attempts)
    seed = dice.randrange(1000)
    shuffled = ReplayEvents(*(each.sample(fraction=1.0, shuffle=True, seed=seed) for each in events))
    assert cost_verdict(shuffled, spec()) == cost_verdict(events, spec())
