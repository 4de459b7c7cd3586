"""The report of one run of a replay, as its command prints it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from tracelake.producers.teachers.asking.jobs import Job, PricedTeacher
from tracelake.producers.teachers.asking.tiers import TierOutcome
from tracelake.producers.teachers.pricing.prices import MICROUSD_PER_USD, CacheSaving
from tracelake.producers.teachers.run.prepared import Prepared
from tracelake.producers.teachers.run.run_control import RunControl, StopReason
from tracelake.producers.teachers.run.teacher_run import TeacherRun


class _ReportModel(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class TeacherReport(_ReportModel):
    """Of one teacher, of this run alone."""

    name: str
    teacher: str
    """Its name in the lake."""
    attempt_count: int
    answered_count: int
    failures: dict[str, int]
    """Failed attempts by class, including those that were repeated with success."""
    settled_usd: float
    unknown_usd: float
    """Maxima of attempts whose cost is unknown."""
    prompt_token_count: int
    """Where the endpoint reported it."""
    cached_token_count: int
    """Of these, read from the endpoint's cache."""
    cache_saved_usd: float
    """By the price list, against the same prompts without a cache; negative if writing to it cost more."""
    left_count: int
    stopped: str | None
    """The failure after which this teacher was not asked any more: every call would have failed alike."""


class ReplayReport(_ReportModel):
    """Of one run of a replay."""

    replay: str
    question_count: int
    known_count: int
    """Answers that the lake had."""
    refused_count: int
    """Not asked: they failed before, and would fail again."""
    unsent_count: int
    """Not sent: over the window, or of unbounded cost."""
    answered_count: int
    budget_usd: float
    settled_usd: float
    """By all runs of the replay."""
    unknown_usd: float
    """Maxima of attempts whose cost is unknown, of all runs of the replay."""
    reconciled_count: int
    """Attempts whose cost a router reported later."""
    left_count: int
    """Answers that are still missing."""
    left_expected_usd: float
    left_max_usd: float
    stopped: StopReason | None
    stop_detail: str
    teachers: tuple[TeacherReport, ...]
    tiers: tuple[TierOutcome, ...]
    wall_clock_s: float


class Progress(_ReportModel):
    """How far a run has come."""

    done_count: int
    total_count: int
    settled_usd: float
    """Settled and unknown, of all runs of the replay."""
    budget_usd: float
    left_usd: float | None
    """Cost of the rest at the average cost so far; null before the first answer."""


class EndedRun(NamedTuple):
    """A run that is over."""

    replay_id: str
    prepared: Prepared
    teacher_runs: Sequence[TeacherRun]
    """Of each teacher, one per tier in which it was asked."""
    control: RunControl
    tiers: Sequence[TierOutcome]
    reconciled_count: int
    left: Sequence[Job]
    """Jobs without an answer."""
    left_expected_usd: float
    wall_clock_s: float


def report_of(ended: EndedRun) -> ReplayReport:
    found, state = ended.prepared.found, ended.control.budget_state()
    return ReplayReport(
        replay=ended.replay_id,
        question_count=len(ended.prepared.questions),
        known_count=len(found.known),
        refused_count=len(found.refused),
        unsent_count=len(found.unsent),
        answered_count=sum(run.answered_count for run in ended.teacher_runs),
        budget_usd=state.cap / MICROUSD_PER_USD,
        settled_usd=state.settled / MICROUSD_PER_USD,
        unknown_usd=(state.unknown + state.open) / MICROUSD_PER_USD,
        reconciled_count=ended.reconciled_count,
        left_count=len(ended.left),
        left_expected_usd=ended.left_expected_usd,
        left_max_usd=sum(job.bounds.cost_microusd for job in ended.left) / MICROUSD_PER_USD,
        stopped=ended.control.stopped,
        stop_detail=ended.control.stop_detail,
        teachers=tuple(_teacher_report(ended, teacher) for teacher in ended.prepared.teachers),
        tiers=tuple(ended.tiers),
        wall_clock_s=ended.wall_clock_s,
    )


def _teacher_report(ended: EndedRun, teacher: PricedTeacher) -> TeacherReport:
    runs = [run for run in ended.teacher_runs if run.teacher is teacher]
    failures: Counter[str] = Counter()
    cache = CacheSaving()
    for run in runs:
        failures.update(run.failures)
        cache = cache.plus(run.cache)
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
        left_count=sum(job.teacher is teacher for job in ended.left),
        stopped=next((run.stopped for run in runs if run.stopped is not None), None),
    )
