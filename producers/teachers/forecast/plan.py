"""What a replay would do, use and cost, before anything is sent.

**A plan covers exactly the jobs that the replay would ask**: it reads the lake and sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from tracelake.lake import Lake
from tracelake.producers.teachers.asking.jobs import PricedTeacher
from tracelake.producers.teachers.asking.questions import Question
from tracelake.producers.teachers.forecast.forecast import NOTHING, forecast, observed_usage
from tracelake.producers.teachers.history import JobPartition
from tracelake.producers.teachers.pricing.budget import BudgetState
from tracelake.producers.teachers.pricing.prices import MICROUSD_PER_USD
from tracelake.producers.teachers.pricing.token_estimate import Estimate

CONCURRENCY_ASSUMED = 16


class Interval(BaseModel):
    model_config = ConfigDict(frozen=True)

    expected: float
    low: float
    high: float


class TeacherPlan(BaseModel):
    """Of one teacher."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    name: str
    teacher: str
    """Its name in the lake."""
    tier: int
    call_count: int
    """Calls that the replay would make."""
    known_count: int
    """Answers that the lake has."""
    refused_count: int
    """Requests that failed before, and would fail again."""
    unsent_count: int
    """Too long for the teacher, or of unbounded cost: not sent."""
    shortened_count: int
    """Calls whose context is shortened to fit."""
    prompt_tokens: Interval
    completion_tokens: Interval
    cost_usd: Interval
    max_cost_usd: float
    wall_clock_s: float
    price: str
    """Source of the prices."""
    basis: str
    """Source of the figures for completions and latency."""


class ReplayPlan(BaseModel):
    """What is left of a replay."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    replay: str
    trace_count: int
    question_count: int
    teachers: tuple[TeacherPlan, ...]
    call_count: int
    cost_usd: Interval
    max_cost_usd: float
    budget_usd: float
    settled_usd: float
    unknown_usd: float
    """Maxima of attempts whose cost is unknown."""
    budget_left_usd: float
    wall_clock_s: float
    """The slowest teacher's: teachers are asked in parallel."""
    notes: tuple[str, ...]


def make_plan(
    lake: Lake,
    replay_id: str,
    questions: Sequence[Question],
    teachers: Sequence[PricedTeacher],
    found: JobPartition,
    budget: BudgetState,
    concurrency: int | None = None,
) -> ReplayPlan:
    """From the tables as they are; nothing is projected."""
    plans = [_teacher_plan(lake, teacher, found, concurrency) for teacher in teachers]
    cost = NOTHING
    for plan in plans:
        cost = cost.plus(Estimate(plan.cost_usd.expected, plan.cost_usd.low, plan.cost_usd.high))
    undefined = sum(not question.tools and _uses_tools(question) for question in questions)
    note = f"{undefined} of {len(questions)} contexts use tools whose definitions the traces do not have"
    return ReplayPlan(
        replay=replay_id,
        trace_count=len({question.rollout_id for question in questions}),
        question_count=len(questions),
        teachers=tuple(plans),
        call_count=sum(plan.call_count for plan in plans),
        cost_usd=_interval(cost),
        max_cost_usd=sum(plan.max_cost_usd for plan in plans),
        budget_usd=budget.cap / MICROUSD_PER_USD,
        settled_usd=budget.settled / MICROUSD_PER_USD,
        unknown_usd=budget.unknown / MICROUSD_PER_USD,
        budget_left_usd=budget.left / MICROUSD_PER_USD,
        wall_clock_s=max((plan.wall_clock_s for plan in plans), default=0.0),
        notes=(note,) if undefined else (),
    )


def _teacher_plan(
    lake: Lake, teacher: PricedTeacher, found: JobPartition, concurrency: int | None
) -> TeacherPlan:
    own = JobPartition(*([job for job in jobs if job.teacher is teacher] for jobs in found))
    observed = observed_usage(lake, teacher)
    at_once = concurrency or teacher.spec.limits.concurrency_max or CONCURRENCY_ASSUMED
    expected = forecast(own.left, observed, at_once)
    basis = (
        f"{observed.answer_count} recorded answers"
        if observed.answer_count
        else "assumed: nothing read from a cache, completions of half to three times the student's"
    )
    return TeacherPlan(
        name=teacher.spec.name,
        teacher=teacher.name,
        tier=teacher.spec.tier,
        call_count=expected.call_count,
        known_count=len(own.known),
        refused_count=len(own.refused),
        unsent_count=len(own.unsent),
        shortened_count=sum(job.context_rule is not None for job in own.left),
        prompt_tokens=_interval(expected.prompt_tokens),
        completion_tokens=_interval(expected.completion_tokens),
        cost_usd=_interval(expected.cost_usd),
        max_cost_usd=expected.max_cost_microusd / MICROUSD_PER_USD,
        wall_clock_s=expected.wall_clock_s,
        price=teacher.prices.source,
        basis=f"{basis}; {at_once} calls at a time of {observed.latency_s:.3g} s",
    )


def _uses_tools(question: Question) -> bool:
    return any(message.get("tool_calls") for message in question.messages)


def _interval(estimate: Estimate) -> Interval:
    return Interval(**{name: round(value, 6) for name, value in estimate._asdict().items()})
