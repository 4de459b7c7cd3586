"""p values: sign flips, and Holm's correction for many tests.

**Two-sided throughout.** A p value from random flips counts the observation itself, so it is never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from tracelake.assets.folds.statistics.contrast import Floats, chunk_sizes

SIGN_FLIPS_EXACT_UNITS_MAX = 14
# Sums that differ by rounding only are the same sum.
_TIE = 1e-12


def sign_flip_p(unit_sums: Floats, *, flip_count: int, seed: int) -> float:
    """p value of the sum of independent units, each as likely to have had the other sign.

    Exact for up to `SIGN_FLIPS_EXACT_UNITS_MAX` nonzero units, else from `flip_count` random flips.
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
