"""Power against published figures, the noncentral t distribution, and its own inverse."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from tracelake.assets.folds.statistics.power import critical_value, minimum_detectable_effect, power_of


@pytest.mark.parametrize(("seeds", "power"), [(3, 0.23), (5, 0.39), (8, 0.54), (12, 0.66)])
def test_seeds_for_a_claim_about_methods(seeds: int, power: float) -> None:
    # Two methods with a standard deviation of 0.01 over seeds, on 300 tasks with 4 runs each: effects differ
    # over tasks by 0.1, runs of one task by a variance of 0.1125.
    error = math.sqrt(2 * 0.01**2 / seeds + (0.1**2 + 2 * 0.1125 / (4 * seeds)) / 300)
    assert power_of(0.02, error, alpha=0.05, df=2 * (seeds - 1)) == pytest.approx(power, abs=0.006)
    if seeds == 3:
        # A sum of two t quantiles gives 4.7; solving for the power gives 4.79.
        detectable = minimum_detectable_effect(error, alpha=0.05, df=4)
        assert 100 * detectable == pytest.approx(4.79, abs=0.01)
        assert 100 * error * (stats.t.ppf(0.975, 4) + stats.t.ppf(0.8, 4)) == pytest.approx(4.7, abs=0.05)


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


def test_critical_values() -> None:
    assert critical_value(0.05) == pytest.approx(1.959964, abs=1e-6)
    assert critical_value(0.05, 4) == pytest.approx(2.776445, abs=1e-6)
