"""What the student and the teachers did at one state, in one shape.

**A student is not its own teacher**: answers of its model, harvested ones above all, are left out.
**A teacher's samples at a state are numbered** in the order of their event ids, however they were asked for
or harvested.
"""

from __future__ import annotations

import polars as pl

from tracelake.assets.folds.actions.classified import ANSWER_SCHEMA
from tracelake.assets.folds.traces.turns import canonical_action_text

_SHARED = ("state_key", "rollout_id", "turn_index", "event_id")


def answers(turns: pl.DataFrame, teacher_answered: pl.DataFrame, *, student: str | None) -> pl.DataFrame:
    """One row per student turn, and per teacher answer at any state, as `ANSWER_SCHEMA`. Key answer_id.

    Without a student there are teachers' rows only.
    """
    own = turns.filter(_is_model(turns["model"], student)).select(
        pl.format("student:{}", "event_id").alias("answer_id"),
        pl.lit("student").alias("role"),
        pl.col("model").alias("author"),
        pl.lit(0, pl.Int64).alias("sample_index"),
        *_SHARED,
        "task_key",
        "action_json",
    )
    others = (
        teacher_answered.filter(~_is_model(teacher_answered["teacher"], student))
        .sort("state_key", "teacher", "event_id")
        .join(_tasks(turns), on="state_key", how="left", maintain_order="left")
    )
    asked = others.select(
        pl.format("teacher:{}", "event_id").alias("answer_id"),
        pl.lit("teacher").alias("role"),
        pl.col("teacher").alias("author"),
        pl.int_range(pl.len(), dtype=pl.Int64).over("state_key", "teacher").alias("sample_index"),
        *_SHARED,
        "task_key",
        others["action_json"]
        .map_elements(canonical_action_text, return_dtype=pl.String)
        .alias("action_json"),
    )
    both = pl.concat([_typed(own), _typed(asked)])
    return both.sort("answer_id")


def same_model(model: str | None, wanted: str | None) -> bool:
    """Names agree, with or without the organisation before the slash, whatever their case."""
    if model is None or wanted is None:
        return False
    one, other = model.lower(), wanted.lower()
    return one == other or one.rsplit("/", 1)[-1] == other or one == other.rsplit("/", 1)[-1]


def _tasks(turns: pl.DataFrame) -> pl.DataFrame:
    """The task of each state; the first by name where tasks share one."""
    known = turns.select("state_key", "task_key").unique().sort("state_key", "task_key")
    return known.unique("state_key", keep="first")


def _is_model(names: pl.Series, wanted: str | None) -> pl.Series:
    mine = [name for name in names.unique() if same_model(name, wanted)]
    return names.is_in(mine).fill_null(False)


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(kind) for name, kind in ANSWER_SCHEMA.items())
