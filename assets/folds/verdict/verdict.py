"""From scores of two arms to a verdict, by the registered rule.

Flow: scores → paired cells → differences (graded, worst, best) → estimate, bootstrap, slices, power →
outcome, reasons.

VALIDATED: the interval lies above 0 and the difference is at least the minimum effect. PARTIAL: that holds
for some slices only, or harm is shown for some while it holds overall; Holm over slices. INVALIDATED: the
interval lies below the minimum effect with the required power, or below 0. UNDERPOWERED: none of these; the
verdict says how much would be needed.

**What is ungraded is bounded**: a claim counts only if it holds with every ungraded score against it.
**The deciding interval is the wider** of Student's and the bootstrap's at each end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import special

from tracelake.assets.folds.statistics.contrast import (
    Bootstrap,
    Estimate,
    bootstrap,
    effective_count,
    estimate,
    unit_sums,
    unseen_units,
)
from tracelake.assets.folds.statistics.exact_tests import Floats, sign_flip_p
from tracelake.assets.folds.statistics.paired_scores import (
    ArmCells,
    Differences,
    PairedScores,
    differences,
    paired_scores,
)
from tracelake.assets.folds.statistics.power import critical_value, minimum_detectable_effect, power_of
from tracelake.assets.folds.statistics.slices import leave_one_out, slice_results
from tracelake.assets.folds.verdict.model import (
    ArmResult,
    Outcome,
    SliceResult,
    Unit,
    Verdict,
    VerdictSpec,
)
from tracelake.assets.folds.verdict.reasons import reasons
from tracelake.assets.folds.verdict.text import render_text
from tracelake.schemas.errors import BadInputError

__all__ = ["Verdict", "VerdictSpec", "decide", "render_text", "verdict"]


class _Bounded(NamedTuple):
    """The difference with ungraded items left out, at their worst, at their best."""

    graded: Estimate
    worst: Estimate
    best: Estimate
    resampled: Bootstrap
    low: float
    high: float


class _Units(NamedTuple):
    kind: Unit
    codes: NDArray[np.int64]
    """[T]"""
    effective_count: float


def verdict(evaluations: pl.DataFrame, spec: VerdictSpec) -> Verdict:
    """Decide from one row per attempt (`paired_scores.SCORE_SCHEMA`; other columns are ignored).

    Raises: BadInputError for scores that cannot be paired, or if no task is graded in both arms.
    """
    return decide(paired_scores(evaluations, spec), spec)


def decide(scores: PairedScores, spec: VerdictSpec) -> Verdict:
    """`verdict` on cells that are paired already. Raises: BadInputError if no task is graded in both arms."""
    found = differences(scores, spec)
    if np.isnan(found.graded).all():
        raise BadInputError(
            "nothing is graded in both arms", expected="at least one task with a score in each"
        )
    units = _units(scores, found.graded, spec)
    bounded = _bounded(found, units, spec)
    slices = slice_results(found, scores.clusters, spec)
    # What cannot be graded can hide an effect of this size.
    hidden = bounded.graded.mean - bounded.worst.mean
    power = _power(bounded.graded, spec.minimum_effect - hidden, spec)
    parts: dict[str, object] = dict(
        spec=spec,
        outcome=_outcome(bounded, power, slices, spec),
        compares="methods" if len(scores.seeds) > 1 else "checkpoints",
        reasons=(),
        arms=tuple(
            _arm(name, cells, units, spec) for name, cells in scores.arms.items() if cells.graded.any()
        ),
        achieved_power=power,
        slices=slices,
        leave_one_out=leave_one_out(found.graded, scores.clusters),
        **_estimated(bounded, found.graded, units, spec),
        **_needed(bounded.graded, scores, units, spec),
        **_counts(scores, found.graded, units),
    )
    draft = Verdict.model_validate(parts)
    return draft.model_copy(update={"reasons": tuple(reasons(draft))})


def _units(scores: PairedScores, graded: Floats, spec: VerdictSpec) -> _Units:
    """Clusters, or tasks where the rule says so or only one cluster is graded."""
    present = ~np.isnan(graded)
    known = {cluster for cluster, column in zip(scores.clusters, present.T, strict=True) if column.any()}
    kind: Unit = "cluster" if spec.resampling_unit == "cluster" and len(known) > 1 else "task"
    names = scores.clusters if kind == "cluster" else scores.tasks
    codes = np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64)
    sizes = np.bincount(codes, weights=present.sum(axis=0)).astype(np.float64)
    return _Units(kind, codes, effective_count(sizes[None, :]))


def _bounded(found: Differences, units: _Units, spec: VerdictSpec) -> _Bounded:
    # Where everything is graded the three are one.
    distinct = found[:1] if np.array_equal(found.worst, found.best) else found
    estimates = [_fit(values, units, spec) for values in distinct]
    resampled = [
        _resampled(values, fitted, units, spec) for values, fitted in zip(distinct, estimates, strict=True)
    ]
    graded, worst, best = estimates if len(estimates) > 1 else estimates * 3
    low, high = min(graded.low, worst.low), max(graded.high, best.high)
    for drawn in resampled:
        low = min(low, drawn.percentile_low if drawn.bca_low is None else drawn.bca_low)
        high = max(high, drawn.percentile_high if drawn.bca_high is None else drawn.bca_high)
    reach = spec.score_max - spec.score_min
    return _Bounded(graded, worst, best, resampled[0], max(low, -reach), min(high, reach))


def _fit(values: Floats, units: _Units, spec: VerdictSpec) -> Estimate:
    return estimate(values, units.codes, alpha=spec.alpha, value_range=spec.score_max - spec.score_min)


def _resampled(values: Floats, fitted: Estimate, units: _Units, spec: VerdictSpec) -> Bootstrap:
    return bootstrap(
        values,
        units.codes,
        alpha=spec.alpha,
        standard_error=fitted.standard_error,
        resample_count=spec.resample_count,
        seed=spec.bootstrap_seed,
    )


def _power(fitted: Estimate, effect: float, spec: VerdictSpec) -> float:
    return power_of(max(0.0, effect), fitted.standard_error, alpha=spec.alpha, df=fitted.df)


def _outcome(bounded: _Bounded, power: float, slices: tuple[SliceResult, ...], spec: VerdictSpec) -> Outcome:
    findings = {each.finding for each in slices}
    if bounded.low > 0 and bounded.worst.mean >= spec.minimum_effect:
        return "PARTIAL" if "harmful" in findings else "VALIDATED"
    if "validated" in findings:
        return "PARTIAL"
    refuted = bounded.high < spec.minimum_effect and power >= spec.required_power
    return "INVALIDATED" if refuted or bounded.high < 0 else "UNDERPOWERED"


def _arm(name: str, cells: ArmCells, units: _Units, spec: VerdictSpec) -> ArmResult:
    means = cells.means()
    fitted = _fit(means, units, spec)
    missing = int(cells.missing.sum())
    return ArmResult(
        arm=name,
        mean=fitted.mean,
        interval_low=max(fitted.low, spec.score_min),
        interval_high=min(fitted.high, spec.score_max),
        score_count=int(cells.graded.sum()),
        ungraded_count=int(cells.ungraded.sum()) - missing,
        missing_count=missing,
    )


def _estimated(bounded: _Bounded, graded: Floats, units: _Units, spec: VerdictSpec) -> dict[str, object]:
    fitted = bounded.graded
    sums = unit_sums(graded, units.codes)
    return {
        "difference": fitted.mean,
        "worst_difference": bounded.worst.mean,
        "best_difference": bounded.best.mean,
        "interval_low": bounded.low,
        "interval_high": bounded.high,
        "standard_error": fitted.standard_error,
        "df": fitted.df if math.isfinite(fitted.df) else None,
        "clustered_low": fitted.low,
        "clustered_high": fitted.high,
        "bootstrap": bounded.resampled._asdict()
        | {"resample_count": spec.resample_count, "seed": spec.bootstrap_seed},
        "p_value": sign_flip_p(sums, flip_count=spec.flip_count, seed=spec.bootstrap_seed),
        "seed_p_value": _seed_p_value(graded),
        "minimum_detectable_effect": minimum_detectable_effect(
            fitted.standard_error, alpha=spec.alpha, power=spec.required_power, df=fitted.df
        ),
    }


def _seed_p_value(graded: Floats) -> float | None:
    of_seeds = np.array([row[~np.isnan(row)].mean() for row in graded if not np.isnan(row).all()])
    if len(of_seeds) < 2 or not of_seeds.std():
        return None
    error = of_seeds.std(ddof=1) / math.sqrt(len(of_seeds))
    return float(2 * special.stdtr(len(of_seeds) - 1, -abs(of_seeds.mean()) / error))


def _needed(fitted: Estimate, scores: PairedScores, units: _Units, spec: VerdictSpec) -> dict[str, object]:
    """How many tasks, or seeds, bring the squared error down to what the required power asks for."""
    seed_count, task_count = len(scores.seeds), len(scores.tasks)
    if not fitted.varied:
        share = spec.minimum_effect / (spec.score_max - spec.score_min + abs(fitted.mean))
        tasks_per_unit = task_count / (int(units.codes.max()) + 1)
        needed = math.ceil(unseen_units(spec.alpha, share) * tasks_per_unit)
        return {"needed_task_count": needed, "needed_seed_count": None}
    reach = critical_value(spec.alpha) + float(special.ndtri(spec.required_power))
    wanted = (spec.minimum_effect / reach) ** 2
    variance = fitted.standard_error**2
    tasks, seeds = wanted - fitted.seed_variance, wanted - fitted.unit_variance
    by_tasks, by_seeds = variance - fitted.seed_variance, variance - fitted.unit_variance
    return {
        "needed_task_count": math.ceil(task_count * by_tasks / tasks) if tasks > 0 else None,
        "needed_seed_count": math.ceil(seed_count * by_seeds / seeds)
        if seeds > 0 and seed_count > 1
        else None,
    }


def _counts(scores: PairedScores, graded: Floats, units: _Units) -> dict[str, object]:
    return {
        "resampling_unit": units.kind,
        "unit_count": int(units.codes.max()) + 1,
        "effective_unit_count": units.effective_count,
        "cluster_count": len(set(scores.clusters)),
        "task_count": len(scores.tasks),
        "pair_count": int((~np.isnan(graded)).sum()),
        "seeds": tuple(scores.seeds),
        "unpaired_seeds": tuple(scores.unpaired_seeds),
    }
