"""Goal: a trajectory states what is known of its rollout, and null or `unfinished` where nothing is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.assets.folds.replay_cost.spend import spend
from tracelake.assets.folds.traces.turns import UNFINISHED, trajectories, turns
from tracelake.schemas.events.columns import arrow_schema
from tracelake.schemas.events.event import Event, event_identity
from tracelake.schemas.events.kinds import class_of_kind
from tracelake.schemas.events.rollout_events import RolloutEnded, RolloutStarted, StopReason, TurnCompleted
from tracelake.schemas.recordings import longest_recordings

STARTED = RolloutStarted(rollout_id="r", task_key="t", environment="e", substrate="s")


def frame(kind: str, events: Sequence[Event] = ()) -> pl.DataFrame:
    names = [name for name in class_of_kind(kind).model_fields if name not in ("kind", "source_position")]
    empty = pl.DataFrame(pl.from_arrow(arrow_schema(kind).empty_table())).select("event_id", *names)
    rows = [
        {"event_id": event_identity(event).event_id, **event.model_dump(include=set(names))}
        for event in events
    ]
    return pl.DataFrame(rows, schema=empty.schema)


def turn(index: int, cost: float | None = None, tokens: int | None = None) -> TurnCompleted:
    return TurnCompleted(
        rollout_id="r",
        turn_index=index,
        state_key="s",
        context_length=1,
        new_messages_json="[]",
        action_json='{"content":"x","role":"assistant"}',
        cost_usd=cost,
        prompt_token_count=tokens,
    )


def ended(length: int | None, reason: StopReason = "completed", cost: float | None = None) -> RolloutEnded:
    return RolloutEnded(
        rollout_id="r", recording_length=length, stop_reason=reason, turn_count=1, cost_usd=cost
    )


def trajectory(turn_events: Sequence[TurnCompleted], ends: Sequence[RolloutEnded] = ()) -> dict[str, Any]:
    started = frame("rollout_started", [STARTED])
    rows = turns(started, frame("turn_completed", turn_events), frame("tool_returned"))
    found = trajectories(started, rows, frame("reward_assigned"), frame("rollout_ended", ends))
    return found.row(0, named=True)


def test_a_rollout_without_an_end_is_unfinished() -> None:
    assert trajectory([turn(0)])["stop_reason"] == UNFINISHED
    assert UNFINISHED in get_args(StopReason)


@given(st.permutations([ended(2, "unfinished"), ended(4, "error"), ended(9)]))
def test_the_longest_recording_counts_in_any_order(ends: list[RolloutEnded]) -> None:
    assert trajectory([turn(0)], ends)["stop_reason"] == "completed"
    assert longest_recordings(frame("rollout_ended", ends)).height == 1


def test_a_recording_written_live_is_whole() -> None:
    assert trajectory([turn(0)], [ended(9, "unfinished"), ended(None)])["stop_reason"] == "completed"


def test_a_rollout_of_no_turns_has_counts_of_zero_and_unknown_cost() -> None:
    row = trajectory([], [ended(0, "error")])
    counts = ("turn_count", "tool_call_count", "tool_result_count", "tool_error_count", "priced_turn_count")
    assert [row[name] for name in counts] == [0] * 5
    assert (row["cost_usd"], row["prompt_token_count"], row["stop_reason"]) == (None, None, "error")


@pytest.mark.parametrize(
    ("costs", "total", "priced"),
    [((None, None), None, 0), ((0.25, None), 0.25, 1), ((0.25, 0.5), 0.75, 2), ((0.0, None), 0.0, 1)],
)
def test_unknown_cost_is_null_and_a_sum_says_how_many_were_priced(
    costs: tuple[float | None, ...], total: float | None, priced: int
) -> None:
    events = [turn(index, cost) for index, cost in enumerate(costs)]
    row = trajectory(events)
    assert (row["cost_usd"], row["priced_turn_count"], row["turn_count"]) == (total, priced, 2)
    spent = spend(frame("turn_completed", events), frame("teacher_answered"), frame("teacher_failed")).row(
        0, named=True
    )
    assert (spent["cost_usd"], spent["priced_call_count"], spent["call_count"]) == (total, priced, 2)
    assert (spent["prompt_token_count"], spent["cached_token_count"]) == (None, None)


def test_the_total_that_a_source_states_stands_apart_from_the_priced_turns() -> None:
    row = trajectory([turn(0)], [ended(2, cost=1.5)])
    assert (row["cost_usd"], row["stated_cost_usd"]) == (None, 1.5)
