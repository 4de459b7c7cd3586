"""What future calls of one teacher will use and cost.

**Prompts are estimated from the requests themselves; completions and latencies from this teacher's recorded
answers**, or from stated assumptions if there are too few.
**An interval is not a bound**: the bound is `max_cost_microusd`, which the budget reserves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tracelake.lake import Lake
from tracelake.producers.teachers.asking.jobs import Job, PricedTeacher
from tracelake.producers.teachers.pricing.prices import exact_cost_usd
from tracelake.producers.teachers.pricing.token_estimate import Estimate, estimate
from tracelake.producers.teachers.pricing.usage import Usage

if TYPE_CHECKING:
    import polars as pl

LATENCY_ASSUMED_S = 15.0
COMPLETION_ASSUMED = 400
ANSWER_COUNT_MIN = 5
"""With fewer recorded answers, the assumptions are used."""
LOW_SHARE, HIGH_SHARE = 0.1, 0.9
NOTHING = Estimate(0, 0, 0)


class ObservedUsage(NamedTuple):
    """What one call of a teacher uses on average, apart from its prompt."""

    completion_token_count: Estimate | None
    """None: derived from the student's own completion, from half of it to three times."""
    cached_share: float
    """Share of the prompt that the provider reads from its cache."""
    latency_s: float
    answer_count: int
    """Recorded answers behind these figures; 0: all of them are assumed."""


ASSUMED_USAGE = ObservedUsage(None, 0.0, LATENCY_ASSUMED_S, 0)


class Forecast(NamedTuple):
    """Of all calls of one teacher."""

    call_count: int
    prompt_tokens: Estimate
    completion_tokens: Estimate
    cost_usd: Estimate
    max_cost_microusd: int
    wall_clock_s: float


def observed_usage(lake: Lake, teacher: PricedTeacher) -> ObservedUsage:
    """From the tables as they are; nothing is projected."""
    import polars as pl

    asked = lake.scan("teacher_answered").filter(
        pl.col("teacher") == teacher.name, pl.col("origin") == "asked"
    )
    columns = ("completion_token_count", "prompt_token_count", "cached_token_count", "latency_ms")
    answers = asked.select(columns).collect()
    if answers.height < ANSWER_COUNT_MIN:
        return ASSUMED_USAGE
    both = answers.drop_nulls(("prompt_token_count", "cached_token_count"))
    prompt, cached = (int(both[name].sum()) for name in ("prompt_token_count", "cached_token_count"))
    latency = answers["latency_ms"].mean()
    return ObservedUsage(
        completion_token_count=_completion_range(answers["completion_token_count"].drop_nulls()),
        cached_share=cached / prompt if prompt else 0.0,
        latency_s=LATENCY_ASSUMED_S if latency is None else float(latency) / 1000,  # pyright: ignore
        answer_count=answers.height,
    )


def forecast(jobs: Sequence[Job], observed: ObservedUsage, concurrency: int) -> Forecast:
    """`jobs` are those of one teacher, in the order of asking."""
    prompts, completions, costs, maximum = NOTHING, NOTHING, NOTHING, 0
    previous_rollout, previous_prompt = "", 0
    for job in jobs:
        prompt, completion = estimate(job.body()), _completion(job, observed)
        shared = previous_prompt if job.question.rollout_id == previous_rollout else 0
        prompts, completions = prompts.plus(prompt), completions.plus(completion)
        costs = costs.plus(_cost(job.teacher, prompt, completion, observed.cached_share, shared))
        maximum += job.bounds.cost_microusd
        previous_rollout, previous_prompt = job.question.rollout_id, int(prompt.low)
    seconds = len(jobs) * observed.latency_s / concurrency
    if jobs and (pace := jobs[0].teacher.spec.limits.requests_per_minute) is not None:
        seconds = max(seconds, len(jobs) * 60 / pace)
    return Forecast(len(jobs), prompts, completions, costs, maximum, seconds)


def _completion_range(counts: pl.Series) -> Estimate | None:
    if not len(counts):
        return None
    mean = float(counts.mean())  # pyright: ignore
    low, high = (counts.quantile(share, "nearest") or 0 for share in (LOW_SHARE, HIGH_SHARE))
    return Estimate(mean, min(float(low), mean), max(float(high), mean))


def _completion(job: Job, observed: ObservedUsage) -> Estimate:
    limit = job.teacher.spec.sampling.max_tokens
    counts = observed.completion_token_count
    if counts is None:
        own = job.question.completion_token_count or COMPLETION_ASSUMED
        counts = Estimate(own, own / 2, own * 3)
    return Estimate(*(min(count, limit) for count in counts))


def _cost(
    teacher: PricedTeacher, prompt: Estimate, completion: Estimate, cached_share: float, shared: int
) -> Estimate:
    """Low: all that the turn before had in its prompt (`shared`) is read from the cache. High: nothing is."""
    cached = (prompt.expected * cached_share, min(shared, prompt.low), 0.0)
    written = (0.0, 0.0, prompt.high if teacher.spec.marks_cache else 0.0)
    counts = zip(prompt, cached, written, completion, strict=True)
    usages = (Usage(*(round(count) for count in each)) for each in counts)
    return Estimate(*(float(exact_cost_usd(teacher.prices, usage)) for usage in usages))
