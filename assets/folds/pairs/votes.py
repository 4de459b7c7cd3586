"""One vote per teacher, state and level: the most frequent action among the teacher's samples."""

from __future__ import annotations

import polars as pl

VOTE_KEY = ["state_key", "level", "author"]


def votes(classified: pl.DataFrame) -> pl.DataFrame:
    """One row per (state_key, level, author), in this order.

    `class_sample_count` of `sample_count` samples fell into `action_class`. Among equally frequent classes,
    the one with the lowest sample index is the vote. `sample_index`, `event_id` and `action_json` are those
    of the lowest sample of that class.
    """
    samples = classified.filter(pl.col("role") == "teacher").sort(*VOTE_KEY, "sample_index", "event_id")
    first = pl.col("sample_index", "event_id", "action_json", "tool", "is_empty").first()
    classes = samples.group_by(*VOTE_KEY, "action_class", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("class_sample_count"), first
    )
    ranked = classes.with_columns(
        pl.col("class_sample_count").sum().over(VOTE_KEY).alias("sample_count"),
    ).sort(
        *VOTE_KEY,
        "class_sample_count",
        "sample_index",
        "event_id",
        descending=[False] * 3 + [True, False, False],
    )
    return ranked.unique(VOTE_KEY, keep="first", maintain_order=True).select(
        *VOTE_KEY, "action_class", "tool", "is_empty", "sample_count", "class_sample_count",
        "sample_index", "event_id", "action_json",
    )  # fmt: skip
