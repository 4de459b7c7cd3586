"""Patterns, entropy and majorities per state; their counts per trace."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.assets.folds.answer_frames import (
    disagreement_by_trace_of,
    disagreement_of,
    frame,
    student,
    teacher,
)


def state_of(*commands: str, own: str | None = None) -> dict[str, Any]:
    """The L1 row of one state at which teachers A, B, C… gave these commands."""
    rows = [teacher("s", chr(65 + index), command) for index, command in enumerate(commands)]
    answers = frame(*rows, *([student("s", own)] if own else []))
    (row,) = disagreement_of(answers, ["L1"]).to_dicts()
    return row


@pytest.mark.parametrize(
    ("commands", "pattern", "entropy", "majority_votes", "margin"),
    [
        (["a", "a", "a"], "3-0", 0.0, 3, 1.0),
        (["a", "b", "a"], "2-1", 0.636514, 2, 1 / 3),
        (["a", "b", "c"], "1-1-1", math.log(3), None, 0.0),
        (["a", "a", "b", "b"], "2-2", math.log(2), None, 0.0),
        (["a", "a", "b", "c"], "2-1-1", 1.039721, None, 0.25),
        (["a", "a", "a", "b", "c"], "3-1-1", 0.950271, 3, 0.4),
        (["a"], "1-0", 0.0, 1, 1.0),
        (["a", "a"], "2-0", 0.0, 2, 1.0),
    ],
)
def test_pattern_entropy_majority_and_margin(
    commands: list[str], pattern: str, entropy: float, majority_votes: int | None, margin: float
) -> None:
    row = state_of(*commands)
    assert row["pattern"] == pattern
    assert row["vote_entropy_nats"] == pytest.approx(entropy, abs=1e-6)
    assert row["majority_votes"] == majority_votes
    assert (row["majority_class"] is None) == (majority_votes is None)
    assert row["vote_margin"] == pytest.approx(margin)


def test_a_student_agrees_or_does_not() -> None:
    assert state_of("ls -la", "ls -al", "x", own="ls -l -a")["student_agreeing_count"] == 1
    assert state_of("a", "a", "b", own="b")["student_agreeing_count"] == 0
    assert state_of("a", "b", own="a")["student_agreeing_count"] == 0, (
        "without a majority there is nothing to agree with"
    )


def test_a_state_without_teachers_has_a_row() -> None:
    row = state_of(own="ls")
    assert (row["teacher_count"], row["class_count"], row["pattern"]) == (0, 0, "none")
    assert row["vote_entropy_nats"] is None
    assert row["majority_class"] is None


def test_two_turns_may_share_a_state() -> None:
    answers = frame(
        teacher("s", "A", "ls"), student("s", "ls", turn_index=0), student("s", "cat", turn_index=1)
    )
    (row,) = disagreement_of(answers, ["L1"]).to_dicts()
    assert (row["student_count"], row["student_agreeing_count"]) == (2, 1)


def test_a_trace_sums_up_its_turns() -> None:
    votes_at = {"s0": "aaa", "s1": "aab", "s2": "aab", "s3": "abc", "s4": ""}
    rows = [
        teacher(state, chr(65 + index), command)
        for state, commands in votes_at.items()
        for index, command in enumerate(commands)
    ]
    turns = [
        student(state, own, turn_index=index)
        for index, (state, own) in enumerate(zip(votes_at, "abaaa", strict=True))
    ]
    (row,) = disagreement_by_trace_of(frame(*rows, *turns), ["L1"]).to_dicts()
    assert row["turn_count"] == 5
    counts = [row[f"{name}_count"] for name in ("unanimous", "majority", "split", "unanswered")]
    assert counts == [1, 2, 1, 1]
    assert json.loads(row["pattern_counts_json"]) == {"3-0": 1, "2-1": 2, "1-1-1": 1, "none": 1}
    assert row["disagreement_share"] == pytest.approx(3 / 4)
    assert row["student_differs_share"] == pytest.approx(1 / 3)
    assert row["mean_entropy_nats"] == pytest.approx((0 + 2 * 0.6365142 + math.log(3)) / 4)


def test_every_level_has_rows() -> None:
    answers = frame(teacher("s", "A", "ls -la"), teacher("s", "B", "ls -al"), student("s", "ls"))
    assert dict(disagreement_of(answers).select("level", "pattern").iter_rows()) == {"L0": "1-1", "L1": "2-0"}
    assert disagreement_by_trace_of(answers)["level"].to_list() == ["L0", "L1"]


def test_no_answers_give_no_rows() -> None:
    assert disagreement_of(frame()).is_empty()
    assert disagreement_by_trace_of(frame()).is_empty()
