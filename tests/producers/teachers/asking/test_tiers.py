"""Goal: a more expensive tier is asked exactly where cheaper ones disagree; what that misses is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.producers.teachers.question_lake import question_lake, teacher
from tracelake.lake import Lake
from tracelake.producers.teachers.asking.jobs import Job, jobs_of, price_teachers
from tracelake.producers.teachers.asking.questions import select
from tracelake.producers.teachers.asking.tiers import consensus_of, tier_outcome, tiers_of


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return question_lake(str(tmp_path / "lake"), trace_count=1, turn_count=4)


@pytest.fixture
def jobs(lake: Lake) -> list[Job]:
    """Four states; two cheap teachers and an expensive one."""
    teachers = [teacher(name="a"), teacher(name="b"), teacher(name="expensive", tier=2)]
    return jobs_of(select(lake, "all"), price_teachers(teachers))


def by(jobs: list[Job], name: str) -> list[Job]:
    return [job for job in jobs if job.teacher.spec.name == name]


def answers(jobs: list[Job], name: str, actions: list[str | None]) -> dict[tuple[str, int], str]:
    return {
        job.key: action for job, action in zip(by(jobs, name), actions, strict=True) if action is not None
    }


def test_teachers_agree_if_at_least_two_answered_and_all_answers_are_equal(jobs: list[Job]) -> None:
    actions = answers(jobs, "a", ["ls", "ls", "ls", None]) | answers(jobs, "b", ["ls", "pwd", None, None])
    cheap = by(jobs, "a") + by(jobs, "b")
    states = [job.question.state_key for job in by(jobs, "a")]
    assert consensus_of(cheap, actions) == {states[0]: "ls"}


def test_samples_of_one_teacher_can_disagree_too(lake: Lake) -> None:
    jobs = jobs_of(select(lake, "all")[:1], price_teachers([teacher(sampling={"sample_count": 2})]))
    assert consensus_of(jobs, {jobs[0].key: "ls", jobs[1].key: "pwd"}) == {}
    assert list(consensus_of(jobs, {jobs[0].key: "ls", jobs[1].key: "ls"}).values()) == ["ls"]


def test_misses_are_measured_where_expensive_answers_are_known(jobs: list[Job]) -> None:
    expensive = by(jobs, "expensive")
    states = [job.question.state_key for job in expensive]
    consensus = dict.fromkeys(states[:3], "ls")
    actions = answers(jobs, "expensive", ["ls", "rm", None, "rm"])
    found = tier_outcome(2, expensive, expensive[2:3], consensus, actions, 0.5)
    assert (found.state_count, found.asked_state_count, found.saved_call_count) == (4, 1, 1)
    assert (found.measured_state_count, found.missed_state_count, found.missed_share) == (2, 1, 0.5)
    assert tier_outcome(2, expensive, expensive, consensus, {}, 0.5).missed_share is None


def test_tiers_are_asked_from_the_cheapest(jobs: list[Job]) -> None:
    assert tiers_of(reversed(jobs)) == [0, 2]
