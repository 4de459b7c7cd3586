"""What a replay is to ask: its options, applied to one lake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tracelake.lake import Lake
from tracelake.producers.calling.retry import RetryPolicy
from tracelake.producers.teachers.asking.jobs import Job, JobKey, PricedTeacher, jobs_of, price_teachers
from tracelake.producers.teachers.asking.order import CacheOrder
from tracelake.producers.teachers.asking.questions import Question
from tracelake.producers.teachers.history import (
    Account,
    JobPartition,
    partition_jobs,
    read_account,
    read_history,
)
from tracelake.producers.teachers.spec.teacher_file import TeacherSpec
from tracelake.schemas.canonical import hash_of


class ReplayOptions(NamedTuple):
    """The options of a replay."""

    replay_id: str
    budget_microusd: int = 0
    """Over all runs of the replay."""
    concurrency: int | None = None
    """Of each teacher; null: as many as its endpoint bears."""
    cache_order: CacheOrder = "prefer"
    tiered: bool = False
    retry_failed: bool = False
    arm: str | None = None
    breaks_lock: bool = False
    policy: RetryPolicy = RetryPolicy()


class Prepared(NamedTuple):
    """The jobs of a replay, and the money that its earlier runs spent."""

    questions: Sequence[Question]
    teachers: list[PricedTeacher]
    jobs: list[Job]
    found: JobPartition
    account: Account
    attempt_count: dict[JobKey, int]
    """Per job, the index of its next attempt."""


def prepare(
    lake: Lake, questions: Sequence[Question], specs: Sequence[TeacherSpec], options: ReplayOptions
) -> Prepared:
    """Projects landed events first. Raises BadInputError for a teacher without a price."""
    teachers = price_teachers(specs)
    jobs = jobs_of(questions, teachers)
    history = read_history(lake)
    found = partition_jobs(jobs, history, retry_failed=options.retry_failed)
    account = read_account(lake, options.replay_id)
    return Prepared(questions, teachers, jobs, found, account, dict(history.attempt_count))


def default_name(specs: Sequence[TeacherSpec], traces: str) -> str:
    """The same for the same teachers, sampling and traces, so that the same command continues its replay."""
    asked = [[spec.identity(), spec.sampling.model_dump(mode="json")] for spec in specs]
    return f"replay-{hash_of([asked, traces.strip()])[:10]}"
