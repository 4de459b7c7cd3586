"""Scores of two arms as paired cells, seeds by tasks, with ungraded and missing scores counted apart.

Shapes: S paired seeds, T tasks of either arm on those seeds, both in ascending order.

**An ungraded score is bounded, never imputed.** So is a task without a score in one arm: a run that crashes
on hard tasks must not gain by it. Seeds of one arm only are left out and listed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracelake.assets.folds.statistics.contrast import Floats
from tracelake.assets.folds.verdict.ab_model import VerdictSpec
from tracelake.schemas.errors import BadInputError

SCORE_SCHEMA: dict[str, pl.DataType] = {
    "arm": pl.String(),
    "seed": pl.Int64(),
    "task_key": pl.String(),
    "cluster": pl.String(),
    "sample_index": pl.Int64(),
    "score": pl.Float64(),
}
"""One row per attempt. A null score is ungraded; a task with a null cluster is a cluster of its own."""
_ATTEMPT_KEY = ["arm", "seed", "task_key", "sample_index"]


class ArmCells(NamedTuple):
    """One arm, [S, T] each."""

    sums: Floats
    graded: Floats
    ungraded: Floats
    """Rows without a score; 1 in a cell without any row."""
    missing: NDArray[np.bool_]
    """Cells without any row."""

    def means(self) -> Floats:
        """NaN where nothing is graded."""
        return np.divide(self.sums, self.graded, out=np.full_like(self.sums, np.nan), where=self.graded > 0)

    def filled_means(self, value: float) -> Floats:
        """Means if every ungraded score were this value."""
        return (self.sums + self.ungraded * value) / (self.graded + self.ungraded)


class PairedScores(NamedTuple):
    seeds: list[int]
    unpaired_seeds: list[int]
    tasks: list[str]
    clusters: list[str]
    """[T], the cluster of each task."""
    arms: dict[str, ArmCells]
    """Control first, then treatment, then the others by name."""


class Differences(NamedTuple):
    """Treatment minus control, [S, T] each."""

    graded: Floats
    """NaN where an arm has no graded score."""
    worst: Floats
    best: Floats


def paired_scores(evaluations: pl.DataFrame, spec: VerdictSpec) -> PairedScores:
    """Raises: BadInputError for a missing column or arm, two scores of one attempt, a task in two clusters, a
    score out of range, or arms without a common seed."""
    scores = _checked(evaluations, spec)
    seeds_of = {arm: set(scores.filter(pl.col("arm") == arm)["seed"]) for arm in scores["arm"].unique()}
    pair = (spec.control_arm, spec.treatment_arm)
    absent = [arm for arm in pair if arm not in seeds_of]
    if absent:
        raise BadInputError(
            "an arm has no scores", got=f"arms {sorted(seeds_of)}", expected=", ".join(absent)
        )
    seeds = sorted(seeds_of[pair[0]] & seeds_of[pair[1]])
    if not seeds:
        raise BadInputError("the arms share no seed", got=str({arm: sorted(seeds_of[arm]) for arm in pair}))
    in_pair = scores.filter(pl.col("arm").is_in(pair) & pl.col("seed").is_in(seeds))
    tasks = in_pair.group_by("task_key").agg(pl.col("cluster").first()).sort("task_key")
    order = [*pair, *sorted(set(seeds_of) - set(pair))]
    cells = {
        arm: _cells(scores.filter(pl.col("arm") == arm), seeds, tasks["task_key"].to_list()) for arm in order
    }
    unpaired = sorted((seeds_of[pair[0]] | seeds_of[pair[1]]) - set(seeds))
    return PairedScores(seeds, unpaired, tasks["task_key"].to_list(), tasks["cluster"].to_list(), cells)


def differences(scores: PairedScores, spec: VerdictSpec) -> Differences:
    control, treatment = scores.arms[spec.control_arm], scores.arms[spec.treatment_arm]
    return Differences(
        treatment.means() - control.means(),
        treatment.filled_means(spec.score_min) - control.filled_means(spec.score_max),
        treatment.filled_means(spec.score_max) - control.filled_means(spec.score_min),
    )


def _checked(evaluations: pl.DataFrame, spec: VerdictSpec) -> pl.DataFrame:
    missing = [name for name in SCORE_SCHEMA if name not in evaluations.columns]
    if missing:
        raise BadInputError(
            "evaluations lack columns", got=", ".join(missing), expected=", ".join(SCORE_SCHEMA)
        )
    scores = evaluations.select(pl.col(name).cast(kind) for name, kind in SCORE_SCHEMA.items())
    scores = scores.with_columns(pl.col("cluster").fill_null(pl.col("task_key"))).unique().sort(_ATTEMPT_KEY)
    bounds = pl.col("score").is_between(spec.score_min, spec.score_max)
    outside = scores.filter(pl.col("score").is_not_null() & (pl.col("score").is_nan() | ~bounds))
    if outside.height:
        raise BadInputError(
            "a score is out of range",
            got=str(outside["score"][0]),
            expected=f"{spec.score_min} to {spec.score_max}",
            cure="Set score_min and score_max of the rule to the metric's range.",
        )
    _require_one(scores, _ATTEMPT_KEY, "score", "one attempt has two scores")
    _require_one(scores, ["task_key"], "cluster", "one task is in two clusters")
    return scores


def _require_one(scores: pl.DataFrame, key: list[str], column: str, message: str) -> None:
    several = scores.select(*key, column).unique().group_by(key).len().filter(pl.col("len") > 1).sort(key)
    if several.height:
        raise BadInputError(
            message,
            got=str(several.row(0, named=True)),
            expected=f"one {column} per {', '.join(key)}",
            cure="Pass the scores of one evaluation per arm and seed.",
        )


def _cells(scores: pl.DataFrame, seeds: list[int], tasks: list[str]) -> ArmCells:
    grid = pl.DataFrame({"seed": seeds}, {"seed": pl.Int64}).join(
        pl.DataFrame({"task_key": tasks}, {"task_key": pl.String}), how="cross"
    )
    counted = scores.group_by("seed", "task_key").agg(
        pl.col("score").sort().sum().alias("sums"),
        pl.col("score").count().alias("graded"),
        pl.col("score").null_count().alias("ungraded"),
    )
    filled = grid.join(counted, on=["seed", "task_key"], how="left").sort("seed", "task_key")
    shape = (len(seeds), len(tasks))
    missing = filled["graded"].is_null().to_numpy().reshape(shape)
    sums, graded, ungraded = (
        filled[name].fill_null(0).to_numpy().astype(np.float64).reshape(shape)
        for name in ("sums", "graded", "ungraded")
    )
    return ArmCells(sums, graded, np.where(missing, 1.0, ungraded), missing)
