"""Recordings of a rollout: a file that was imported while it grew has ended several times in the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def longest_recordings(rollout_ended: pl.DataFrame) -> pl.DataFrame:
    """One end per rollout, that of its longest recording; one without a length was recorded live and is
    whole. Sorted by rollout."""
    ordered = rollout_ended.sort("rollout_id", "recording_length", nulls_last=True)
    return ordered.unique("rollout_id", keep="last", maintain_order=True)
