"""p values against numbers worked by hand, and against exact binomial tests."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tracelake.assets.folds.statistics.p_values import holm, sign_flip_p

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


class TestSignFlips:
    def test_three_units_have_eight_flips(self) -> None:
        assert sign_flip_p(np.array([1.0, 2.0, 3.0]), flip_count=99, seed=0) == 2 / 8
        assert sign_flip_p(np.array([1.0, 2.0, -3.0]), flip_count=99, seed=0) == 1.0

    def test_units_without_a_difference_do_not_count(self) -> None:
        assert sign_flip_p(np.array([1.0, 0.0, 2.0, 0.0, 3.0]), flip_count=99, seed=0) == 2 / 8
        assert sign_flip_p(np.zeros(4), flip_count=99, seed=0) == 1.0

    def test_gains_and_losses_give_the_exact_mcnemar_test(self) -> None:
        units = np.array([1.0] * 7 + [-1.0])
        assert sign_flip_p(units, flip_count=99, seed=0) == pytest.approx(stats.binomtest(7, 8).pvalue)

    def test_random_flips_of_many_units_agree_with_the_exact_answer(self) -> None:
        units = np.array([1.0] * 14 + [-1.0] * 6)
        drawn = sign_flip_p(units, flip_count=19_999, seed=1)
        assert drawn == pytest.approx(stats.binomtest(14, 20).pvalue, abs=0.01)
        assert drawn == sign_flip_p(units, flip_count=19_999, seed=1)

    def test_the_observation_counts_itself(self) -> None:
        assert sign_flip_p(np.ones(60), flip_count=999, seed=0) == 1 / 1000


class TestHolm:
    def test_by_hand(self) -> None:
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    @given(P_VALUES)
    def test_the_correction_preserves_order_and_never_lowers_a_p_value(self, p_values: list[float]) -> None:
        adjusted = holm(p_values)
        assert all(p - 1e-12 <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
        for (p, q), (r, s) in product(zip(p_values, adjusted, strict=True), repeat=2):
            assert p >= r or q <= s

    def test_one_test_is_not_corrected(self) -> None:
        assert holm([0.03]) == [0.03]
