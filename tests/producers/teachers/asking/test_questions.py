"""Goal: teachers see exactly what the student saw, for exactly the chosen traces."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.producers.teachers.question_lake import TOOLS, bash, question_lake, teacher, trace
from tracelake.lake import Lake
from tracelake.producers.teachers.asking.jobs import DROPPED_OUTPUT, jobs_of, price_teachers
from tracelake.producers.teachers.asking.questions import select
from tracelake.schemas.errors import QueryError


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return question_lake(str(tmp_path / "lake"))


def places(lake: Lake, where: str) -> list[tuple[str, int]]:
    return [(question.rollout_id, question.turn_index) for question in select(lake, where)]


def test_every_turn_is_a_question_ordered_by_trace_and_turn(lake: Lake) -> None:
    assert places(lake, "all") == [(f"trace-{trace}", turn) for trace in (0, 1) for turn in (0, 1, 2)]


@pytest.mark.parametrize(
    "where", ["task_key = 'task 1'", "rollout_id LIKE '%-1' AND turn_count > 2", "task_key IN ('task 1')"]
)
def test_an_sql_condition_over_rollouts_chooses_traces(lake: Lake, where: str) -> None:
    assert places(lake, where) == [("trace-1", 0), ("trace-1", 1), ("trace-1", 2)]


@pytest.mark.parametrize("where", ["nonsense = 1", "task_key =", "1 = 1; DROP TABLE rollouts", ""])
def test_an_invalid_condition_names_the_columns(lake: Lake, where: str) -> None:
    with pytest.raises(QueryError, match="task_key"):
        select(lake, where)


def test_the_context_is_what_the_student_saw(lake: Lake) -> None:
    question = select(lake, "rollout_id = 'trace-0'")[2]
    assert question.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "task 0"},
        bash("look 0", "trace-0-0"),
        {"role": "tool", "tool_call_id": "trace-0-0", "content": "some output 0.0"},
        bash("look 1", "trace-0-1"),
        {"role": "tool", "tool_call_id": "trace-0-1", "content": "some output 0.1"},
    ]
    assert question.tools == TOOLS


def test_a_state_shared_by_several_traces_is_one_question(lake: Lake) -> None:
    with lake.writer("again") as writer:
        writer.append(trace("trace-9", "task 0", ["some output 0.0"]))
    assert ("trace-9", 0) not in places(lake, "all")
    assert places(lake, "rollout_id = 'trace-9'") == [("trace-9", 0)]


def test_a_trace_in_conflict_is_left_out(lake: Lake) -> None:
    with lake.writer("again") as writer:
        assert writer.append(trace("trace-1", "another task", ["x"])).conflict_count
    assert {rollout for rollout, _ in places(lake, "all")} == {"trace-0"}


def test_a_lake_without_traces_has_no_questions(fresh_lake: Lake) -> None:
    assert select(fresh_lake, "all") == []


@pytest.mark.parametrize(
    ("rule", "unsent"), [("skip", "context_too_long"), ("drop_oldest_tool_outputs", None)]
)
def test_a_context_over_the_window_follows_the_teachers_rule(
    tmp_path: Path, rule: str, unsent: str | None
) -> None:
    lake = question_lake(str(tmp_path / "long"), trace_count=1, turn_count=4, output="word " * 500)
    sampling = {"max_tokens": 100}
    limits = {"context_token_max": 2000, "over_context": rule}
    jobs = jobs_of(select(lake, "all"), price_teachers([teacher(sampling=sampling, limits=limits)]))
    assert [(job.unsent, job.context_rule) for job in jobs[:3]] == [(None, None)] * 3
    assert jobs[3].unsent == unsent
    if unsent is None:
        assert jobs[3].context_rule == "drop_oldest_tool_outputs:1"
        outputs = [message["content"] for message in jobs[3].body()["messages"] if message["role"] == "tool"]
        assert outputs[0] == DROPPED_OUTPUT
        assert DROPPED_OUTPUT not in outputs[1:]


def test_a_context_that_never_fits_is_not_sent(tmp_path: Path) -> None:
    lake = question_lake(str(tmp_path / "long"), trace_count=1, turn_count=2)
    limits = {"context_token_max": 50, "over_context": "drop_oldest_tool_outputs"}
    jobs = jobs_of(select(lake, "all"), price_teachers([teacher(limits=limits)]))
    assert [job.unsent for job in jobs] == ["context_too_long"] * 2


def test_a_picture_has_no_token_bound_and_is_not_sent(lake: Lake) -> None:
    opening = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    events = list(trace("picture", "x", ["y"]))
    turn = events[1].model_copy(update={"new_messages_json": str(opening).replace("'", '"')})
    with lake.writer("more") as writer:
        writer.append([events[0], turn, events[2]])
    questions = select(lake, "rollout_id = 'picture'")
    paid = teacher(price={"input": 1, "output": 1})
    assert [job.unsent for job in jobs_of(questions, price_teachers([paid]))] == ["unbounded_cost"]
    assert [job.unsent for job in jobs_of(questions, price_teachers([teacher()]))] == [None]


def test_samples_are_separate_jobs_and_differ_by_seed_if_there_is_one(lake: Lake) -> None:
    questions = select(lake, "all")[:1]
    without = jobs_of(questions, price_teachers([teacher(sampling={"sample_count": 3})]))
    assert len({job.key for job in without}) == 3
    assert len({job.request_key for job in without}) == 1
    seeded = jobs_of(questions, price_teachers([teacher(sampling={"sample_count": 3, "seed": 7})]))
    assert [job.body()["seed"] for job in seeded] == [7, 8, 9]
    assert len({job.request_key for job in seeded}) == 3
