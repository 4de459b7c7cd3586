"""Dollars, seconds and answers of a replay, as arrays over traces, turns and teachers, and their statistics.

Shapes: T traces that every judged teacher was asked about as a whole, U turns of these traces, K teachers.

**Traces are the units of chance**: turns of one trace are alike, so they are resampled together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracelake.assets.folds.replay_cost.model import CostSpec, Finding, Findings, Measured, Pace, Spread
from tracelake.assets.folds.statistics.contrast import bootstrap, estimate
from tracelake.assets.folds.statistics.exact_tests import Floats, chunk_sizes
from tracelake.schemas.experiments.cost_experiment import CostRule

MICROUSD_PER_USD = 1_000_000
_TAIL = 0.95


class Cells(NamedTuple):
    teachers: list[str]
    """[K]"""
    traces: list[str]
    """[T]"""
    turn_traces: NDArray[np.int64]
    """[U], positions in `traces`"""
    known_usd: Floats
    """[T, K]"""
    unknown_usd: Floats
    """[T, K], at most"""
    seconds: Floats
    """[U, K]; NaN where no latency was told"""
    answered: NDArray[np.bool_]
    """[U, K]"""


def cells_of(
    turns: pl.DataFrame,
    reserved: pl.DataFrame,
    spend: pl.DataFrame,
    answered: pl.DataFrame,
    failed: pl.DataFrame,
    teachers: Sequence[str],
) -> Cells:
    """`spend`: of these attempts, as `tracelake.assets.folds.replay_cost.teacher_spend` makes it."""
    outcomes = _outcomes(reserved, answered, failed)
    grid = turns.select("rollout_id", "turn_index", "state_key").join(
        pl.DataFrame({"teacher": list(teachers)}, {"teacher": pl.String}), how="cross"
    )
    told = grid.join(outcomes, on=["state_key", "teacher"], how="left")
    whole = pl.col("is_answered").is_not_null().all().over("rollout_id")
    order = pl.col("teacher").cast(pl.Enum(list(teachers)))
    kept = told.filter(whole).sort("rollout_id", "turn_index", order)
    traces = kept["rollout_id"].unique().sort()
    shape = (-1, max(1, len(teachers)))
    place = kept["rollout_id"].to_numpy().reshape(shape)[:, 0] if kept.height else np.array([], dtype=str)
    seconds = kept["seconds"].to_numpy().astype(np.float64).reshape(shape)
    is_answered = kept["is_answered"].fill_null(False).to_numpy().astype(np.bool_).reshape(shape)
    positions = np.searchsorted(traces.to_numpy().astype(str), place.astype(str)).astype(np.int64)
    known, unknown = (
        _dollars(spend, traces, teachers, name) for name in ("settled_microusd", "unknown_microusd")
    )
    return Cells(list(teachers), traces.to_list(), positions, known, unknown, seconds, is_answered)


def measure(cells: Cells, teachers: Sequence[str], spec: CostSpec) -> Measured:
    """Of some of the teachers, all together. There has to be a trace."""
    columns = [cells.teachers.index(teacher) for teacher in teachers]
    known = cells.known_usd[:, columns].sum(axis=1)
    most = known + cells.unknown_usd[:, columns].sum(axis=1)
    lower, upper = spread_of(known, spec.rule), spread_of(most, spec.rule)
    slowest = np.fmax.reduce(cells.seconds[:, columns], axis=1)
    pace = _pace(slowest, cells.turn_traces, len(cells.traces), spec.rule)
    answered = cells.answered[:, columns]
    limits = spec.thresholds
    return Measured(
        teachers=tuple(teachers),
        dollars_per_trace=lower,
        dollars_per_trace_max=upper,
        traces_above_count=int((most > limits.dollars_per_trace_max).sum()),
        seconds_per_turn=pace,
        question_count=answered.size,
        answered_share=float(answered.mean()),
        findings=Findings(
            dollars=_against(lower.interval_low, upper.interval_high, limits.dollars_per_trace_max),
            seconds="open"
            if pace is None
            else _against(pace.p95_low, pace.p95_high, limits.seconds_per_turn_max),
            answers="holds" if answered.mean() >= limits.answered_share_min else "fails",
        ),
    )


def spread_of(values: Floats, rule: CostRule) -> Spread:
    """Of one value per trace, none below 0."""
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
    return Spread(
        mean=fitted.mean,
        interval_low=max(0.0, min(fitted.low, low)),
        interval_high=max(fitted.high, high),
        median=float(np.median(values)),
        p95=float(np.quantile(values, _TAIL)),
    )


def _against(low: float, high: float, limit: float) -> Finding:
    if high < limit:
        return "holds"
    return "fails" if low >= limit else "open"


def _pace(seconds: Floats, places: NDArray[np.int64], trace_count: int, rule: CostRule) -> Pace | None:
    told = ~np.isnan(seconds)
    if not told.any():
        return None
    order = np.argsort(seconds[told], kind="stable")
    values, owners = seconds[told][order], places[told][order]
    generator = np.random.default_rng(rule.bootstrap_seed)
    tails: list[Floats] = []
    for count in chunk_sizes(rule.resample_count, len(values)):
        drawn = generator.multinomial(trace_count, np.full(trace_count, 1 / trace_count), size=count)
        reached = np.cumsum(drawn[:, owners], axis=1)
        # A draw of traces without any told latency has no percentile.
        reached = reached[reached[:, -1] > 0]
        tails.append(values[np.argmax(reached >= _TAIL * reached[:, -1:], axis=1)])
    low, high = np.quantile(np.concatenate(tails), [rule.alpha / 2, 1 - rule.alpha / 2])
    p50, p95 = np.quantile(values, [0.5, _TAIL])
    return Pace(p50=float(p50), p95=float(p95), p95_low=min(float(low), p95), p95_high=max(float(high), p95))


def _outcomes(reserved: pl.DataFrame, answered: pl.DataFrame, failed: pl.DataFrame) -> pl.DataFrame:
    """What came of each question: `state_key`, `teacher`, `is_answered`, `seconds`."""
    columns = ["attempt_id", "latency_ms"]
    told = pl.concat(
        [
            answered.select(*columns, pl.lit(True).alias("is_answered")),
            failed.select(*columns, pl.lit(False).alias("is_answered")),
        ]
    )
    attempts = reserved.select("attempt_id", "state_key", "teacher", "request_key", "sample_index")
    calls = attempts.join(told, on="attempt_id", how="inner")
    latency = pl.when(pl.col("latency_ms").count() > 0).then(pl.col("latency_ms").sum() / 1000)
    per_answer = calls.group_by("state_key", "teacher", "request_key", "sample_index").agg(
        latency.alias("seconds"), pl.col("is_answered").any()
    )
    # What cannot be sent was never an attempt.
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
