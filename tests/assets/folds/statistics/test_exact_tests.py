"""Small exact statistics against numbers worked by hand, and against the program's own."""

from __future__ import annotations

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.assets.folds.statistics.exact_tests import (
    benjamini_hochberg,
    clustered_standard_error,
    holm,
    mcnemar_exact,
    pass_at_k,
    sign_flip_p,
)

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


class TestPassAtK:
    @given(st.integers(1, 12), st.data())
    def test_it_is_the_share_of_samples_of_k_with_a_pass(self, attempts: int, data: st.DataObject) -> None:
        passes, k = data.draw(st.integers(0, attempts)), data.draw(st.integers(1, attempts))
        draws = list(combinations([True] * passes + [False] * (attempts - passes), k))
        assert pass_at_k(attempts, passes, k) == pytest.approx(sum(map(any, draws)) / len(draws))

    def test_it_is_the_closed_form(self) -> None:
        assert pass_at_k(200, 30, 10) == pytest.approx(1 - comb(170, 10) / comb(200, 10))

    @pytest.mark.parametrize("wrong", [(5, 6, 1), (5, -1, 1), (5, 2, 6), (5, 2, 0)])
    def test_impossible_counts_are_refused(self, wrong: tuple[int, int, int]) -> None:
        with pytest.raises(ValueError, match="not defined"):
            pass_at_k(*wrong)


class TestMcNemar:
    @pytest.mark.parametrize(
        ("gained", "lost", "p"), [(6, 0, 2 / 64), (7, 1, 18 / 256), (5, 0, 2 / 32), (3, 3, 1.0), (0, 0, 1.0)]
    )
    def test_gains_against_losses(self, gained: int, lost: int, p: float) -> None:
        assert mcnemar_exact(gained, lost) == pytest.approx(p)
        assert mcnemar_exact(lost, gained) == pytest.approx(p)

    def test_two_points_of_300_tasks_survive_no_single_regression(self) -> None:
        assert mcnemar_exact(6, 0) < 0.05 < mcnemar_exact(7, 1)


class TestSignFlips:
    def test_three_units_have_eight_flips(self) -> None:
        assert sign_flip_p(np.array([1.0, 2.0, 3.0]), flip_count=99, seed=0) == 2 / 8
        assert sign_flip_p(np.array([1.0, 2.0, -3.0]), flip_count=99, seed=0) == 1.0

    def test_units_without_a_difference_say_nothing(self) -> None:
        assert sign_flip_p(np.array([1.0, 0.0, 2.0, 0.0, 3.0]), flip_count=99, seed=0) == 2 / 8
        assert sign_flip_p(np.zeros(4), flip_count=99, seed=0) == 1.0

    def test_it_is_mcnemar_on_gains_and_losses(self) -> None:
        assert sign_flip_p(np.array([1.0] * 7 + [-1.0]), flip_count=99, seed=0) == pytest.approx(
            mcnemar_exact(7, 1)
        )

    def test_many_units_are_flipped_at_random_and_agree_with_the_exact_answer(self) -> None:
        units = np.array([1.0] * 14 + [-1.0] * 6)
        drawn = sign_flip_p(units, flip_count=19_999, seed=1)
        assert drawn == pytest.approx(mcnemar_exact(14, 6), abs=0.01)
        assert drawn == sign_flip_p(units, flip_count=19_999, seed=1)

    def test_the_observation_counts_itself(self) -> None:
        assert sign_flip_p(np.ones(60), flip_count=999, seed=0) == 1 / 1000


class TestManyTests:
    def test_holm_by_hand(self) -> None:
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_benjamini_hochberg_by_hand(self) -> None:
        assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])

    @given(P_VALUES)
    def test_corrections_keep_the_order_and_never_help(self, p_values: list[float]) -> None:
        for adjusted in (holm(p_values), benjamini_hochberg(p_values)):
            assert all(p - 1e-12 <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
            for (p, q), (r, s) in product(zip(p_values, adjusted, strict=True), repeat=2):
                assert p >= r or q <= s
        assert all(a <= b + 1e-12 for a, b in zip(benjamini_hochberg(p_values), holm(p_values), strict=True))

    def test_one_test_is_not_corrected(self) -> None:
        assert holm([0.03]) == benjamini_hochberg([0.03]) == [0.03]


class TestClusteredError:
    def test_items_of_their_own_cluster_have_the_usual_error(self) -> None:
        differences = np.array([1.0, -1.0, 0.5, 2.0])
        expected = differences.std(ddof=1) / 2
        assert clustered_standard_error(differences, [1, 2, 3, 4]) == pytest.approx(expected)

    def test_two_by_two_by_hand(self) -> None:
        """d = 1, 1, -1, -1 in clusters {0, 1}, {2, 3}: sd²/n = 4/12; cross terms 4/16; together 7/12."""
        error = clustered_standard_error(np.array([1.0, 1.0, -1.0, -1.0]), ["x", "x", "y", "y"])
        assert error == pytest.approx((4 / 12 + 4 / 16) ** 0.5)

    def test_opposites_within_a_cluster_cancel(self) -> None:
        apart = clustered_standard_error(np.array([1.0, -1.0, 1.0, -1.0]), [1, 2, 3, 4])
        together = clustered_standard_error(np.array([1.0, -1.0, 1.0, -1.0]), [1, 1, 2, 2])
        assert together < apart
