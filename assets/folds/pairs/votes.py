"""One vote per teacher, state and level: the action that the teacher's samples most often are."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from tracelake.assets.folds.actions.classified import classified_answers
from tracelake.assets.folds.actions.keys import LEVELS, Level

VOTE_KEY = ["state_key", "level", "author"]


def votes(answers: pl.DataFrame, levels: Sequence[Level] = LEVELS) -> pl.DataFrame:
    """One row per (state_key, level, author), in this order.

    `class_sample_count` of `sample_count` samples fell into `action_class`; of equally frequent classes the
    one that holds the lowest sample index is the vote. `sample_index`, `event_id`, `action_json` are the
    lowest sample of that class.
    """
    return votes_of(classified_answers(answers, levels))


def votes_of(classified: pl.DataFrame) -> pl.DataFrame:
    """`votes` from answers that are classified already."""
    samples = classified.filter(pl.col("role") == "teacher").sort(*VOTE_KEY, "sample_index", "event_id")
    first = pl.col("sample_index", "event_id", "action_json", "tool", "is_empty").first()
    ballots = samples.group_by(*VOTE_KEY, "action_class", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("class_sample_count"), first
    )
    ranked = ballots.with_columns(
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
