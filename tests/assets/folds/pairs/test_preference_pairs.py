"""Preference pairs by both rules, and one outcome for every turn and rule."""

from __future__ import annotations

import hashlib
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.assets.folds.answer_frames import action_class, frame, pairs_of, shell_action, student, teacher
from tracelake.assets.folds.pairs.preference_pairs import RULES, PairOutcome, pair_id


def voted(*commands: str, own: str = "own", state: str = "s") -> list[dict[str, Any]]:
    return [
        student(state, own),
        *(teacher(state, chr(65 + i), command) for i, command in enumerate(commands)),
    ]


def outcomes(*rows: dict[str, Any], min_teachers: int = 2) -> dict[str, str]:
    found = pairs_of(frame(*rows), "L1", min_teachers).outcomes
    return dict(found.select("rule", "outcome").iter_rows())


class TestMajorityOverStudent:
    def test_the_majority_is_preferred_to_a_student_who_differs(self) -> None:
        found = pairs_of(frame(*voted("cat a", "ls", "cat  a", own="rm a")), "L1")
        (pair,) = found.pairs.to_dicts()
        assert pair["rule"] == "majority_over_student"
        assert pair["chosen_json"] == shell_action("cat a")
        assert pair["rejected_json"] == shell_action("rm a")
        assert (pair["chosen_author"], pair["rejected_author"]) == ("A", "student")
        assert (pair["majority_votes"], pair["teacher_count"], pair["pattern"]) == (2, 3, "2-1")
        assert pair["vote_margin"] == pytest.approx(1 / 3)
        assert (pair["rollout_id"], pair["turn_index"], pair["task_key"]) == ("r1", 0, "task")

    def test_the_first_teacher_and_lowest_sample_represent_the_majority(self) -> None:
        rows = [
            student("s", "rm"),
            teacher("s", "B", "ls -la", sample_index=0),
            teacher("s", "A", "cat", sample_index=0),
            teacher("s", "A", "ls -l -a", sample_index=2),
            teacher("s", "A", "ls -al", sample_index=1),
        ]
        (pair,) = pairs_of(frame(*rows), "L1").pairs.to_dicts()
        assert pair["chosen_author"] == "A"
        assert pair["chosen_json"] == shell_action("ls -al")


class TestStudentOverMinority:
    def test_the_student_is_preferred_to_each_minority(self) -> None:
        found = pairs_of(frame(*voted("a", "a", "a", "b", "c", own="a")), "L1")
        assert found.pairs["rule"].to_list() == ["student_over_minority"] * 2
        assert set(found.pairs["rejected_json"]) == {shell_action("b"), shell_action("c")}
        assert set(found.pairs["chosen_author"]) == {"student"}
        counts = found.outcomes.filter(rule="student_over_minority")["pair_count"].to_list()
        assert counts == [2]

    def test_a_minority_of_two_teachers_is_one_pair(self) -> None:
        found = pairs_of(frame(*voted("a", "a", "a", "b", "b", own="a")), "L1")
        assert found.pairs["rejected_author"].to_list() == ["D"]


class TestOutcomes:
    @pytest.mark.parametrize(
        ("commands", "own", "first", "second"),
        [
            ([], "a", "no_teacher", "no_teacher"),
            (["a"], "b", "too_few_teachers", "too_few_teachers"),
            (["a", "b"], "a", "no_majority", "no_majority"),
            (["a", "b", "c"], "a", "no_majority", "no_majority"),
            (["a", "a", "b"], "a", "student_agrees", "paired"),
            (["a", "a", "b"], "b", "paired", "student_disagrees"),
            (["a", "a"], "a", "student_agrees", "no_minority"),
        ],
    )
    def test_every_rule_gives_one_outcome_per_turn(
        self, commands: list[str], own: str, first: str, second: str
    ) -> None:
        said = outcomes(*voted(*commands, own=own))
        assert said == {"majority_over_student": first, "student_over_minority": second}

    def test_one_teacher_is_enough_where_the_rule_says_so(self) -> None:
        assert outcomes(*voted("a", own="b"), min_teachers=1)["majority_over_student"] == "paired"

    def test_an_action_without_text_and_calls_is_not_trained_on(self) -> None:
        empty = {"action_json": '{"content":" ","tool_calls":[]}'}
        own, *teachers = voted("a", "a", "b")
        assert outcomes(own | empty, *teachers)["majority_over_student"] == "empty_action"
        own, one, other, third = voted("a", "a", "b", own="a")
        assert outcomes(own, one, other, third | empty)["student_over_minority"] == "empty_action"


def test_levels_can_differ_in_agreement() -> None:
    answers = frame(*voted("ls -la", "ls -al", own="ls -l -a"))
    assert pairs_of(answers, "L0").outcomes["outcome"].to_list() == ["no_majority"] * 2
    assert pairs_of(answers, "L1").outcomes["outcome"].to_list() == ["student_agrees", "no_minority"]


def test_a_pair_is_named_by_its_rule_level_and_events() -> None:
    expected = hashlib.sha256(b"student_over_minority\0L1\0e1\0e2\0").hexdigest()
    assert pair_id("student_over_minority", "L1", "e1", "e2") == expected


COMMAND = st.sampled_from(["ls -la", "ls -al", "ls", "cat a", "cat 'a'", ""])
STATE = st.sampled_from(["s0", "s1", "s2"])
STUDENTS = st.lists(
    st.builds(
        student, STATE, COMMAND, turn_index=st.integers(0, 3), rollout_id=st.sampled_from(["r0", "r1"])
    ),
    max_size=6,
)
TEACHERS = st.lists(
    st.builds(teacher, STATE, st.sampled_from("ABCD"), COMMAND, sample_index=st.integers(0, 2)), max_size=16
)


def one_row_per_event(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({row["event_id"]: row for row in rows}.values())


@given(STUDENTS, TEACHERS, st.randoms(use_true_random=False))
def test_order_and_repetition_of_answers_change_nothing(
    students: list[dict[str, Any]], teachers: list[dict[str, Any]], random: Any
) -> None:
    rows = one_row_per_event(students + teachers)
    shuffled = rows + [row for row in rows if random.random() < 0.5]
    random.shuffle(shuffled)
    for level in ("L0", "L1"):
        one, other = pairs_of(frame(*rows), level), pairs_of(frame(*shuffled), level)
        assert_frame_equal(one.pairs, other.pairs)
        assert_frame_equal(one.outcomes, other.outcomes)


@given(STUDENTS, TEACHERS)
def test_every_turn_and_rule_is_accounted_for_once(
    students: list[dict[str, Any]], teachers: list[dict[str, Any]]
) -> None:
    turns, rows = one_row_per_event(students), one_row_per_event(students + teachers)
    pairs, outcomes_of_turns = pairs_of(frame(*rows), "L1")
    assert sorted(outcomes_of_turns.select("student_event_id", "rule").rows()) == sorted(
        (turn["event_id"], rule) for turn in turns for rule in RULES
    )
    assert set(outcomes_of_turns["outcome"]) <= set(get_args(PairOutcome))
    assert ((outcomes_of_turns["outcome"] == "paired") == (outcomes_of_turns["pair_count"] > 0)).all()
    assert outcomes_of_turns["pair_count"].sum() == pairs.height
    assert pairs["pair_id"].n_unique() == pairs.height


@given(STUDENTS, TEACHERS)
def test_the_two_sides_of_a_pair_are_different_actions(
    students: list[dict[str, Any]], teachers: list[dict[str, Any]]
) -> None:
    pairs = pairs_of(frame(*one_row_per_event(students + teachers)), "L1").pairs
    for chosen, rejected in pairs.select("chosen_json", "rejected_json").iter_rows():
        assert action_class(chosen, "L1") != action_class(rejected, "L1")
    assert pairs.select(pl.col("vote_margin").is_between(0, 1).all()).item() in (True, None)
