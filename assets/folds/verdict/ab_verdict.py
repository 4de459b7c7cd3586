"""From scores of two arms to a verdict, by the registered rule.

Flow: scores → paired cells → differences (graded, worst, best) → estimate, bootstrap, slices, power →
outcome → reasons.

VALIDATED: the interval lies above 0 and the difference is at least the minimum effect. PARTIAL: that holds
for some slices only, or some slices are harmed although it holds overall; Holm's correction over slices.
INVALIDATED: the interval lies below the minimum effect with the required power, or below 0. UNDERPOWERED:
none of these; the verdict says how many tasks or seeds are needed.

**Ungraded scores are bounded**: a claim counts only if it holds with every ungraded score against it.
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
    Floats,
    bootstrap,
    effective_count,
    estimate,
    unit_sums,
    unseen_units,
)
from tracelake.assets.folds.statistics.p_values import sign_flip_p
from tracelake.assets.folds.statistics.power import critical_value, minimum_detectable_effect, power_of
from tracelake.assets.folds.verdict.ab_model import (
    ArmResult,
    BootstrapResult,
    ResamplingUnit,
    SliceResult,
    Verdict,
    VerdictSpec,
)
from tracelake.assets.folds.verdict.ab_reasons import reasons
from tracelake.assets.folds.verdict.paired_scores import (
    ArmCells,
    Differences,
    PairedScores,
    differences,
    paired_scores,
)
from tracelake.assets.folds.verdict.slices import leave_one_out, slice_results
from tracelake.assets.folds.verdict.verdict_base import VerdictOutcome
from tracelake.schemas.errors import BadInputError


class _Units(NamedTuple):
    """The independent units of the tasks."""

    kind: ResamplingUnit
    codes: NDArray[np.int64]
    """[T]"""
    effective_count: float

    @property
    def count(self) -> int:
        return int(self.codes.max()) + 1


class _BoundedDifference(NamedTuple):
    """The difference with ungraded scores left out, at their worst, at their best; the deciding interval."""

    graded: Estimate
    worst: Estimate
    best: Estimate
    graded_bootstrap: Bootstrap
    low: float
    high: float


def ab_verdict(evaluations: pl.DataFrame, spec: VerdictSpec) -> Verdict:
    """Decide from one row per attempt (`paired_scores.SCORE_SCHEMA`; other columns are ignored).

    Raises: BadInputError for scores that cannot be paired, or if no task is graded in both arms.
    """
    return decide(paired_scores(evaluations, spec), spec)


def decide(scores: PairedScores, spec: VerdictSpec) -> Verdict:
    """`ab_verdict` from paired cells. Raises: BadInputError if no task is graded in both arms."""
    by_cell = differences(scores, spec)
    if np.isnan(by_cell.graded).all():
        raise BadInputError(
            "nothing is graded in both arms", expected="at least one task with a score in each"
        )
    units = _resampling_units(scores, by_cell.graded, spec)
    difference = _bounded_difference(by_cell, units, spec)
    graded = difference.graded
    slices = slice_results(by_cell, scores.clusters, spec)
    # Ungraded scores can hide an effect of this size.
    hidden = graded.mean - difference.worst.mean
    effect = max(0.0, spec.minimum_effect - hidden)
    power = power_of(effect, graded.standard_error, alpha=spec.alpha, df=graded.df)
    needed_task_count, needed_seed_count = _needed_counts(graded, scores, units, spec)
    draft = Verdict(
        spec=spec,
        outcome=_outcome(difference, power, slices, spec),
        compares="methods" if len(scores.seeds) > 1 else "checkpoints",
        reasons=(),
        arms=tuple(
            _arm_result(name, cells, units, spec) for name, cells in scores.arms.items() if cells.graded.any()
        ),
        difference=graded.mean,
        worst_difference=difference.worst.mean,
        best_difference=difference.best.mean,
        interval_low=difference.low,
        interval_high=difference.high,
        standard_error=graded.standard_error,
        df=graded.df if math.isfinite(graded.df) else None,
        clustered_low=graded.low,
        clustered_high=graded.high,
        bootstrap=BootstrapResult(
            **difference.graded_bootstrap._asdict(),
            resample_count=spec.resample_count,
            seed=spec.bootstrap_seed,
        ),
        p_value=sign_flip_p(
            unit_sums(by_cell.graded, units.codes), flip_count=spec.flip_count, seed=spec.bootstrap_seed
        ),
        seed_p_value=_seed_p_value(by_cell.graded),
        achieved_power=power,
        minimum_detectable_effect=minimum_detectable_effect(
            graded.standard_error, alpha=spec.alpha, power=spec.required_power, df=graded.df
        ),
        needed_task_count=needed_task_count,
        needed_seed_count=needed_seed_count,
        slices=slices,
        leave_one_out=leave_one_out(by_cell.graded, scores.clusters),
        resampling_unit=units.kind,
        unit_count=units.count,
        effective_unit_count=units.effective_count,
        cluster_count=len(set(scores.clusters)),
        task_count=len(scores.tasks),
        pair_count=int((~np.isnan(by_cell.graded)).sum()),
        seeds=tuple(scores.seeds),
        unpaired_seeds=tuple(scores.unpaired_seeds),
    )
    return draft.model_copy(update={"reasons": tuple(reasons(draft))})


def _resampling_units(scores: PairedScores, graded: Floats, spec: VerdictSpec) -> _Units:
    """Clusters; tasks if the rule says so or if only one cluster is graded."""
    present = ~np.isnan(graded)
    known = {cluster for cluster, column in zip(scores.clusters, present.T, strict=True) if column.any()}
    kind: ResamplingUnit = "cluster" if spec.resampling_unit == "cluster" and len(known) > 1 else "task"
    names = scores.clusters if kind == "cluster" else scores.tasks
    codes = np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64)
    sizes = np.bincount(codes, weights=present.sum(axis=0)).astype(np.float64)
    return _Units(kind, codes, effective_count(sizes[None, :]))


def _bounded_difference(by_cell: Differences, units: _Units, spec: VerdictSpec) -> _BoundedDifference:
    # If everything is graded, the three are equal.
    distinct = by_cell[:1] if np.array_equal(by_cell.worst, by_cell.best) else by_cell
    estimates = [_estimate(values, units, spec) for values in distinct]
    bootstraps = [
        bootstrap(
            values,
            units.codes,
            alpha=spec.alpha,
            standard_error=estimated.standard_error,
            resample_count=spec.resample_count,
            seed=spec.bootstrap_seed,
        )
        for values, estimated in zip(distinct, estimates, strict=True)
    ]
    graded, worst, best = estimates if len(estimates) > 1 else estimates * 3
    low, high = min(graded.low, worst.low), max(graded.high, best.high)
    for each in bootstraps:
        low = min(low, each.percentile_low if each.bca_low is None else each.bca_low)
        high = max(high, each.percentile_high if each.bca_high is None else each.bca_high)
    score_range = spec.score_max - spec.score_min
    return _BoundedDifference(
        graded, worst, best, bootstraps[0], max(low, -score_range), min(high, score_range)
    )


def _estimate(values: Floats, units: _Units, spec: VerdictSpec) -> Estimate:
    return estimate(values, units.codes, alpha=spec.alpha, value_range=spec.score_max - spec.score_min)


def _outcome(
    difference: _BoundedDifference, power: float, slices: tuple[SliceResult, ...], spec: VerdictSpec
) -> VerdictOutcome:
    findings = {each.finding for each in slices}
    if difference.low > 0 and difference.worst.mean >= spec.minimum_effect:
        return "PARTIAL" if "harmful" in findings else "VALIDATED"
    if "validated" in findings:
        return "PARTIAL"
    refuted = difference.high < spec.minimum_effect and power >= spec.required_power
    return "INVALIDATED" if refuted or difference.high < 0 else "UNDERPOWERED"


def _arm_result(name: str, cells: ArmCells, units: _Units, spec: VerdictSpec) -> ArmResult:
    estimated = _estimate(cells.means(), units, spec)
    missing = int(cells.missing.sum())
    return ArmResult(
        arm=name,
        mean=estimated.mean,
        interval_low=max(estimated.low, spec.score_min),
        interval_high=min(estimated.high, spec.score_max),
        score_count=int(cells.graded.sum()),
        ungraded_count=int(cells.ungraded.sum()) - missing,
        missing_count=missing,
    )


def _seed_p_value(graded: Floats) -> float | None:
    of_seeds = np.array([row[~np.isnan(row)].mean() for row in graded if not np.isnan(row).all()])
    if len(of_seeds) < 2 or not of_seeds.std():
        return None
    error = of_seeds.std(ddof=1) / math.sqrt(len(of_seeds))
    return float(2 * special.stdtr(len(of_seeds) - 1, -abs(of_seeds.mean()) / error))


def _needed_counts(
    graded: Estimate, scores: PairedScores, units: _Units, spec: VerdictSpec
) -> tuple[int | None, int | None]:
    """Numbers of tasks, and of seeds, that reduce the squared error enough for the required power."""
    seed_count, task_count = len(scores.seeds), len(scores.tasks)
    if not graded.varied:
        share = spec.minimum_effect / (spec.score_max - spec.score_min + abs(graded.mean))
        tasks_per_unit = task_count / units.count
        return math.ceil(unseen_units(spec.alpha, share) * tasks_per_unit), None
    reach = critical_value(spec.alpha) + float(special.ndtri(spec.required_power))
    wanted = (spec.minimum_effect / reach) ** 2
    variance = graded.standard_error**2
    tasks, seeds = wanted - graded.seed_variance, wanted - graded.unit_variance
    by_tasks, by_seeds = variance - graded.seed_variance, variance - graded.unit_variance
    return (
        math.ceil(task_count * by_tasks / tasks) if tasks > 0 else None,
        math.ceil(seed_count * by_seeds / seeds) if seeds > 0 and seed_count > 1 else None,
    )
