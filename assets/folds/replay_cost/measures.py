"""Dollars, seconds and answers of a replay, as arrays over traces, turns and teachers, and their statistics.

Shapes: T traces that every measured teacher was asked about as a whole, U turns of these traces, K teachers.

**Traces are the independent units**: turns of one trace are alike, so they are resampled together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracelake.assets.folds.replay_cost.cost_model import (
    CostSpec,
    DollarsPerTrace,
    Finding,
    Findings,
    MeasuredCost,
    SecondsPerTurn,
)
from tracelake.assets.folds.statistics.contrast import Floats, bootstrap, chunk_sizes, estimate
from tracelake.schemas.experiments.cost_experiment import CostRule

MICROUSD_PER_USD = 1_000_000
_TAIL = 0.95


class CostArrays(NamedTuple):
    teachers: list[str]
    """[K]"""
    traces: list[str]
    """[T]"""
    turn_traces: NDArray[np.int64]
    """[U], positions in `traces`"""
    known_usd: Floats
    """[T, K]"""
    unknown_usd: Floats
    """[T, K], upper bound"""
    seconds: Floats
    """[U, K]; NaN without a recorded latency"""
    answered: NDArray[np.bool_]
    """[U, K]"""


def cost_arrays(
    turns: pl.DataFrame,
    reserved: pl.DataFrame,
    spend: pl.DataFrame,
    answered: pl.DataFrame,
    failed: pl.DataFrame,
    teachers: Sequence[str],
) -> CostArrays:
    """Traces, turns and costs of the traces that all `teachers` were asked about as a whole. `spend` is
    `teacher_spend` of these attempts."""
    results = _question_results(reserved, answered, failed)
    grid = turns.select("rollout_id", "turn_index", "state_key").join(
        pl.DataFrame({"teacher": list(teachers)}, {"teacher": pl.String}), how="cross"
    )
    questions = grid.join(results, on=["state_key", "teacher"], how="left")
    whole = pl.col("is_answered").is_not_null().all().over("rollout_id")
    order = pl.col("teacher").cast(pl.Enum(list(teachers)))
    asked = questions.filter(whole).sort("rollout_id", "turn_index", order)
    traces = asked["rollout_id"].unique().sort()
    shape = (-1, max(1, len(teachers)))
    of_turns = (
        asked["rollout_id"].to_numpy().reshape(shape)[:, 0] if asked.height else np.array([], dtype=str)
    )
    seconds = asked["seconds"].to_numpy().astype(np.float64).reshape(shape)
    is_answered = asked["is_answered"].fill_null(False).to_numpy().astype(np.bool_).reshape(shape)
    positions = np.searchsorted(traces.to_numpy().astype(str), of_turns.astype(str)).astype(np.int64)
    known, unknown = (
        _dollars(spend, traces, teachers, name) for name in ("settled_microusd", "unknown_microusd")
    )
    return CostArrays(list(teachers), traces.to_list(), positions, known, unknown, seconds, is_answered)


def measured_cost(arrays: CostArrays, teachers: Sequence[str], spec: CostSpec) -> MeasuredCost:
    """Of some of the teachers, all together. There must be at least one trace."""
    columns = [arrays.teachers.index(teacher) for teacher in teachers]
    known = arrays.known_usd[:, columns].sum(axis=1)
    most = known + arrays.unknown_usd[:, columns].sum(axis=1)
    lower, upper = dollars_per_trace(known, spec.rule), dollars_per_trace(most, spec.rule)
    slowest = np.fmax.reduce(arrays.seconds[:, columns], axis=1)
    seconds = _seconds_per_turn(slowest, arrays.turn_traces, len(arrays.traces), spec.rule)
    answered = arrays.answered[:, columns]
    limits = spec.thresholds
    return MeasuredCost(
        teachers=tuple(teachers),
        dollars_per_trace=lower,
        dollars_per_trace_max=upper,
        traces_above_count=int((most > limits.dollars_per_trace_max).sum()),
        seconds_per_turn=seconds,
        question_count=answered.size,
        answered_share=float(answered.mean()),
        findings=Findings(
            dollars=_finding(lower.interval_low, upper.interval_high, limits.dollars_per_trace_max),
            seconds="open"
            if seconds is None
            else _finding(seconds.p95_low, seconds.p95_high, limits.seconds_per_turn_max),
            answers="holds" if answered.mean() >= limits.answered_share_min else "fails",
        ),
    )


def dollars_per_trace(values: Floats, rule: CostRule) -> DollarsPerTrace:
    """Distribution of one value per trace, none below 0."""
    codes = np.arange(len(values))
    fitted = estimate(values[None, :], codes, alpha=rule.alpha, value_range=float(values.max()))
    drawn = bootstrap(
        values[None, :],
        codes,
        alpha=rule.alpha,
        standard_error=fitted.standard_error,
        resample_count=rule.resample_count,
        seed=rule.bootstrap_seed,
    )
    low = drawn.percentile_low if drawn.bca_low is None else drawn.bca_low
    high = drawn.percentile_high if drawn.bca_high is None else drawn.bca_high
    return DollarsPerTrace(
        mean=fitted.mean,
        interval_low=max(0.0, min(fitted.low, low)),
        interval_high=max(fitted.high, high),
        median=float(np.median(values)),
        p95=float(np.quantile(values, _TAIL)),
    )


def _finding(low: float, high: float, limit: float) -> Finding:
    if high < limit:
        return "holds"
    return "fails" if low >= limit else "open"


def _seconds_per_turn(
    seconds: Floats, turn_traces: NDArray[np.int64], trace_count: int, rule: CostRule
) -> SecondsPerTurn | None:
    recorded = ~np.isnan(seconds)
    if not recorded.any():
        return None
    order = np.argsort(seconds[recorded], kind="stable")
    values, traces = seconds[recorded][order], turn_traces[recorded][order]
    generator = np.random.default_rng(rule.bootstrap_seed)
    tails: list[Floats] = []
    for count in chunk_sizes(rule.resample_count, len(values)):
        drawn = generator.multinomial(trace_count, np.full(trace_count, 1 / trace_count), size=count)
        reached = np.cumsum(drawn[:, traces], axis=1)
        # A draw of traces without any recorded latency has no percentile.
        reached = reached[reached[:, -1] > 0]
        tails.append(values[np.argmax(reached >= _TAIL * reached[:, -1:], axis=1)])
    low, high = np.quantile(np.concatenate(tails), [rule.alpha / 2, 1 - rule.alpha / 2])
    p50, p95 = np.quantile(values, [0.5, _TAIL])
    return SecondsPerTurn(
        p50=float(p50), p95=float(p95), p95_low=min(float(low), p95), p95_high=max(float(high), p95)
    )


def _question_results(reserved: pl.DataFrame, answered: pl.DataFrame, failed: pl.DataFrame) -> pl.DataFrame:
    """One row per question: `state_key`, `teacher`, `is_answered`, `seconds`."""
    columns = ["attempt_id", "latency_ms"]
    ended = pl.concat(
        [
            answered.select(*columns, pl.lit(True).alias("is_answered")),
            failed.select(*columns, pl.lit(False).alias("is_answered")),
        ]
    )
    attempts = reserved.select("attempt_id", "state_key", "teacher", "request_key", "sample_index")
    calls = attempts.join(ended, on="attempt_id", how="inner")
    latency = pl.when(pl.col("latency_ms").count() > 0).then(pl.col("latency_ms").sum() / 1000)
    per_answer = calls.group_by("state_key", "teacher", "request_key", "sample_index").agg(
        latency.alias("seconds"), pl.col("is_answered").any()
    )
    # A request that cannot be sent has no attempt.
    unsent = failed.filter(pl.col("attempt_id").is_null()).select(
        "state_key",
        "teacher",
        "request_key",
        "sample_index",
        pl.lit(None, pl.Float64).alias("seconds"),
        pl.lit(False).alias("is_answered"),
    )
    return (
        pl.concat([per_answer, unsent.select(per_answer.columns)])
        .group_by("state_key", "teacher")
        .agg(pl.col("seconds").max(), pl.col("is_answered").any())
    )


def _dollars(spend: pl.DataFrame, traces: pl.Series, teachers: Sequence[str], name: str) -> Floats:
    """[T, K]"""
    sums = spend.group_by("rollout_id", "teacher").agg(pl.col(name).sum())
    by_cell = {(rollout, teacher): value for rollout, teacher, value in sums.iter_rows()}
    cells = [[by_cell.get((trace, teacher), 0) for teacher in teachers] for trace in traces]
    return np.array(cells, dtype=np.float64).reshape(len(traces), len(teachers)) / MICROUSD_PER_USD
