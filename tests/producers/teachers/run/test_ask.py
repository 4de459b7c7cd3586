"""Asking teachers over a real endpoint: answers are bought once, and failures leave a sound lake."""

from __future__ import annotations

from pathlib import Path

import orjson
import polars as pl
import pytest

from tracelake.consumers.rollouts.collect import Collection, collect_rollouts
from tracelake.lake import Lake
from tracelake.producers.local_teachers.server import TeacherServer
from tracelake.producers.teachers.asking.questions import questions_of
from tracelake.producers.teachers.run.replay import ask_local_teachers
from tracelake.producers.teachers.run.replay_report import ReplayReport
from tracelake.producers.worlds.tiny_functions.oracle import ErrorRates, OraclePolicy
from tracelake.producers.worlds.tiny_functions.world import tiny_functions

TEACHERS = ("tiny-teacher-95", "tiny-teacher-65")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Rollouts of a student that makes errors."""
    created = Lake.create(str(tmp_path_factory.mktemp("ask") / "lake"))
    world = tiny_functions()
    student = OraclePolicy(ErrorRates(wrong_edit=0.5))
    collect_rollouts(created, student, world, world.train_tasks(1, 6), Collection("run", "student", 2, 4, 1))
    created.project()
    return created


@pytest.fixture(scope="module")
def server():
    with TeacherServer() as running:
        yield running


def counts(report: ReplayReport) -> tuple[int, int, int]:
    return report.answered_count, report.known_count, report.left_count


def rollouts(lake: Lake) -> list[str]:
    return lake.scan("rollout_started").collect()["rollout_id"].to_list()


def test_each_distinct_state_is_one_question_with_its_whole_context(lake: Lake) -> None:
    asked = questions_of(lake, rollouts(lake))
    states = lake.scan("turn_completed").collect()["state_key"].n_unique()
    assert len({question.state_key for question in asked}) == len(asked) == states
    opening = next(question for question in asked if question.turn_index == 0)
    assert opening.messages[-1]["role"] == "user"
    assert {question.turn_index for question in asked} >= {0, 1}
    later = next(question for question in asked if question.turn_index == 1)
    assert [message["role"] for message in later.messages[-3:]] == ["user", "assistant", "tool"]


def test_answers_land_under_the_state_that_was_asked_and_are_bought_once(
    lake: Lake, server: TeacherServer
) -> None:
    asked = questions_of(lake, rollouts(lake))
    first = ask_local_teachers(lake, server.base_url, TEACHERS, asked)
    assert counts(first) == (2 * len(asked), 0, 0)
    again = ask_local_teachers(lake, server.base_url, TEACHERS, asked)
    assert counts(again) == (0, 2 * len(asked), 0)
    answered = lake.scan("teacher_answered").collect()
    assert set(answered["state_key"]) == {question.state_key for question in asked}
    assert set(answered["origin"]) == {"asked"}
    assert all(orjson.loads(text)["tool_calls"] for text in answered["action_json"])
    assert answered["prompt_token_count"].min() > 0


def test_a_teacher_that_fails_leaves_events_and_does_not_stop_others(
    lake: Lake, server: TeacherServer
) -> None:
    asked = questions_of(lake, rollouts(lake))[:2]
    names = ("nobody", "tiny-teacher-70")
    assert counts(ask_local_teachers(lake, server.base_url, names, asked)) == (2, 0, 2)
    lake.project()
    failed = lake.scan("teacher_failed").filter(pl.col("teacher") == "nobody").collect()
    assert failed.height == 2
    assert set(failed["http_status"]) == {404}
    assert counts(ask_local_teachers(lake, server.base_url, names, asked)) == (0, 2, 2)


def test_an_endpoint_that_is_not_there_leaves_failures_and_the_lake_well(lake: Lake, tmp_path: Path) -> None:
    asked = questions_of(lake, rollouts(lake))[:1]
    report = ask_local_teachers(lake, "http://127.0.0.1:9/v1", ["tiny-teacher-60"], asked)
    assert counts(report) == (0, 0, 1)
    assert lake.verify(deep=True).ok
