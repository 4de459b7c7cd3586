"""A mean over crossed seeds and tasks: its error, its interval, its bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tracelake.assets.folds.statistics.contrast import (
    Bootstrap,
    bootstrap,
    effective_count,
    estimate,
    means_without_each_unit,
    unit_sums,
    unseen_share,
    unseen_units,
)

ALONE = np.arange(4, dtype=np.int64)
PAIRS = np.array([0, 0, 1, 1], dtype=np.int64)


def resampled(
    values: np.ndarray, codes: np.ndarray, seed: int = 0, standard_error: float | None = None
) -> Bootstrap:
    error = standard_error or estimate(values, codes, alpha=0.05, value_range=1).standard_error
    return bootstrap(values, codes, alpha=0.05, standard_error=error, resample_count=4000, seed=seed)


class TestOneSeed:
    def test_independent_tasks_have_the_usual_error(self) -> None:
        values = np.array([[0.0, 1.0, 0.0, 1.0]])
        found = estimate(values, ALONE, alpha=0.05, value_range=1)
        assert found.mean == 0.5
        assert found.standard_error == pytest.approx(values.std(ddof=1) / 2)
        assert found.df == 3
        assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 3) * found.standard_error)

    def test_two_clusters_by_hand(self) -> None:
        """Residual sums ±1 of two clusters: V = (1 + 1) / 16 · 2/1."""
        found = estimate(np.array([[1.0, 1.0, 0.0, 0.0]]), PAIRS, alpha=0.05, value_range=1)
        assert found.standard_error == pytest.approx(0.5)
        assert found.df == 1


class TestSeveralSeeds:
    def test_a_two_way_layout_by_hand(self) -> None:
        """Mean squares of a 3 × 3 table: V = (MS_seed + MS_unit - MS_both) / 9."""
        values = np.array([[1.0, 2.0, 6.0], [2.0, 5.0, 8.0], [1.0, 3.0, 9.0]])
        rows, columns, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
        of_seeds = 3 * ((rows - mean) ** 2).sum() / 2
        of_units = 3 * ((columns - mean) ** 2).sum() / 2
        rest = values - rows[:, None] - columns[None, :] + mean
        of_both = (rest**2).sum() / 4
        found = estimate(values, np.arange(3), alpha=0.05, value_range=10)
        assert found.standard_error**2 == pytest.approx((of_seeds + of_units - of_both) / 9)
        assert found.seed_variance == pytest.approx((of_seeds - of_both) / 9)
        assert found.unit_variance == pytest.approx((of_units - of_both) / 9)

    def test_seeds_that_disagree_widen_the_interval(self) -> None:
        """Two seeds a long way apart on tasks that are alike: Student's t with one degree of freedom."""
        generator = np.random.default_rng(0)
        values = np.array([[0.4], [0.2]]) + generator.normal(0, 0.3, (2, 40))
        found = estimate(values, np.arange(40), alpha=0.05, value_range=2)
        error = values.mean(axis=1).std(ddof=1) / 2**0.5
        assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 1) * error)
        assert found.low < 0

    def test_seeds_that_differ_are_most_of_the_error(self) -> None:
        generator = np.random.default_rng(0)
        values = np.array([[0.2], [-0.2], [0.1]]) + generator.normal(0, 0.05, (3, 200))
        found = estimate(values, np.arange(200), alpha=0.05, value_range=1)
        across = values.mean(axis=1).std(ddof=1) / 3**0.5
        assert found.standard_error == pytest.approx(across, rel=0.02)
        assert found.df == pytest.approx(2, abs=0.1)

    def test_the_order_of_seeds_and_tasks_does_not_matter(self) -> None:
        generator = np.random.default_rng(1)
        values = generator.normal(size=(3, 8))
        codes = np.array([0, 0, 0, 1, 1, 2, 2, 2])
        order = generator.permutation(8)
        one = estimate(values, codes, alpha=0.05, value_range=9)
        other = estimate(values[::-1][:, order], codes[order], alpha=0.05, value_range=9)
        assert np.allclose(one, other)


class TestUnequalUnits:
    CODES = np.array([0] * 30 + [1, 2, 3, 4, 5], dtype=np.int64)

    def test_one_seed(self) -> None:
        values = np.random.default_rng(8).normal(size=(1, 40))
        codes = np.array([0] * 20 + list(range(1, 21)), dtype=np.int64)
        assert estimate(values, codes, alpha=0.05, value_range=9).df == pytest.approx(
            40**2 / (20**2 + 20) - 1
        )

    def test_several_seeds(self) -> None:
        """Units differ and seeds do not: the degrees of freedom are the units', of which there are 1.4 and
        not 6."""
        of_units = np.array([0.0, 3, 3, 3, 3, 3])[self.CODES]
        values = of_units + np.random.default_rng(9).normal(0, 0.01, (9, 35))
        assert estimate(values, self.CODES, alpha=0.05, value_range=9).df < 1.1


class TestMissingValues:
    def test_missing_values_do_not_count(self) -> None:
        values = np.array([[1.0, np.nan, 0.0, 1.0], [np.nan, np.nan, 1.0, 1.0]])
        assert estimate(values, ALONE, alpha=0.05, value_range=1).mean == pytest.approx(4 / 5)

    def test_only_missing_values_are_refused(self) -> None:
        with pytest.raises(ValueError, match="every value is missing"):
            estimate(np.full((1, 4), np.nan), ALONE, alpha=0.05, value_range=1)


class TestNoVariation:
    def test_the_interval_covers_the_effect_of_an_unseen_task(self) -> None:
        """300 ties exclude at 95 % that more than 1 % of tasks differ: the rule of three."""
        found = estimate(np.zeros((1, 300)), np.arange(300), alpha=0.05, value_range=1)
        assert found.high == pytest.approx(3 / 300, rel=0.01)
        assert not found.varied

    def test_a_few_ties_exclude_little(self) -> None:
        assert estimate(np.zeros((1, 5)), np.arange(5), alpha=0.05, value_range=1).high > 0.4

    def test_shares_and_counts_are_inverse(self) -> None:
        assert unseen_units(0.05, unseen_share(0.05, 120)) == pytest.approx(120)


class TestBootstrap:
    def test_its_spread_is_the_standard_error(self) -> None:
        generator = np.random.default_rng(2)
        values = generator.normal(size=(1, 200))
        found = resampled(values, np.arange(200))
        error = values.std(ddof=1) / 200**0.5
        assert found.percentile_high - found.percentile_low == pytest.approx(2 * 1.96 * error, rel=0.05)

    def test_its_deviations_are_stretched_to_the_given_error(self) -> None:
        """Four units alone would spread too little; crossed with seeds, too much."""
        for values in (np.array([[0.0, 1.0, 3.0, 4.0]]), np.random.default_rng(7).normal(size=(3, 4))):
            narrow, wide = (resampled(values, ALONE, standard_error=error) for error in (0.1, 0.2))
            mean = values.mean()
            assert wide.percentile_high - mean == pytest.approx(2 * (narrow.percentile_high - mean))
            assert 3.0 < (narrow.percentile_high - narrow.percentile_low) / 0.1 < 4.5

    def test_a_skewed_sample_has_a_skewed_interval(self) -> None:
        values = np.random.default_rng(6).exponential(size=(1, 60)) ** 2
        found = resampled(values, np.arange(60))
        assert found.bca_low is not None
        assert found.bca_high is not None
        assert found.bca_low > found.percentile_low
        assert found.bca_high > found.percentile_high
        assert found.bca_high - values.mean() > values.mean() - found.bca_low

    def test_it_agrees_with_another_implementation_of_bca(self) -> None:
        values = np.random.default_rng(3).gamma(1.0, size=40)
        reference = stats.bootstrap(
            (values,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(0)
        ).confidence_interval
        found = resampled(values[None, :], np.arange(40), standard_error=float(values.std() / 40**0.5))
        assert (found.bca_low, found.bca_high) == pytest.approx(tuple(reference), abs=0.03)

    def test_skewness_is_not_claimed_from_few_units(self) -> None:
        few = np.random.default_rng(4).normal(size=(1, 9))
        assert resampled(few, np.arange(9)).bca_low is None
        few_seeds = np.random.default_rng(4).normal(size=(3, 50))
        assert resampled(few_seeds, np.arange(50)).bca_low is None

    def test_the_seed_decides(self) -> None:
        values = np.random.default_rng(5).normal(size=(2, 30))
        codes = np.arange(30) // 3
        assert resampled(values, codes, 7) == resampled(values, codes, 7)
        assert resampled(values, codes, 7) != resampled(values, codes, 8)


def test_unequal_clusters_count_as_fewer() -> None:
    """The task counts of SWE-bench Lite's twelve repositories are worth 4.35 equal ones."""
    counts = np.array([[114, 77, 23, 23, 17, 16, 6, 6, 6, 5, 4, 3]], dtype=np.float64)
    assert effective_count(counts) == pytest.approx(4.35, abs=0.005)
    assert effective_count(np.full((2, 7), 3.0)) == pytest.approx(7)


def test_sums_and_means_of_units() -> None:
    values = np.array([[1.0, 2.0, 3.0, 10.0]])
    assert unit_sums(values, PAIRS).tolist() == [3.0, 13.0]
    assert means_without_each_unit(values, PAIRS).tolist() == [6.5, 1.5]
