"""Power and minimum detectable effect of a two-sided t test.

Effects and standard errors are in units of the score (0.02 is 2 points).
Formulas: Miller 2024, arXiv 2411.00640.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

DF_NORMAL_MIN = 500
"""From this many degrees of freedom on, a t distribution is treated as normal."""
_GRID_SIZE = 1000


def power_of(effect: float, standard_error: float, *, alpha: float, df: float = math.inf) -> float:
    """Probability that the interval of a true effect excludes 0."""
    if standard_error <= 0:
        return 1.0 if effect else alpha
    shift = abs(effect) / standard_error
    widths = critical_value(alpha, df) * _relative_errors(df)
    return float(np.mean(special.ndtr(shift - widths) + special.ndtr(-widths - shift)))


def minimum_detectable_effect(
    standard_error: float, *, alpha: float, power: float = 0.8, df: float = math.inf
) -> float:
    """Smallest true effect that the test finds with this power."""
    if standard_error <= 0:
        return 0.0
    highest = standard_error * (critical_value(alpha, df) + 10) * 10

    def missing_power(effect: float) -> float:
        return power - power_of(effect, standard_error, alpha=alpha, df=df)

    return float(optimize.root_scalar(missing_power, bracket=(0, highest)).root)


def critical_value(alpha: float, df: float = math.inf) -> float:
    """Quantile at 1 - alpha/2 of t, or of the normal distribution."""
    quantile = 1 - alpha / 2
    return float(special.ndtri(quantile) if df >= DF_NORMAL_MIN else special.stdtrit(df, quantile))


@lru_cache(maxsize=64)
def _relative_errors(df: float) -> NDArray[np.float64]:
    """Equally likely ratios of an estimated standard error to the true one: sqrt(chi²/df)."""
    if df >= DF_NORMAL_MIN:
        return np.ones(1)
    return np.sqrt(special.chdtri(df, (np.arange(_GRID_SIZE) + 0.5) / _GRID_SIZE) / df)
