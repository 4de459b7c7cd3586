"""Small exact statistics: pass@k, McNemar, sign flips, corrections for many tests.

**Two-sided throughout.** Every p value from resampling counts the observation itself, so none is ever 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
SIGN_FLIPS_EXACT_UNITS_MAX = 14
_CHUNK_CELLS = 4_000_000
# Sums that differ by rounding only are the same sum.
_TIE = 1e-12


def pass_at_k(attempt_count: int, pass_count: int, k: int) -> float:
    """Unbiased probability that one of k attempts passes. Source: Chen et al. 2021, arXiv 2107.03374.

    Raises: ValueError unless 0 <= pass_count <= attempt_count and 1 <= k <= attempt_count.
    """
    if not (0 <= pass_count <= attempt_count and 1 <= k <= attempt_count):
        raise ValueError(f"pass@{k} of {pass_count} passes in {attempt_count} attempts is not defined")
    fail_count = attempt_count - pass_count
    if fail_count < k:
        return 1.0
    return float(1 - np.prod(1 - k / np.arange(fail_count + 1, attempt_count + 1)))


def mcnemar_exact(gained_count: int, lost_count: int) -> float:
    """p value of tasks gained against tasks lost, if either were as likely: gained ~ Bin(gained + lost,
    1/2)."""
    discordant = gained_count + lost_count
    return 1.0 if discordant == 0 else float(stats.binomtest(gained_count, discordant, 0.5).pvalue)


def sign_flip_p(unit_sums: Floats, *, flip_count: int, seed: int) -> float:
    """p value of the sum of independent units, each as likely to have had the other sign.

    Exact for up to `SIGN_FLIPS_EXACT_UNITS_MAX` units that are not 0, else from `flip_count` random flips.
    """
    units = unit_sums[unit_sums != 0]
    if not len(units):
        return 1.0
    scale = float(np.abs(units).sum())
    least = abs(float(units.sum())) - _TIE * scale
    if len(units) <= SIGN_FLIPS_EXACT_UNITS_MAX:
        signs = np.array(list(product((1.0, -1.0), repeat=len(units))))
        return float((np.abs(signs @ units) >= least).mean())
    generator = np.random.default_rng(seed)
    extreme = 0
    for count in chunk_sizes(flip_count, len(units)):
        signs = generator.integers(0, 2, size=(count, len(units)), dtype=np.int8) * 2.0 - 1.0
        extreme += int((np.abs(signs @ units) >= least).sum())
    return (1 + extreme) / (1 + flip_count)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted so that the chance of any false rejection is at most alpha; in the order given."""
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * count, 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """p values adjusted so that the expected share of false rejections is at most alpha; in the order
    given."""
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")[::-1]
    adjusted, smallest = [0.0] * count, 1.0
    for position, index in enumerate(order):
        smallest = min(smallest, p_values[index] * count / (count - position))
        adjusted[index] = smallest
    return adjusted


def clustered_standard_error(differences: Floats, clusters: Sequence[object]) -> float:
    """Standard error of the mean of items that are alike within clusters.

    SE² = (1/n²) · (Σ (d_i - d̄)² · n/(n-1) + Σ_c Σ_{i≠j in c} (d_i - d̄)(d_j - d̄)), the first term being
    sd²/n.
    Source: Miller 2024, arXiv 2411.00640. 0 where the within-cluster terms are so negative that it would be
    less.
    """
    count = len(differences)
    residuals = differences - differences.mean()
    _, codes = np.unique(np.asarray(clusters), return_inverse=True)
    cluster_sums = np.bincount(codes, weights=residuals)
    squares = float((residuals**2).sum())
    between = float((cluster_sums**2).sum()) - squares
    return float(np.sqrt(max(0.0, squares / (count * (count - 1)) + between / count**2)))


def chunk_sizes(total: int, row_cells: int) -> list[int]:
    """Row counts that add up to `total`, each a matrix of at most some million cells."""
    size = max(1, _CHUNK_CELLS // max(1, row_cells))
    return [min(size, total - start) for start in range(0, total, size)]
