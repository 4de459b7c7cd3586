"""What training consumed: which pairs and rollouts each update saw. The checkpoint's answer to *what made
you?*
"""

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
    """Everything that made one checkpoint: items of all updates up to it.

    An attempt that was resumed did some updates again; the last doing of each is the one that counts.
    """
    mine = exposures.filter((pl.col("training_id") == training_id) & (pl.col("train_step") <= train_step))
    seen = mine.filter(pl.col("attempt_index") == pl.col("attempt_index").max().over("train_step"))
    return (
        seen.group_by("item_kind", "item_id")
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
