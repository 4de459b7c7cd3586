"""Single clusters on their own: where a claim holds, where it does harm, and what hangs on one of them.

**Looking at many is paid for**: p values are Holm's over all slices that are looked at, and intervals are at
alpha over their number.
**Within a slice tasks are the units**, so it speaks of that cluster and no other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tracelake.assets.folds.statistics.contrast import Estimate, estimate, means_without_each_unit, unit_sums
from tracelake.assets.folds.statistics.exact_tests import Floats, holm, sign_flip_p
from tracelake.assets.folds.statistics.paired_scores import Differences
from tracelake.assets.folds.verdict.model import LeaveOneOut, SliceResult, VerdictSpec

_DF_MAX = 1e6


def slice_results(found: Differences, clusters: list[str], spec: VerdictSpec) -> tuple[SliceResult, ...]:
    """One for each cluster with enough tasks, by name; none if there is only one cluster."""
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    large = np.flatnonzero(np.bincount(codes) >= spec.slice_task_count_min)
    columns = {str(names[code]): np.flatnonzero(codes == code) for code in large}
    looked_at = [name for name in columns if not np.isnan(found.graded[:, columns[name]]).all()]
    if len(names) < 2 or not looked_at:
        return ()
    alpha = spec.alpha / len(looked_at)
    bounds = [_bounds(found, columns[name], alpha, spec) for name in looked_at]
    p_values = [max(low_p, high_p) for _, _, low_p, high_p in bounds]
    return tuple(
        _slice(name, len(columns[name]), found.graded[:, columns[name]], bound, p_value, adjusted, spec)
        for name, bound, p_value, adjusted in zip(looked_at, bounds, p_values, holm(p_values), strict=True)
    )


def leave_one_out(values: Floats, clusters: list[str]) -> tuple[LeaveOneOut, ...]:
    """The clusters whose absence lowers and raises the mean most; none with fewer than three clusters."""
    graded = ~np.isnan(values).all(axis=0)
    names, codes = np.unique(np.asarray(clusters)[graded], return_inverse=True)
    if len(names) < 3:
        return ()
    means = means_without_each_unit(values[:, graded], codes.astype(np.int64))
    chosen = sorted({int(means.argmin()), int(means.argmax())}, key=lambda index: means[index])
    return tuple(LeaveOneOut(cluster=str(names[index]), difference=float(means[index])) for index in chosen)


def _bounds(
    found: Differences, columns: NDArray[np.int64], alpha: float, spec: VerdictSpec
) -> tuple[Estimate, Estimate, float, float]:
    """Estimates and p values with ungraded items at their worst, and at their best."""
    codes = np.arange(len(columns), dtype=np.int64)
    results: list[tuple[Estimate, float]] = []
    worst_values, best_values = found.worst[:, columns], found.best[:, columns]
    alike = np.array_equal(worst_values, best_values)
    for values in (worst_values,) if alike else (worst_values, best_values):
        fitted = estimate(values, codes, alpha=alpha, value_range=spec.score_max - spec.score_min)
        flipped = sign_flip_p(unit_sums(values, codes), flip_count=spec.flip_count, seed=spec.bootstrap_seed)
        student = float(2 * special.stdtr(min(fitted.df, _DF_MAX), -abs(fitted.mean) / fitted.standard_error))
        results.append((fitted, max(flipped, student)))
    (worst, worst_p), (best, best_p) = results[0], results[-1]
    return worst, best, worst_p, best_p


def _slice(
    name: str,
    task_count: int,
    graded: Floats,
    bound: tuple[Estimate, Estimate, float, float],
    p_value: float,
    adjusted: float,
    spec: VerdictSpec,
) -> SliceResult:
    worst, best = bound[:2]
    significant, reach = adjusted <= spec.alpha, spec.score_max - spec.score_min
    if significant and worst.low > 0 and worst.mean >= spec.minimum_effect:
        finding = "validated"
    else:
        finding = "harmful" if significant and best.high < 0 else "inconclusive"
    return SliceResult(
        cluster=name,
        task_count=task_count,
        difference=float(np.nanmean(graded)),
        interval_low=max(worst.low, -reach),
        interval_high=min(best.high, reach),
        p_value=p_value,
        adjusted_p_value=adjusted,
        finding=finding,
    )
