"""The mean of scores on S seeds and T tasks with its interval: two crossed random factors.

Shapes: values [S, T], NaN for a missing score; codes [T], the independent unit (cluster) of each task; C
units.

**Seeds and units are both random.** The variance of the mean is V = V_seed + V_unit - V_both, each from sums
of residuals; with balanced data these are the mean squares of a two-way layout. V is at least V_seed, and at
least V_unit.
**Small counts widen the interval**: it is the wider of Student's on the means of seeds, and Student's on V
with Satterthwaite's degrees of freedom. Units of unequal size count as the effective number (Σ n)² / Σ n².
**The bootstrap only gives the shape**: resampling crossed factors counts their common part three times (Owen
2007) and underestimates the variance of few units, so its deviations are stretched to V.
**Without any variation**, the interval covers the effect of an unseen unit, of share 1 - alpha^(1/C).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tracelake.assets.folds.statistics.power import critical_value

Floats = NDArray[np.float64]
BCA_UNITS_MIN = 10
BCA_SEEDS_MIN = 5
_NEGLIGIBLE = 1e-15
_CHUNK_CELLS = 4_000_000


class Estimate(NamedTuple):
    """A mean with Student's interval."""

    mean: float
    standard_error: float
    df: float
    low: float
    high: float
    seed_variance: float
    """The part of the squared error that only more seeds reduce."""
    unit_variance: float
    """The part that only more tasks reduce."""
    varied: bool
    """False if all values are equal: the error is then a bound and not an estimate."""


class Bootstrap(NamedTuple):
    """Percentile interval, and the bias-corrected and accelerated one if there are enough units and seeds."""

    percentile_low: float
    percentile_high: float
    bca_low: float | None
    bca_high: float | None


class _Sums(NamedTuple):
    sums: Floats
    """[S, C]"""
    counts: Floats
    """[S, C]"""

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.counts.sum())


def estimate(values: Floats, codes: NDArray[np.int64], *, alpha: float, value_range: float) -> Estimate:
    """Mean over cells with Student's interval. `value_range`, the largest possible distance between two
    values, bounds the effect of unseen units.

    Raises: ValueError if every value is missing.
    """
    table = _sums(values, codes)
    seed_part, unit_part, both_part, df = _variances(table)
    mean, seed_count = table.mean, table.counts.shape[0]
    variance = max(seed_part + unit_part - both_part, seed_part, unit_part)
    if variance > _NEGLIGIBLE:
        # Satterthwaite's degrees of freedom are too liberal if seeds agree by chance.
        bounds = [(variance, df)] + ([(seed_part, seed_count - 1.0)] if seed_count > 1 else [])
        half, error, df = max(
            (part**0.5 * critical_value(alpha, free), part**0.5, free) for part, free in bounds
        )
    else:
        df, half = np.inf, unseen_share(alpha, table.counts.shape[1]) * (value_range + abs(mean))
        error = half / critical_value(alpha)
    seed_only, unit_only = max(0.0, seed_part - both_part), max(0.0, unit_part - both_part)
    return Estimate(
        mean, error, float(df), mean - half, mean + half, seed_only, unit_only, variance > _NEGLIGIBLE
    )


def bootstrap(
    values: Floats,
    codes: NDArray[np.int64],
    *,
    alpha: float,
    standard_error: float,
    resample_count: int,
    seed: int,
) -> Bootstrap:
    """Resample seeds and units together, and stretch the deviations to `standard_error`."""
    table = _sums(values, codes)
    means = _resampled_means(table, resample_count, seed)
    spread = float(means.std())
    stretch = standard_error / spread if spread > _NEGLIGIBLE else 0.0
    means = table.mean + (means - table.mean) * stretch
    low, high = np.quantile(means, [alpha / 2, 1 - alpha / 2])
    corrected = _bca_quantiles(table, means, alpha)
    if corrected is None:
        return Bootstrap(float(low), float(high), None, None)
    bca_low, bca_high = np.quantile(means, corrected)
    return Bootstrap(float(low), float(high), float(bca_low), float(bca_high))


def unseen_share(alpha: float, unit_count: float) -> float:
    """The largest share of a kind of unit that is absent from `unit_count` units with probability alpha."""
    return 1.0 - alpha ** (1.0 / unit_count)


def unseen_units(alpha: float, share: float) -> float:
    """Units needed to see a kind of unit with this share with probability 1 - alpha."""
    return float(np.log(alpha) / np.log1p(-share)) if share < 1 else 1.0


def effective_count(counts: Floats) -> float:
    """Number of equal units with as much information as these; counts [S, C]."""
    sizes = counts.sum(axis=0)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def unit_sums(values: Floats, codes: NDArray[np.int64]) -> Floats:
    """[C] sums over seeds and tasks of each unit, the input of sign flips."""
    return _sums(values, codes).sums.sum(axis=0)


def means_without_each_unit(values: Floats, codes: NDArray[np.int64]) -> Floats:
    """[C] the mean without each unit, for at least two units."""
    table = _sums(values, codes)
    return (table.sums.sum() - table.sums.sum(axis=0)) / (table.counts.sum() - table.counts.sum(axis=0))


def _sums(values: Floats, codes: NDArray[np.int64]) -> _Sums:
    """Sums and counts by unit, without the rows and columns that have no value."""
    present = ~np.isnan(values)
    sums = _by_unit(np.where(present, values, 0.0), codes)
    counts = _by_unit(present.astype(np.float64), codes)
    rows, columns = counts.sum(axis=1) > 0, counts.sum(axis=0) > 0
    if not rows.any():
        raise ValueError("every value is missing")
    return _Sums(sums[rows][:, columns], counts[rows][:, columns])


def _by_unit(values: Floats, codes: NDArray[np.int64]) -> Floats:
    """[S, C] sums of [S, T]."""
    return np.array([np.bincount(codes, weights=row) for row in values], dtype=np.float64)


def _variances(table: _Sums) -> tuple[float, float, float, float]:
    """V_seed, V_unit, V_both, and Satterthwaite's degrees of freedom of their combination."""
    seeds, units = table.counts.shape
    total = table.counts.sum()
    residuals = table.sums - table.mean * table.counts
    of_units = residuals.sum(axis=0)
    unit_part = float((of_units**2).sum()) / total**2 * units / (units - 1) if units > 1 else 0.0
    if seeds == 1 or units == 1:
        return 0.0, unit_part, 0.0, max(1.0, effective_count(table.counts) - 1.0)
    of_seeds = residuals.sum(axis=1)
    seed_part = float((of_seeds**2).sum()) / total**2 * seeds / (seeds - 1)
    seed_means, unit_means = of_seeds / table.counts.sum(axis=1), of_units / table.counts.sum(axis=0)
    rest = residuals - table.counts * (seed_means[:, None] + unit_means[None, :])
    freedom = (seeds - 1) * (units - 1)
    both_part = float((rest**2).sum()) / total**2 * seeds * units / freedom
    variance = max(seed_part + unit_part - both_part, seed_part, unit_part)
    unit_freedom = max(1.0, effective_count(table.counts) - 1.0)
    spread = seed_part**2 / (seeds - 1) + unit_part**2 / unit_freedom + both_part**2 / freedom
    return seed_part, unit_part, both_part, max(1.0, variance**2 / spread) if spread > 0 else np.inf


def _resampled_means(table: _Sums, resample_count: int, seed: int) -> Floats:
    generator = np.random.default_rng(seed)
    seeds, units = table.counts.shape
    parts: list[Floats] = []
    for rows in chunk_sizes(resample_count, units):
        of_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=rows)
        of_units = generator.multinomial(units, np.full(units, 1 / units), size=rows)
        sums = ((of_seeds @ table.sums) * of_units).sum(axis=1)
        counts = ((of_seeds @ table.counts) * of_units).sum(axis=1)
        parts.append(sums[counts > 0] / counts[counts > 0])
    return np.concatenate(parts)


def _bca_quantiles(table: _Sums, means: Floats, alpha: float) -> Floats | None:
    """Levels of the bootstrap distribution to read; null with too few units to estimate its skewness."""
    seeds, units = table.counts.shape
    if units < BCA_UNITS_MIN or 1 < seeds < BCA_SEEDS_MIN:
        return None
    # A resample that equals the mean up to rounding counts half.
    equal = np.isclose(means, table.mean, rtol=0, atol=1e-12)
    below = float(((means < table.mean) & ~equal).mean() + equal.mean() / 2)
    if not 0 < below < 1:
        return None
    bias = float(special.ndtri(below))
    influence = _influence(table)
    squares = float((influence**2).sum())
    skew = float((influence**3).sum()) / (6 * squares**1.5) if squares > _NEGLIGIBLE**2 else 0.0
    reach = bias + special.ndtri([alpha / 2, 1 - alpha / 2])
    return special.ndtr(bias + reach / (1 - skew * reach))


def _influence(table: _Sums) -> Floats:
    """Influence of each unit, and of each seed if there are several, on the mean, scaled as for several
    samples."""
    parts: list[Floats] = []
    for axis, count in ((0, table.counts.shape[1]), (1, table.counts.shape[0])):
        if count > 1:
            sums, counts = table.sums.sum(axis=axis), table.counts.sum(axis=axis)
            without = (table.sums.sum() - sums) / (table.counts.sum() - counts)
            parts.append((without.mean() - without) * (count - 1) / count)
    return np.concatenate(parts)


def chunk_sizes(total: int, row_cells: int) -> list[int]:
    """Row counts that add up to `total`, each for a matrix of at most `_CHUNK_CELLS` cells."""
    size = max(1, _CHUNK_CELLS // max(1, row_cells))
    return [min(size, total - start) for start in range(0, total, size)]
