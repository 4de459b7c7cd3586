"""What an experiment could have shown: power, minimum detectable effect, and how much would be needed.

Effects, standard deviations and shares are in units of the score (0.02 is 2 points); every test is two-sided.
Formulas: `reference/algorithms.md` §6.2 of the program; Miller 2024, arXiv 2411.00640.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

DF_NORMAL_MIN = 500
"""From here on a t distribution is taken to be normal."""
_GRID_SIZE = 1000


def power_of(effect: float, standard_error: float, *, alpha: float, df: float = math.inf) -> float:
    """Chance that the interval of a true effect excludes 0."""
    if standard_error <= 0:
        return 1.0 if effect else alpha
    shift = abs(effect) / standard_error
    widths = critical_value(alpha, df) * _relative_errors(df)
    return float(np.mean(special.ndtr(shift - widths) + special.ndtr(-widths - shift)))


def minimum_detectable_effect(
    standard_error: float, *, alpha: float, power: float = 0.8, df: float = math.inf
) -> float:
    """Smallest true effect that is found with this power."""
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


def paired_task_count(
    discordant_share: float, effect: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Tasks that two fixed checkpoints need, one run each, by McNemar's test; not rounded."""
    spread = math.sqrt(max(0.0, discordant_share - effect**2))
    sum_of_reaches = (
        critical_value(alpha) * math.sqrt(discordant_share) + float(special.ndtri(power)) * spread
    )
    return (sum_of_reaches / effect) ** 2


def paired_power(task_count: int, discordant_share: float, effect: float, *, alpha: float = 0.05) -> float:
    """Power of McNemar's test on two fixed checkpoints, one run each."""
    reach = effect * math.sqrt(task_count) - critical_value(alpha) * math.sqrt(discordant_share)
    return float(special.ndtr(reach / math.sqrt(discordant_share - effect**2)))


def paired_minimum_effect(
    task_count: int, discordant_share: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Effect that McNemar's test finds with this power; at most the discordant share, when all change is
    gain.
    """

    def missing_tasks(effect: float) -> float:
        return paired_task_count(discordant_share, effect, alpha=alpha, power=power) - task_count

    if missing_tasks(discordant_share) > 0:
        return discordant_share
    return float(optimize.root_scalar(missing_tasks, bracket=(1e-6, discordant_share)).root)


def unpaired_task_count(base: float, effect: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Tasks per arm if the arms share none, pass rates `base` and `base + effect`; not rounded."""
    other = base + effect
    both = base * (1 - base) + other * (1 - other)
    return _reach(alpha, power) ** 2 * both / effect**2


def run_count(
    task_count: int,
    effect: float,
    *,
    omega: float,
    within_variance: float,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float | None:
    """Runs per task and arm, so that n = (z + z)² (omega² + 2 s²/K) / effect²; null if no number is enough.

    omega: standard deviation of the true effect over tasks; within_variance: s² of one run of one task.
    """
    room = task_count * effect**2 / _reach(alpha, power) ** 2 - omega**2
    return 2 * within_variance / room if room > 0 else None


def method_standard_error(
    seed_count: int,
    task_count: int,
    *,
    seed_sd: float,
    omega: float,
    within_variance: float,
    runs_per_task: int,
) -> float:
    """Of the difference of two methods trained with `seed_count` seeds each: 2 tau²/S + (omega² + 2 s²/(K S))
    / n.

    Its degrees of freedom are 2 (S - 1).
    """
    tasks = (omega**2 + 2 * within_variance / (runs_per_task * seed_count)) / task_count
    return math.sqrt(2 * seed_sd**2 / seed_count + tasks)


@lru_cache(maxsize=64)
def _relative_errors(df: float) -> NDArray[np.float64]:
    """Equally likely ratios of an estimated standard error to the true one: sqrt(chi²/df)."""
    if df >= DF_NORMAL_MIN:
        return np.ones(1)
    return np.sqrt(special.chdtri(df, (np.arange(_GRID_SIZE) + 0.5) / _GRID_SIZE) / df)


def _reach(alpha: float, power: float) -> float:
    return critical_value(alpha) + float(special.ndtri(power))
