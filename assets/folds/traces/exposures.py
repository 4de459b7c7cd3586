"""Exposures: the pairs and rollouts that each update of a training consumed."""

from __future__ import annotations

import polars as pl

EXPOSURE_SCHEMA = pl.Schema(
    {
        "training_id": pl.String,
        "attempt_index": pl.Int64,
        "train_step": pl.Int64,
        "item_kind": pl.String,
        "item_id": pl.String,
        "weight": pl.Float64,
    }
)


def exposures(batch_consumed: pl.DataFrame) -> pl.DataFrame:
    """One row per update and item; key is all columns but the weight."""
    parts = [
        _exploded(batch_consumed, "pair", "pair_ids_json", pl.col("pair_weight")),
        _exploded(batch_consumed, "rollout", "rollout_ids_json", pl.lit(1.0)),
    ]
    key = [name for name in EXPOSURE_SCHEMA if name != "weight"]
    # An item that an update saw twice counts twice.
    return pl.concat(parts).group_by(key).agg(pl.col("weight").sum()).select(list(EXPOSURE_SCHEMA)).sort(key)


def checkpoint_exposures(exposures: pl.DataFrame, training_id: str, train_step: int) -> pl.DataFrame:
    """Items of all updates up to one checkpoint.

    A resumed training repeats some updates; only the last attempt at each counts.
    """
    until = exposures.filter((pl.col("training_id") == training_id) & (pl.col("train_step") <= train_step))
    counted = until.filter(pl.col("attempt_index") == pl.col("attempt_index").max().over("train_step"))
    return (
        counted.group_by("item_kind", "item_id")
        .agg(
            pl.len().cast(pl.Int64).alias("update_count"),
            pl.col("train_step").min().alias("first_train_step"),
        )
        .sort("item_kind", "item_id")
    )


def _exploded(batches: pl.DataFrame, item_kind: str, column: str, weight: pl.Expr) -> pl.DataFrame:
    return (
        batches.select(
            "training_id",
            "attempt_index",
            "train_step",
            pl.lit(item_kind).alias("item_kind"),
            pl.col(column).str.json_decode(pl.List(pl.String)).alias("item_id"),
            weight.cast(pl.Float64).alias("weight"),
        )
        .explode("item_id")
        .drop_nulls("item_id")
        .cast(EXPOSURE_SCHEMA)
    )
