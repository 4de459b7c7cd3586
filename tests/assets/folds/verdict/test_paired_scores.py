"""Scores of two arms become cells of seeds by tasks; ungraded and missing scores are bounded."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.assets.folds.score_frames import scores, spec
from tracelake.assets.folds.verdict.paired_scores import SCORE_SCHEMA, differences, paired_scores
from tracelake.schemas.errors import BadInputError


def rows(*attempts: tuple[str, int, str, int, float | None]) -> pl.DataFrame:
    """(arm, seed, task, sample, score), every task in one cluster."""
    full = [(arm, seed, task, "c", sample, score) for arm, seed, task, sample, score in attempts]
    return pl.DataFrame(full, schema=SCORE_SCHEMA, orient="row")


def test_samples_of_a_cell_are_averaged_and_tasks_paired() -> None:
    found = differences(
        paired_scores(rows(("A", 0, "t", 0, 0.0), ("A", 0, "t", 1, 1.0), ("B", 0, "t", 0, 1.0)), spec()),
        spec(),
    )
    assert found.graded.tolist() == [[0.5]]


def test_an_ungraded_score_is_bounded_by_the_range() -> None:
    attempts = rows(("A", 0, "t", 0, 1.0), ("B", 0, "t", 0, 1.0), ("B", 0, "t", 1, None))
    found = differences(paired_scores(attempts, spec()), spec())
    assert (found.worst.item(), found.graded.item(), found.best.item()) == (-0.5, 0.0, 0.0)


def test_a_task_that_one_arm_lacks_is_bounded_too() -> None:
    """A run that crashed on a hard task must not gain by it."""
    attempts = rows(("A", 0, "hard", 0, 0.0), ("A", 0, "easy", 0, 1.0), ("B", 0, "easy", 0, 1.0))
    paired = paired_scores(attempts, spec())
    found = differences(paired, spec())
    assert paired.tasks == ["easy", "hard"]
    assert paired.arms["B"].missing.tolist() == [[False, True]]
    assert np.isnan(found.graded[0, 1])
    assert (found.worst[0, 1], found.best[0, 1]) == (0.0, 1.0)


def test_seeds_of_one_arm_are_left_out_and_listed() -> None:
    attempts = rows(
        ("A", 1, "t", 0, 0.0), ("A", 2, "t", 0, 0.0), ("B", 2, "t", 0, 1.0), ("B", 3, "t", 0, 1.0)
    )
    paired = paired_scores(attempts, spec())
    assert (paired.seeds, paired.unpaired_seeds) == ([2], [1, 3])


def test_a_task_without_a_cluster_is_its_own() -> None:
    attempts = rows(("A", 0, "t", 0, 0.0), ("B", 0, "t", 0, 1.0)).with_columns(
        cluster=pl.lit(None, pl.String)
    )
    assert paired_scores(attempts, spec()).clusters == ["t"]


def test_repeated_rows_and_other_columns_change_nothing() -> None:
    frame = scores({"A": {"c": [0, 1]}, "B": {"c": [1, 1]}})
    again = pl.concat([frame, frame]).with_columns(evaluation_id=pl.lit("e")).reverse()
    one, other = paired_scores(frame, spec()), paired_scores(again, spec())
    assert one.tasks == other.tasks
    assert np.array_equal(one.arms["B"].sums, other.arms["B"].sums)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (rows(("A", 0, "t", 0, 0.0)), "an arm has no scores"),
        (rows(("A", 0, "t", 0, 0.0), ("B", 1, "t", 0, 1.0)), "share no seed"),
        (rows(("A", 0, "t", 0, 0.0), ("A", 0, "t", 0, 1.0), ("B", 0, "t", 0, 1.0)), "two scores"),
        (rows(("A", 0, "t", 0, 0.0), ("B", 0, "t", 0, 1.5)), "out of range"),
        (rows(("A", 0, "t", 0, 0.0), ("B", 0, "t", 0, float("nan"))), "out of range"),
        (rows(("A", 0, "t", 0, 0.0)).drop("score"), "lack columns"),
    ],
)
def test_scores_that_cannot_be_paired_are_refused(frame: pl.DataFrame, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        paired_scores(frame, spec())


def test_a_task_of_two_clusters_is_refused() -> None:
    frame = rows(("A", 0, "t", 0, 0.0), ("B", 0, "t", 0, 1.0)).with_columns(cluster=pl.Series(["x", "y"]))
    with pytest.raises(BadInputError, match="two clusters"):
        paired_scores(frame, spec())
