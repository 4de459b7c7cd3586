"""The power table of the program (`algorithms.md` §6.2), reproduced, and its formulas against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tracelake.assets.folds.statistics.power import (
    critical_value,
    method_standard_error,
    minimum_detectable_effect,
    paired_minimum_effect,
    paired_power,
    paired_task_count,
    power_of,
    run_count,
    unpaired_task_count,
)


@pytest.mark.parametrize(
    ("discordant", "tasks", "detectable_points", "power"),
    [(0.05, 979, 3.6, 0.34), (0.10, 1960, 5.1, 0.19), (0.20, 3922, 7.2, 0.12), (0.30, 5884, 8.8, 0.09)],
)
def test_two_points_between_fixed_checkpoints(
    discordant: float, tasks: int, detectable_points: float, power: float
) -> None:
    assert round(paired_task_count(discordant, 0.02)) == tasks
    assert 100 * paired_minimum_effect(300, discordant) == pytest.approx(detectable_points, abs=0.05)
    assert paired_power(300, discordant, 0.02) == pytest.approx(power, abs=0.005)


def test_unpaired_arms_need_far_more() -> None:
    assert round(unpaired_task_count(0.2, 0.02)) == 6507


@pytest.mark.parametrize(
    ("within", "omega", "runs"),
    [
        (0.024, 0.05, 4),
        (0.024, 0.1, 9),
        (0.064, 0.05, 10),
        (0.064, 0.1, 24),
        (0.1125, 0.05, 18),
        (0.1125, 0.1, 43),
    ],
)
def test_runs_per_task_at_300_tasks(within: float, omega: float, runs: int) -> None:
    needed = run_count(300, 0.02, omega=omega, within_variance=within)
    assert needed is not None
    assert round(needed) == runs


def test_tasks_that_differ_too_much_are_never_enough() -> None:
    assert run_count(300, 0.02, omega=0.124, within_variance=0.024) is None


@pytest.mark.parametrize(("seeds", "power"), [(3, 0.23), (5, 0.39), (8, 0.54), (12, 0.66)])
def test_seeds_for_a_claim_about_methods(seeds: int, power: float) -> None:
    error = method_standard_error(
        seeds, 300, seed_sd=0.01, omega=0.1, within_variance=0.1125, runs_per_task=4
    )
    assert power_of(0.02, error, alpha=0.05, df=2 * (seeds - 1)) == pytest.approx(power, abs=0.006)
    if seeds == 3:
        # The table says 4.7 from a sum of two t quantiles; solving for the power gives 4.79.
        detectable = minimum_detectable_effect(error, alpha=0.05, df=4)
        assert 100 * detectable == pytest.approx(4.79, abs=0.01)
        assert 100 * error * (stats.t.ppf(0.975, 4) + stats.t.ppf(0.8, 4)) == pytest.approx(4.7, abs=0.05)


def test_single_runs_of_nothing_show_two_points_every_fourth_time() -> None:
    """Standard deviation 2.74 points per difference: a null arm shows +2 or more 23 % of the time."""
    assert stats.norm.sf(2 / 2.74) == pytest.approx(0.23, abs=0.005)


@pytest.mark.parametrize("df", [1, 4, 30, math.inf])
def test_power_is_alpha_without_an_effect_and_grows_with_it(df: float) -> None:
    powers = [power_of(effect, 1.0, alpha=0.05, df=df) for effect in (0, 1, 2, 4, 8, 64)]
    assert powers[0] == pytest.approx(0.05, abs=0.002)
    assert powers == sorted(powers)
    assert powers[-1] > 0.99


@pytest.mark.parametrize("df", [1, 2, 8, 100])
def test_power_is_the_noncentral_t(df: int) -> None:
    critical = stats.t.ppf(0.975, df)
    exact = stats.nct.sf(critical, df, 3.0) + stats.nct.cdf(-critical, df, 3.0)
    assert power_of(3.0, 1.0, alpha=0.05, df=df) == pytest.approx(exact, abs=0.002)


@pytest.mark.parametrize("df", [2, 20, math.inf])
def test_the_minimum_detectable_effect_has_its_power(df: float) -> None:
    effect = minimum_detectable_effect(0.013, alpha=0.05, power=0.9, df=df)
    assert power_of(effect, 0.013, alpha=0.05, df=df) == pytest.approx(0.9, abs=1e-6)


def test_mcnemar_power_is_what_simulation_gives() -> None:
    generator = np.random.default_rng(0)
    gained, lost = generator.multinomial(300, [0.11, 0.05, 0.84], size=4000)[:, :2].T
    shown = (np.abs(gained - lost) / np.sqrt(np.maximum(gained + lost, 1)) > 1.96).mean()
    assert paired_power(300, 0.16, 0.06) == pytest.approx(shown, abs=0.03)


def test_critical_values() -> None:
    assert critical_value(0.05) == pytest.approx(1.959964, abs=1e-6)
    assert critical_value(0.05, 4) == pytest.approx(2.776445, abs=1e-6)
