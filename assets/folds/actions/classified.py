"""Answers with the classes of their actions: what every fold over disagreement starts from.

**An answer counts once**: rows of one role, state and event are one row, whichever of them comes first in the
total order.
**The frame has one order**, so folds over it do not depend on the order in which answers arrived.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from tracelake.assets.folds.actions.keys import LEVELS, Level, action_keys
from tracelake.schemas.errors import BadInputError

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
_NULLABLE = frozenset(["answer_id", "rollout_id", "turn_index", "task_key"])
_ORDER = ("state_key", "role", "author", "sample_index", "event_id")
_KEY_SCHEMA = {
    "action_json": pl.String,
    "L0": pl.String,
    "L1": pl.String,
    "tool": pl.String,
    "is_empty": pl.Boolean,
}


def unique_answers(answers: pl.DataFrame) -> pl.DataFrame:
    """Answers with repeated ones dropped, columns and types of `ANSWER_SCHEMA`, in total order.

    Raises: BadInputError for a missing column, a null where none may be, or an unknown role.
    """
    missing = [name for name in ANSWER_SCHEMA if name not in answers.columns]
    if missing:
        raise BadInputError("answers lack columns", got=", ".join(missing), expected=", ".join(ANSWER_SCHEMA))
    frame = answers.select(pl.col(name).cast(kind) for name, kind in ANSWER_SCHEMA.items())
    holes = [name for name in ANSWER_SCHEMA if name not in _NULLABLE and frame[name].null_count()]
    if holes:
        raise BadInputError("answers hold nulls", got=", ".join(holes), expected="values in these columns")
    strangers = frame.filter(~pl.col("role").is_in(["student", "teacher"]))["role"]
    if len(strangers):
        raise BadInputError("unknown role", got=strangers[0], expected="student or teacher")
    rest = [name for name in ANSWER_SCHEMA if name not in _ORDER]
    ordered = frame.sort([*_ORDER, *rest], nulls_last=True)
    return ordered.unique(["role", "state_key", "event_id"], keep="first", maintain_order=True)


def classified_answers(answers: pl.DataFrame, levels: Sequence[Level] = LEVELS) -> pl.DataFrame:
    """Unique answers, once per level, with `level`, `action_class`, `tool` and `is_empty`, in total order."""
    frame = unique_answers(answers)
    texts = frame["action_json"].unique(maintain_order=True).to_list()
    rows = [(text, *action_keys(text)) for text in texts]
    keyed = frame.join(
        pl.DataFrame(rows, schema=_KEY_SCHEMA, orient="row"),
        on="action_json",
        how="left",
        maintain_order="left",
    )
    shared = [*ANSWER_SCHEMA, "tool", "is_empty"]
    return pl.concat(
        keyed.select(*shared, pl.lit(level).alias("level"), pl.col(level).alias("action_class"))
        for level in levels
    )
