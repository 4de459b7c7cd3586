"""What the lake knows of earlier attempts at a training."""

from __future__ import annotations

import polars as pl

from tracelake.lake import Lake
from tracelake.schemas.errors import TableMissingError


def attempt_count(lake: Lake, training_id: str) -> int:
    return _count(lake, "training_started", pl.col("training_id") == training_id)


def is_finished(lake: Lake, training_id: str) -> bool:
    done = (pl.col("training_id") == training_id) & (pl.col("status") == "completed")
    return _count(lake, "training_ended", done) > 0


def _count(lake: Lake, kind: str, where: pl.Expr) -> int:
    lake.project([kind])
    try:
        return lake.scan(kind).filter(where).select(pl.len()).collect().item()
    except TableMissingError:
        return 0
