"""What calls that were not made yet will use and cost, as far as the lake can say.

**Prompts are estimated from what will be sent; completions and latencies from this teacher's own answers in
the lake**, else from assumptions that are said.
**An interval is not a bound**: the maximum is, and it is what the budget holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from tracelake.lake import Lake
from tracelake.producers.teachers.asking.jobs import Job, PricedTeacher
from tracelake.producers.teachers.pricing.prices import exact_cost_usd
from tracelake.producers.teachers.pricing.token_estimate import estimate
from tracelake.producers.teachers.pricing.usage import Usage
from tracelake.schemas.errors import TableMissingError

if TYPE_CHECKING:
    import polars as pl

LATENCY_ASSUMED_S = 15.0
COMPLETION_ASSUMED = 400
ANSWERS_WANTED = 5
"""Fewer recorded answers than these say too little."""
LOW_SHARE, HIGH_SHARE = 0.1, 0.9


class Range(NamedTuple):
    """A sum over calls."""

    expected: float
    low: float
    high: float

    def plus(self, other: Range) -> Range:
        return Range(*(one + more for one, more in zip(self, other, strict=True)))


NOTHING = Range(0, 0, 0)


class Habits(NamedTuple):
    """What one call of a teacher is like, beside its prompt."""

    completion_token_count: Range | None
    """Null: the student's own completion tells, from half of it to three times."""
    cached_share: float
    """Part of the prompt that the provider reads from its cache."""
    latency_s: float
    answer_count: int
    """Recorded answers that say so; 0: all of it is assumed."""


class Forecast(NamedTuple):
    """Of calls of one teacher."""

    call_count: int
    prompt_tokens: Range
    completion_tokens: Range
    cost_usd: Range
    max_cost_microusd: int
    wall_clock_s: float


def habits_of(lake: Lake, teacher: PricedTeacher) -> Habits:
    """As the tables stand."""
    import polars as pl

    try:
        told = lake.scan("teacher_answered").filter(
            pl.col("teacher") == teacher.name, pl.col("origin") == "asked"
        )
        columns = ("completion_token_count", "prompt_token_count", "cached_token_count", "latency_ms")
        answers = told.select(columns).collect()
    except TableMissingError:
        return Habits(None, 0.0, LATENCY_ASSUMED_S, 0)
    if answers.height < ANSWERS_WANTED:
        return Habits(None, 0.0, LATENCY_ASSUMED_S, 0)
    return _recorded(answers)


def forecast(jobs: Sequence[Job], habits: Habits, concurrency: int) -> Forecast:
    """Of jobs of one teacher, in the order in which they are asked."""
    prompts, completions, costs, maximum = NOTHING, NOTHING, NOTHING, 0
    before: tuple[str, int] = ("", 0)
    for job in jobs:
        prompt = Range(*estimate(job.body()))
        rollout, warm = job.question.rollout_id, before[1] if before[0] == job.question.rollout_id else 0
        completion = _completion(job, habits)
        prompts, completions = prompts.plus(prompt), completions.plus(completion)
        costs = costs.plus(_cost(job.teacher, prompt, completion, habits.cached_share, warm))
        maximum += job.bounds.cost_microusd
        before = (rollout, int(prompt.low))
    seconds = len(jobs) * habits.latency_s / concurrency
    if jobs and (pace := jobs[0].teacher.spec.limits.requests_per_minute) is not None:
        seconds = max(seconds, len(jobs) * 60 / pace)
    return Forecast(len(jobs), prompts, completions, costs, maximum, seconds)


def _recorded(answers: pl.DataFrame) -> Habits:
    completion = answers["completion_token_count"].drop_nulls()
    used = None
    if len(completion):
        mean, low = float(completion.mean()), completion.quantile(LOW_SHARE, "nearest")  # pyright: ignore
        high = completion.quantile(HIGH_SHARE, "nearest")
        used = Range(mean, min(float(low or 0), mean), max(float(high or 0), mean))
    both = answers.drop_nulls(("prompt_token_count", "cached_token_count"))
    prompt, cached = (int(both[name].sum()) for name in ("prompt_token_count", "cached_token_count"))
    latency = answers["latency_ms"].mean()
    return Habits(
        used,
        cached / prompt if prompt else 0.0,
        LATENCY_ASSUMED_S if latency is None else float(latency) / 1000,  # pyright: ignore
        answers.height,
    )


def _completion(job: Job, habits: Habits) -> Range:
    limit = job.teacher.spec.sampling.max_tokens
    counts = habits.completion_token_count
    if counts is None:
        own = job.question.completion_token_count or COMPLETION_ASSUMED
        counts = Range(own, own / 2, own * 3)
    return Range(*(min(count, limit) for count in counts))


def _cost(teacher: PricedTeacher, prompt: Range, completion: Range, cached_share: float, warm: int) -> Range:
    """Low: what the turn before had in its prompt is read from the cache. High: all of it is paid anew."""
    cached = (prompt.expected * cached_share, min(warm, prompt.low), 0.0)
    written = (0.0, 0.0, prompt.high if teacher.spec.marks_cache else 0.0)
    counts = zip(prompt, cached, written, completion, strict=True)
    usages = (Usage(*(round(count) for count in each)) for each in counts)
    costs = [exact_cost_usd(teacher.prices, usage) for usage in usages]
    return Range(*(float(Decimal(cost)) for cost in costs))
