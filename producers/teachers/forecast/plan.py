"""What a replay would do, use and cost, before anything is sent.

**The same jobs are planned as are asked**: a plan reads the lake and sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from tracelake.lake import Lake
from tracelake.producers.teachers.asking.jobs import PricedTeacher
from tracelake.producers.teachers.asking.questions import Question
from tracelake.producers.teachers.forecast.forecast import Forecast, Range, forecast, habits_of
from tracelake.producers.teachers.history import JobPartition
from tracelake.producers.teachers.pricing.prices import MICROUSD_PER_USD

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
    """In the lake."""
    tier: int
    call_count: int
    """Left to be made."""
    known_count: int
    """The lake holds the answer."""
    refused_count: int
    """Failed before, and would again."""
    unsent_count: int
    """Too long for the teacher, or of unbounded cost: not sent."""
    shortened_count: int
    """Of the calls: contexts that are cut to fit."""
    prompt_tokens: Interval
    completion_tokens: Interval
    cost_usd: Interval
    max_cost_usd: float
    wall_clock_s: float
    price: str
    """Where prices come from."""
    basis: str
    """What completions and latency were taken from."""


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
    """Maxima of attempts of which nobody knows the cost."""
    budget_left_usd: float
    wall_clock_s: float
    """Teachers are asked side by side: the slowest one's."""
    notes: tuple[str, ...]


class Money(BaseModel):
    """A replay's money, micro-dollars."""

    model_config = ConfigDict(frozen=True)

    cap: int
    settled: int
    unknown: int


def make_plan(
    lake: Lake,
    replay_id: str,
    questions: Sequence[Question],
    teachers: Sequence[PricedTeacher],
    found: JobPartition,
    money: Money,
    concurrency: int | None = None,
) -> ReplayPlan:
    """As the tables stand."""
    plans = [_plan(lake, teacher, found, concurrency) for teacher in teachers]
    cost = Range(0, 0, 0)
    for plan in plans:
        cost = cost.plus(Range(plan.cost_usd.expected, plan.cost_usd.low, plan.cost_usd.high))
    return ReplayPlan(
        replay=replay_id,
        trace_count=len({question.rollout_id for question in questions}),
        question_count=len(questions),
        teachers=tuple(plans),
        call_count=sum(plan.call_count for plan in plans),
        cost_usd=_interval(cost),
        max_cost_usd=sum(plan.max_cost_usd for plan in plans),
        budget_usd=money.cap / MICROUSD_PER_USD,
        settled_usd=money.settled / MICROUSD_PER_USD,
        unknown_usd=money.unknown / MICROUSD_PER_USD,
        budget_left_usd=max(money.cap - money.settled - money.unknown, 0) / MICROUSD_PER_USD,
        wall_clock_s=max((plan.wall_clock_s for plan in plans), default=0.0),
        notes=tuple(_notes(questions)),
    )


def _plan(lake: Lake, teacher: PricedTeacher, found: JobPartition, concurrency: int | None) -> TeacherPlan:
    mine = JobPartition(*([job for job in jobs if job.teacher is teacher] for jobs in found))
    habits = habits_of(lake, teacher)
    at_once = concurrency or teacher.spec.limits.concurrency_max or CONCURRENCY_ASSUMED
    ahead: Forecast = forecast(mine.left, habits, at_once)
    return TeacherPlan(
        name=teacher.spec.name,
        teacher=teacher.name,
        tier=teacher.spec.tier,
        call_count=ahead.call_count,
        known_count=len(mine.known),
        refused_count=len(mine.refused),
        unsent_count=len(mine.unsent),
        shortened_count=sum(job.context_rule is not None for job in mine.left),
        prompt_tokens=_interval(ahead.prompt_tokens),
        completion_tokens=_interval(ahead.completion_tokens),
        cost_usd=_interval(ahead.cost_usd),
        max_cost_usd=ahead.max_cost_microusd / MICROUSD_PER_USD,
        wall_clock_s=ahead.wall_clock_s,
        price=teacher.prices.source,
        basis=_basis(habits.answer_count, habits.latency_s, at_once),
    )


def _basis(answer_count: int, latency_s: float, at_once: int) -> str:
    pace = f"{at_once} calls at a time of {latency_s:.3g} s"
    if answer_count:
        return f"{answer_count} recorded answers; {pace}"
    return f"assumed: nothing read from a cache, completions of half to three times the student's; {pace}"


def _notes(questions: Sequence[Question]) -> list[str]:
    bare = sum(not question.tools and _uses_tools(question) for question in questions)
    if not bare:
        return []
    return [f"{bare} of {len(questions)} contexts use tools whose definitions the traces do not hold"]


def _uses_tools(question: Question) -> bool:
    return any(message.get("tool_calls") for message in question.messages)


def _interval(range_: Range) -> Interval:
    return Interval(**{name: round(value, 6) for name, value in range_._asdict().items()})
