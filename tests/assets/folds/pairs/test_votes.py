"""A teacher has one vote per state: the most frequent class of its samples."""

from __future__ import annotations

import pytest

from tests.assets.folds.answer_frames import frame, student, teacher, votes_of
from tracelake.schemas.errors import BadInputError


def test_the_most_frequent_class_is_the_vote() -> None:
    answers = frame(
        teacher("s", "A", "cat a", sample_index=0),
        teacher("s", "A", "ls -la", sample_index=1),
        teacher("s", "A", "ls -al", sample_index=2),
    )
    (vote,) = votes_of(answers, ["L1"]).to_dicts()
    assert (vote["sample_count"], vote["class_sample_count"]) == (3, 2)
    assert vote["sample_index"] == 1, "represented by the lowest sample of the class"
    assert "ls -la" in vote["action_json"]


def test_votes_are_counted_per_level() -> None:
    """At L0 the two spellings are two classes of one sample each, and the tie goes to the first sample."""
    answers = frame(
        teacher("s", "A", "cat a", sample_index=0),
        teacher("s", "A", "ls -la", sample_index=1),
        teacher("s", "A", "ls -al", sample_index=2),
    )
    by_level = {vote["level"]: vote for vote in votes_of(answers).to_dicts()}
    assert by_level["L0"]["sample_index"] == 0
    assert by_level["L0"]["class_sample_count"] == 1
    assert by_level["L1"]["sample_index"] == 1


def test_ties_go_to_the_lowest_sample() -> None:
    answers = frame(
        teacher("s", "A", "b", sample_index=3),
        teacher("s", "A", "a", sample_index=1),
        teacher("s", "A", "b", sample_index=2),
        teacher("s", "A", "a", sample_index=4),
    )
    assert votes_of(answers, ["L1"])["sample_index"].to_list() == [1]


def test_students_do_not_vote() -> None:
    assert votes_of(frame(student("s", "ls"))).is_empty()


def test_a_repeated_event_is_one_sample() -> None:
    row = teacher("s", "A", "ls")
    assert votes_of(frame(row, row), ["L1"])["sample_count"].to_list() == [1]


@pytest.mark.parametrize(
    ("change", "says"),
    [({"role": "grader"}, "unknown role"), ({"action_json": None}, "nulls"), ({"event_id": None}, "nulls")],
)
def test_malformed_answers_are_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        votes_of(frame(teacher("s", "A", "ls") | change))


def test_missing_columns_are_named() -> None:
    with pytest.raises(BadInputError, match="author"):
        votes_of(frame(teacher("s", "A", "ls")).drop("author"))
