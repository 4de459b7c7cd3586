"""The report of one run, from what its teachers did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tracelake.producers.teachers.asking.jobs import Job, PricedTeacher
from tracelake.producers.teachers.asking.tiers import TierOutcome
from tracelake.producers.teachers.pricing.cache_saving import CacheSaving
from tracelake.producers.teachers.pricing.prices import MICROUSD_PER_USD
from tracelake.producers.teachers.run.prepared import Prepared
from tracelake.producers.teachers.run.replay_report import ReplayReport, TeacherReport
from tracelake.producers.teachers.run.run_control import Room
from tracelake.producers.teachers.run.teacher_run import TeacherRun


class Ended(NamedTuple):
    """A run that is over."""

    replay_id: str
    prepared: Prepared
    runs: Sequence[TeacherRun]
    """Of each teacher, one per tier in which it was asked."""
    room: Room
    tiers: Sequence[TierOutcome]
    reconciled_count: int
    wall_clock_s: float

    def left(self) -> list[Job]:
        """Jobs that another run may bring an answer to."""
        return [job for run in self.runs for job in run.left()]


def report_of(ended: Ended, left_expected_usd: float) -> ReplayReport:
    found, state, left = ended.prepared.found, ended.room.state(), ended.left()
    return ReplayReport(
        replay=ended.replay_id,
        question_count=len(ended.prepared.questions),
        known_count=len(found.known),
        refused_count=len(found.refused),
        unsent_count=len(found.unsent),
        answered_count=sum(run.answered_count for run in ended.runs),
        budget_usd=state.cap / MICROUSD_PER_USD,
        settled_usd=state.settled / MICROUSD_PER_USD,
        unknown_usd=(state.unknown + state.open) / MICROUSD_PER_USD,
        reconciled_count=ended.reconciled_count,
        left_count=len(left),
        left_expected_usd=left_expected_usd,
        left_max_usd=sum(job.bounds.cost_microusd for job in left) / MICROUSD_PER_USD,
        stopped=ended.room.stopped,
        stop_detail=ended.room.stop_detail,
        teachers=tuple(_of_teacher(ended, teacher) for teacher in ended.prepared.teachers),
        tiers=tuple(ended.tiers),
        wall_clock_s=ended.wall_clock_s,
    )


def _of_teacher(ended: Ended, teacher: PricedTeacher) -> TeacherReport:
    runs = [run for run in ended.runs if run.teacher is teacher]
    failures: Counter[str] = Counter()
    for run in runs:
        failures.update(run.failures)
    cache = CacheSaving()
    for run in runs:
        cache = cache.with_all(run.cache)
    unknown = sum(attempt.max_cost_microusd for run in runs for attempt in run.unknown)
    return TeacherReport(
        name=teacher.spec.name,
        teacher=teacher.name,
        attempt_count=sum(run.attempt_count for run in runs),
        answered_count=sum(run.answered_count for run in runs),
        failures=dict(failures),
        settled_usd=sum(run.settled_microusd for run in runs) / MICROUSD_PER_USD,
        unknown_usd=unknown / MICROUSD_PER_USD,
        prompt_token_count=cache.prompt_token_count,
        cached_token_count=cache.cached_token_count,
        cache_saved_usd=float(cache.saved_usd),
        left_count=sum(len(run.left()) for run in runs),
        stopped=next((run.stopped for run in runs if run.stopped is not None), None),
    )
