"""Evaluations frames: written by hand, or drawn with a known effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tracelake.assets.folds.verdict.ab_model import VerdictSpec
from tracelake.assets.folds.verdict.paired_scores import SCORE_SCHEMA, ArmCells, PairedScores

Scores = Mapping[str, Sequence[float | None]]


def spec(**changes: object) -> VerdictSpec:
    """A rule with a minimum effect of 10 points, and few resamples."""
    fields: dict[str, object] = {
        "experiment_id": "x1",
        "title": "A against B",
        "scale": "hand-made",
        "minimum_effect": 0.1,
        "resample_count": 1000,
        "flip_count": 999,
    }
    return VerdictSpec.model_validate(fields | changes)


def scores(arms: Mapping[str, Scores], seeds: Sequence[int] = (0,)) -> pl.DataFrame:
    """`{"A": {"repo": [0, 1, None]}}`: one task per figure, clustered under its name, the same on every
    seed."""
    rows = [
        (arm, seed, f"{cluster}-{index}", cluster, 0, None if score is None else float(score))
        for arm, clusters in arms.items()
        for seed in seeds
        for cluster, figures in clusters.items()
        for index, score in enumerate(figures)
    ]
    return pl.DataFrame(rows, schema=SCORE_SCHEMA, orient="row")


def drawn_cells(
    generator: np.random.Generator,
    *,
    effect: float = 0.0,
    seed_count: int = 1,
    task_count: int = 60,
    cluster_count: int | None = None,
    seed_sd: float = 0.0,
    cluster_sd: float = 0.0,
) -> PairedScores:
    """Pass or fail of arms A and B. Both differ by `effect`, by a draw per seed and by a draw per cluster;
    tasks differ in difficulty."""
    clusters = np.arange(task_count) % (cluster_count or task_count)
    shift = effect + generator.normal(0, seed_sd, (seed_count, 1))
    shift = shift + generator.normal(0, cluster_sd, clusters.max() + 1)[clusters]
    base = generator.uniform(0.25, 0.75, task_count)
    arms = {name: _passes(generator, base + sign * shift / 2) for name, sign in (("A", -1), ("B", 1))}
    names = [f"c{cluster:03d}" for cluster in clusters]
    return PairedScores(
        list(range(seed_count)), [], [f"t{task:04d}" for task in range(task_count)], names, arms
    )


def _passes(generator: np.random.Generator, rates: np.ndarray) -> ArmCells:
    passed = (generator.random(rates.shape) < rates).astype(np.float64)
    zeros = np.zeros_like(passed)
    return ArmCells(passed, np.ones_like(passed), zeros, zeros.astype(bool))
