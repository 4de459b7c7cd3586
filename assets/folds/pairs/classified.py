"""Answers with the class of their action at each level: the input of every fold over disagreement.

**An answer counts once**: rows of one role, state and event are one row, the first in the total order.
**The frame has one order**, so folds over it do not depend on the order in which answers arrived.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from tracelake.assets.folds.actions.keys import LEVELS, Level, action_keys
from tracelake.assets.folds.pairs.answers import ANSWER_SCHEMA
from tracelake.schemas.errors import BadInputError

_NULLABLE = frozenset(["answer_id", "rollout_id", "turn_index", "task_key"])
_ORDER = ("state_key", "role", "author", "sample_index", "event_id")
_KEY_SCHEMA = {
    "action_json": pl.String,
    "L0": pl.String,
    "L1": pl.String,
    "tool": pl.String,
    "is_empty": pl.Boolean,
}


def classified_answers(answers: pl.DataFrame, levels: Sequence[Level] = LEVELS) -> pl.DataFrame:
    """Unique answers, once per level, with `level`, `action_class`, `tool` and `is_empty`, in total order.

    Raises: BadInputError for a missing column, a null in a required column, or an unknown role.
    """
    frame = _unique_answers(answers)
    actions = frame["action_json"].unique(maintain_order=True).to_list()
    rows = [(action, *action_keys(action)) for action in actions]
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


def _unique_answers(answers: pl.DataFrame) -> pl.DataFrame:
    """Answers without repetitions, with the columns and types of `ANSWER_SCHEMA`, in total order."""
    missing = [name for name in ANSWER_SCHEMA if name not in answers.columns]
    if missing:
        raise BadInputError("answers lack columns", got=", ".join(missing), expected=", ".join(ANSWER_SCHEMA))
    frame = answers.select(pl.col(name).cast(kind) for name, kind in ANSWER_SCHEMA.items())
    with_nulls = [name for name in ANSWER_SCHEMA if name not in _NULLABLE and frame[name].null_count()]
    if with_nulls:
        raise BadInputError(
            "answers have nulls", got=", ".join(with_nulls), expected="values in these columns"
        )
    unknown = frame.filter(~pl.col("role").is_in(["student", "teacher"]))["role"]
    if len(unknown):
        raise BadInputError("unknown role", got=unknown[0], expected="student or teacher")
    rest = [name for name in ANSWER_SCHEMA if name not in _ORDER]
    ordered = frame.sort([*_ORDER, *rest], nulls_last=True)
    return ordered.unique(["role", "state_key", "event_id"], keep="first", maintain_order=True)
