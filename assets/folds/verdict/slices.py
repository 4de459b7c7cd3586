"""Results of single clusters: where a claim holds, where it does harm, how much depends on one cluster.

**Many slices are corrected for**: p values are Holm's over all tested slices, and intervals are at alpha over
their number.
**Within a slice tasks are the units**, so its result is about that cluster and no other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tracelake.assets.folds.statistics.contrast import (
    Estimate,
    Floats,
    estimate,
    means_without_each_unit,
    unit_sums,
)
from tracelake.assets.folds.statistics.p_values import holm, sign_flip_p
from tracelake.assets.folds.verdict.ab_model import LeaveOneOut, SliceFinding, SliceResult, VerdictSpec
from tracelake.assets.folds.verdict.paired_scores import Differences

_DF_MAX = 1e6


class _Bounds(NamedTuple):
    """One slice, with ungraded scores at their worst and at their best."""

    worst: Estimate
    best: Estimate
    p_value: float


def slice_results(by_cell: Differences, clusters: list[str], spec: VerdictSpec) -> tuple[SliceResult, ...]:
    """One for each cluster with enough tasks, by name; none if there is only one cluster."""
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    large = np.flatnonzero(np.bincount(codes) >= spec.slice_task_count_min)
    columns = {str(names[code]): np.flatnonzero(codes == code) for code in large}
    tested = [name for name in columns if not np.isnan(by_cell.graded[:, columns[name]]).all()]
    if len(names) < 2 or not tested:
        return ()
    alpha, score_range = spec.alpha / len(tested), spec.score_max - spec.score_min
    bounds = [_bounds(by_cell, columns[name], alpha, spec) for name in tested]
    p_values = holm([each.p_value for each in bounds])
    return tuple(
        SliceResult(
            cluster=name,
            task_count=len(columns[name]),
            difference=float(np.nanmean(by_cell.graded[:, columns[name]])),
            interval_low=max(bound.worst.low, -score_range),
            interval_high=min(bound.best.high, score_range),
            p_value=bound.p_value,
            adjusted_p_value=adjusted,
            finding=_finding(bound, adjusted, spec),
        )
        for name, bound, adjusted in zip(tested, bounds, p_values, strict=True)
    )


def _bounds(by_cell: Differences, columns: NDArray[np.int64], alpha: float, spec: VerdictSpec) -> _Bounds:
    codes = np.arange(len(columns), dtype=np.int64)
    results: list[tuple[Estimate, float]] = []
    worst_values, best_values = by_cell.worst[:, columns], by_cell.best[:, columns]
    alike = np.array_equal(worst_values, best_values)
    for values in (worst_values,) if alike else (worst_values, best_values):
        fitted = estimate(values, codes, alpha=alpha, value_range=spec.score_max - spec.score_min)
        flipped = sign_flip_p(unit_sums(values, codes), flip_count=spec.flip_count, seed=spec.bootstrap_seed)
        student = float(2 * special.stdtr(min(fitted.df, _DF_MAX), -abs(fitted.mean) / fitted.standard_error))
        results.append((fitted, max(flipped, student)))
    (worst, worst_p), (best, best_p) = results[0], results[-1]
    return _Bounds(worst, best, max(worst_p, best_p))


def _finding(bound: _Bounds, adjusted_p_value: float, spec: VerdictSpec) -> SliceFinding:
    significant = adjusted_p_value <= spec.alpha
    if significant and bound.worst.low > 0 and bound.worst.mean >= spec.minimum_effect:
        return "validated"
    return "harmful" if significant and bound.best.high < 0 else "inconclusive"


def leave_one_out(values: Floats, clusters: list[str]) -> tuple[LeaveOneOut, ...]:
    """The clusters whose absence lowers and raises the mean most; none with fewer than three clusters."""
    graded = ~np.isnan(values).all(axis=0)
    names, codes = np.unique(np.asarray(clusters)[graded], return_inverse=True)
    if len(names) < 3:
        return ()
    means = means_without_each_unit(values[:, graded], codes.astype(np.int64))
    chosen = sorted({int(means.argmin()), int(means.argmax())}, key=lambda index: means[index])
    return tuple(LeaveOneOut(cluster=str(names[index]), difference=float(means[index])) for index in chosen)
