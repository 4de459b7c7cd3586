"""Actions of the student and of the teachers at each state, as rows of one shape.

**A student is not its own teacher**: teacher answers of the student's model are left out, above all harvested
ones.
**The samples of a teacher at a state are numbered** in the order of their event ids, whether asked for or
harvested.
"""

from __future__ import annotations

import orjson
import polars as pl

from tracelake.schemas.message import canonical_action

ANSWER_SCHEMA: dict[str, pl.DataType] = {
    "answer_id": pl.String(),
    "state_key": pl.String(),
    "role": pl.String(),
    "author": pl.String(),
    "sample_index": pl.Int64(),
    "rollout_id": pl.String(),
    "turn_index": pl.Int64(),
    "task_key": pl.String(),
    "event_id": pl.String(),
    "action_json": pl.String(),
}
"""`role` is `student` or `teacher`; `author` a model; rollout, turn and task may be null."""
_FROM_EVENT = ("state_key", "rollout_id", "turn_index", "event_id")


def answers(turns: pl.DataFrame, teacher_answered: pl.DataFrame, *, student: str | None) -> pl.DataFrame:
    """One row per student turn and per teacher answer at any state, as `ANSWER_SCHEMA`. Key answer_id.

    Without a student there are only teacher rows.
    """
    student_turns = turns.filter(_is_model(turns["model"], student)).select(
        pl.format("student:{}", "event_id").alias("answer_id"),
        pl.lit("student").alias("role"),
        pl.col("model").alias("author"),
        pl.lit(0, pl.Int64).alias("sample_index"),
        *_FROM_EVENT,
        "task_key",
        "action_json",
    )
    # Tasks may share a state: the answer gets the first by name.
    task_of_state = (
        turns.select("state_key", "task_key")
        .unique()
        .sort("state_key", "task_key")
        .unique("state_key", keep="first")
    )
    by_teachers = (
        teacher_answered.filter(~_is_model(teacher_answered["teacher"], student))
        .sort("state_key", "teacher", "event_id")
        .join(task_of_state, on="state_key", how="left", maintain_order="left")
    )
    teacher_answers = by_teachers.select(
        pl.format("teacher:{}", "event_id").alias("answer_id"),
        pl.lit("teacher").alias("role"),
        pl.col("teacher").alias("author"),
        pl.int_range(pl.len(), dtype=pl.Int64).over("state_key", "teacher").alias("sample_index"),
        *_FROM_EVENT,
        "task_key",
        by_teachers["action_json"]
        .map_elements(lambda text: canonical_action(orjson.loads(text)), return_dtype=pl.String)
        .alias("action_json"),
    )
    columns = [pl.col(name).cast(kind) for name, kind in ANSWER_SCHEMA.items()]
    return pl.concat([student_turns.select(columns), teacher_answers.select(columns)]).sort("answer_id")


def _same_model(model: str | None, wanted: str | None) -> bool:
    """True if the names agree, with or without the organisation before the slash, in any case."""
    if model is None or wanted is None:
        return False
    one, other = model.lower(), wanted.lower()
    return one == other or one.rsplit("/", 1)[-1] == other or one == other.rsplit("/", 1)[-1]


def _is_model(names: pl.Series, wanted: str | None) -> pl.Series:
    matching = [name for name in names.unique() if _same_model(name, wanted)]
    return names.is_in(matching).fill_null(False)
