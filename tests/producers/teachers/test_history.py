"""Goal: the jobs and the money of a replay follow from events alone, however its earlier runs ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.producers.teachers.question_lake import question_lake, teacher
from tracelake.lake import Lake
from tracelake.producers.calling.failures import FailureClass
from tracelake.producers.calling.outcome import Answered, Failed
from tracelake.producers.teachers.asking.jobs import Job, jobs_of, price_teachers
from tracelake.producers.teachers.asking.questions import select
from tracelake.producers.teachers.history import partition_jobs, read_account, read_history
from tracelake.producers.teachers.run.attempt_events import (
    Attempt,
    new_attempt,
    outcome_events,
    unsent_failure,
)
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.teacher_events import (
    TeacherAnswered,
    TeacherCallSettled,
    TeacherCallStarted,
    TeacherFailed,
)

PRICE = {"input": 1, "output": 2}
USAGE = {"prompt_tokens": 100, "completion_tokens": 10}
ANSWER = Answered(
    message={"role": "assistant", "content": "ls"},
    finish_reason="stop",
    model_served="model-one",
    provider=None,
    response_id="gen-1",
    native_finish_reason=None,
    usage=USAGE,
    completion_ids=None,
    logprobs=None,
    raw_top_logprobs=None,
    latency_ms=5.0,
    first_token_ms=1.0,
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return question_lake(str(tmp_path / "lake"))


@pytest.fixture
def jobs(lake: Lake) -> list[Job]:
    return jobs_of(select(lake, "all"), price_teachers([teacher(price=PRICE)]))


def land(lake: Lake, *events: Event) -> None:
    with lake.writer("replay") as writer:
        writer.append(events)


def attempt_at(job: Job, number: int = 0, replay: str = "mine") -> Attempt:
    return new_attempt(replay, job, number, None)


def test_the_cost_is_the_providers_figure_else_the_price_table_else_the_maximum(
    jobs: list[Job],
) -> None:
    attempt = attempt_at(jobs[0])
    maximum = jobs[0].bounds.cost_microusd

    def cost_of(usage: dict | None) -> tuple[int, str]:
        return outcome_events(attempt, ANSWER._replace(usage=usage)).cost[:2]

    assert cost_of(USAGE | {"cost": 0.0000412}) == (42, "provider")
    assert cost_of(USAGE) == (120, "price_table")
    for hostile in ({"prompt_tokens": -1, "completion_tokens": 10}, {}, None, {"cost": "NaN"}, {"cost": -1}):
        assert cost_of(hostile) == (maximum, "maximum")
    assert outcome_events(attempt, ANSWER._replace(usage=None)).settled_microusd is None


@pytest.mark.parametrize(
    ("failed", "source"),
    [
        (Failed(FailureClass.RATE_LIMITED, 429, ""), "unbilled"),
        (Failed(FailureClass.CONNECTION, None, "", sent=False), "unbilled"),
        (Failed(FailureClass.CONNECTION, None, ""), "maximum"),
        (Failed(FailureClass.TIMEOUT, None, ""), "maximum"),
        (Failed(FailureClass.REFUSAL, 200, "", usage=USAGE), "price_table"),
        (Failed(FailureClass.ERROR_IN_BODY, 200, "", usage={"cost": 0}), "provider"),
    ],
)
def test_a_failure_costs_nothing_only_if_that_is_certain(
    jobs: list[Job], failed: Failed, source: str
) -> None:
    ended = outcome_events(attempt_at(jobs[0]), failed)
    assert ended.cost.source == source
    assert [type(event) for event in ended.events] == [TeacherFailed, TeacherCallSettled]


def test_an_answer_without_an_event_form_is_a_failure_with_its_cost(jobs: list[Job]) -> None:
    broken = ANSWER._replace(message={"role": "assistant", "content": "\ud800"})
    failed, settled = outcome_events(attempt_at(jobs[0]), broken).events
    assert isinstance(failed, TeacherFailed)
    assert failed.failure == "malformed_answer"
    assert isinstance(settled, TeacherCallSettled)
    assert settled.cost_microusd == 120


def test_an_attempt_id_identifies_replay_job_and_number(jobs: list[Job]) -> None:
    names = {
        attempt_at(job, number, replay).attempt_id
        for job in jobs[:2]
        for number in (0, 1)
        for replay in ("a", "b")
    }
    assert len(names) == 8
    assert attempt_at(jobs[0]).attempt_id == attempt_at(jobs[0]).attempt_id


def test_answers_and_refusals_are_not_asked_again(lake: Lake, jobs: list[Job]) -> None:
    def failed(job: Job, failure: FailureClass) -> tuple[Event, ...]:
        return outcome_events(attempt_at(job), Failed(failure, 400, "")).events

    land(
        lake,
        *outcome_events(attempt_at(jobs[0]), ANSWER).events,
        *failed(jobs[1], FailureClass.BAD_REQUEST),
        *failed(jobs[2], FailureClass.MODERATION),
        *failed(jobs[3], FailureClass.TIMEOUT),
        unsent_failure(jobs[4]._replace(unsent="context_too_long"), 0),
    )
    history = read_history(lake)
    found = partition_jobs(jobs, history, retry_failed=False)
    assert (found.known, found.refused, found.left) == (
        jobs[:1],
        [jobs[1], jobs[2], jobs[4]],
        [jobs[3], jobs[5]],
    )
    assert history.attempt_count[jobs[3].key] == 1
    again = partition_jobs(jobs, history, retry_failed=True)
    assert again.left == jobs[1:]


def test_a_job_that_cannot_be_sent_has_one_failure_and_is_never_sent(lake: Lake, jobs: list[Job]) -> None:
    long = [job._replace(unsent="context_too_long") for job in jobs[:1]]
    assert partition_jobs(long, read_history(lake), retry_failed=False).unsent == long
    land(lake, unsent_failure(long[0], 0))
    for retry_failed in (False, True):
        found = partition_jobs(long, read_history(lake), retry_failed=retry_failed)
        assert (found.unsent, found.refused, found.left) == ([], long, [])


def test_after_a_cut_answers_settle_their_attempts_and_the_rest_is_unknown(
    lake: Lake, jobs: list[Job]
) -> None:
    whole, torn, started, silent, other = (attempt_at(job) for job in jobs[:5])
    answer, _ = outcome_events(torn, ANSWER).events
    land(
        lake,
        *(attempt.reserved() for attempt in (whole, torn, started, silent)),
        attempt_at(jobs[4], replay="another").reserved(),
        other.reserved(),
        *outcome_events(whole, ANSWER).events,
        answer,
        TeacherCallStarted(attempt_id=started.attempt_id, response_id="gen-7"),
        *outcome_events(other, Failed(FailureClass.TIMEOUT, None, "")).events,
    )
    read_history(lake)
    account = read_account(lake, "mine")
    assert account.settled_microusd == 240
    assert [(each.attempt_id, each.cost_microusd, each.cost_source) for each in account.due] == [
        (torn.attempt_id, 120, "price_table")
    ]
    assert {each.attempt_id: each.response_id for each in account.unknown} == {
        started.attempt_id: "gen-7",
        silent.attempt_id: None,
        other.attempt_id: None,
    }
    land(lake, *account.due)
    land(lake, TeacherCallSettled(attempt_id=other.attempt_id, cost_microusd=3, cost_source="reconciled"))
    read_history(lake)
    again = read_account(lake, "mine")
    assert (again.settled_microusd, again.due, len(again.unknown)) == (243, (), 2)


def test_harvested_answers_do_not_count_as_bought(lake: Lake, jobs: list[Job]) -> None:
    harvested = TeacherAnswered(
        request_key=jobs[0].request_key, state_key="s", teacher="t", origin="harvested", action_json="{}"
    )
    land(lake, harvested)
    assert partition_jobs(jobs, read_history(lake), retry_failed=False).known == []
