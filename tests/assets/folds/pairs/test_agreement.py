"""Agreement beyond chance: hand-worked shares, and chance against its closed form."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import polars as pl
import pytest

from tests.assets.folds.answer_frames import frame, teacher, votes_of
from tracelake.assets.folds.pairs.agreement import EVERY_TEACHER, teacher_agreement

ALL = EVERY_TEACHER * 2


def voted(*states: str) -> pl.DataFrame:
    """`voted("aab", "a-b")`: one letter per teacher and state, `-` for no answer."""
    return frame(
        *(
            teacher(f"s{state}", chr(65 + column), letter)
            for state, letters in enumerate(states)
            for column, letter in enumerate(letters)
            if letter != "-"
        )
    )


def rows_of(
    answers: pl.DataFrame, permutation_count: int = 200, seed: int = 0
) -> dict[str, dict[str, object]]:
    ballots = votes_of(answers, ["L1"])
    found = teacher_agreement(ballots, permutation_count=permutation_count, permutation_seed=seed)
    return {f"{row['teacher_a']}{row['teacher_b']}": row for row in found.to_dicts()}


def test_observed_agreement_is_fleiss_p_with_equal_votes() -> None:
    """States 3-0, 2-1, 1-1-1: P_i = 1, 1/3, 0."""
    rows = rows_of(voted("aaa", "bbc", "def"))
    assert rows[ALL]["observed_agreement"] == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert rows["AB"]["observed_agreement"] == pytest.approx(2 / 3)
    assert rows["BC"]["observed_agreement"] == pytest.approx(1 / 3)


def test_a_missing_answer_weighs_less() -> None:
    """Krippendorff: (3 votes · 1/3 + 2 votes · 1) / 5; a state with one vote does not count."""
    rows = rows_of(voted("aab", "c-c", "d--"))
    assert rows[ALL]["observed_agreement"] == pytest.approx((3 / 3 + 2) / 5)
    assert rows[ALL]["state_count"] == 2
    assert rows["AB"]["state_count"] == 1


def test_expected_agreement_comes_from_permutation_within_a_tool() -> None:
    """Expected agreement of a pair is the mean over states of Σ_c p_a(c) p_b(c), p over a teacher's own
    votes."""
    generator = np.random.default_rng(3)
    answers = voted(*("".join(generator.choice(list("aaabc"), 3)) for _ in range(40)))
    rows = rows_of(answers, permutation_count=2000)
    ballots = votes_of(answers, ["L1"])
    shares = {
        name: Counter(ballots.filter(pl.col("author") == name)["action_class"].to_list())
        for name in ("A", "B", "C")
    }
    for a, b in ("AB", "AC", "BC"):
        exact = sum(shares[a][c] * shares[b][c] for c in shares[a]) / 40**2
        assert rows[a + b]["expected_agreement"] == pytest.approx(exact, abs=0.005)


def test_teachers_at_random_agree_no_more_than_chance() -> None:
    generator = np.random.default_rng(5)
    rows = rows_of(voted(*("".join(generator.choice(list("abc"), 3)) for _ in range(150))))
    assert abs(float(str(rows[ALL]["kappa"]))) < 0.12
    assert float(str(rows[ALL]["p_value"])) > 0.05


def test_teachers_that_follow_the_state_agree_beyond_chance() -> None:
    states = [letter * 3 for letter in "abcdefgh" * 5]
    rows = rows_of(voted(*states))
    assert rows[ALL]["observed_agreement"] == 1.0
    assert rows[ALL]["kappa"] == 1.0
    assert rows[ALL]["p_value"] == pytest.approx(1 / 201)


def test_knowing_only_the_tool_is_not_agreement() -> None:
    """Both call `read` and `list` at the same states, in one class each: all agreement is by tool."""
    calls = [
        f'{{"content":"","tool_calls":[{{"arguments":{{}},"name":"{tool}"}}]}}' for tool in ("read", "list")
    ]
    rows = [
        teacher(f"s{state}", author, "") | {"action_json": calls[state % 2]}
        for state, author in product(range(10), "AB")
    ]
    row = rows_of(frame(*rows))[ALL]
    assert (row["observed_agreement"], row["expected_agreement"], row["kappa"]) == (1.0, 1.0, None)


def test_the_seed_decides() -> None:
    answers = voted("aab", "bbc", "abc", "aaa", "cab")
    assert rows_of(answers, 50, 1) == rows_of(answers, 50, 1)
    assert rows_of(answers, 50, 1) != rows_of(answers, 50, 2)


def test_one_teacher_alone_has_no_agreement() -> None:
    assert teacher_agreement(votes_of(voted("a", "b"))).is_empty()
