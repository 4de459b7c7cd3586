"""Scores of arms on tasks, in the shape that a verdict reads; and what everything cost."""

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


def spend(
    turn_completed: pl.DataFrame, teacher_answered: pl.DataFrame, teacher_failed: pl.DataFrame
) -> pl.DataFrame:
    """Calls, tokens and dollars by purpose and model, from deduplicated facts. Key (purpose, model)."""
    # A harvested answer was paid for as a turn of its own rollout.
    asked = teacher_answered.filter(pl.col("origin") == "asked")
    parts = [
        _spent(
            turn_completed.with_columns(pl.coalesce("model_requested", "model_served").alias("model")),
            "rollout",
        ),
        _spent(asked.rename({"teacher": "model"}), "teacher"),
        _spent(
            teacher_failed.rename({"teacher": "model"}).with_columns(
                pl.lit(None, pl.Int64).alias(name)
                for name in ("prompt_token_count", "cached_token_count", "completion_token_count")
            ),
            "teacher_failed",
        ),
    ]
    return pl.concat(parts).sort("purpose", "model")


def _spent(calls: pl.DataFrame, purpose: str) -> pl.DataFrame:
    return (
        calls.sort("event_id")
        .group_by(pl.col("model").fill_null("unknown"), maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("call_count"),
            pl.col("cost_usd").is_not_null().sum().cast(pl.Int64).alias("priced_call_count"),
            pl.col("prompt_token_count").sum(),
            pl.col("cached_token_count").sum(),
            pl.col("completion_token_count").sum(),
            pl.col("cost_usd").sum(),
        )
        .select(pl.lit(purpose).alias("purpose"), pl.all())
    )
