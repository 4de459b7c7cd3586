"""Scores of arms on tasks, in the shape that a verdict reads."""

from __future__ import annotations

import polars as pl


def evaluations(task_evaluated: pl.DataFrame) -> pl.DataFrame:
    """One row per attempt; key (evaluation_id, metric, task_key, sample_index)."""
    return task_evaluated.select(
        "experiment_id",
        "evaluation_id",
        "training_id",
        "arm",
        "seed",
        "train_step",
        "task_key",
        "cluster",
        "sample_index",
        "metric",
        "score",
        "rollout_id",
        "event_id",
    ).sort("evaluation_id", "metric", "task_key", "sample_index")
