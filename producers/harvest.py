"""Free teacher answers: actions of other models in recorded rollouts that reached the same state.

Flow: turns → states that rollouts of two or more models reached → one `TeacherAnswered` per turn there.

**Equal `state_key`s mean equal contexts and equal tool definitions**: states are never matched by similarity.
**An answer is identified by its source alone**: harvesting again after more rollouts repeats the earlier
answers and adds new ones.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa

from tracelake.schemas.canonical import hash_of
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.events.teacher_events import TeacherAnswered

MODELS_MIN = 2
COLUMNS = ("rollout_id", "turn_index", "state_key", "event_id", "model", "action_json")


def harvest(turns: pl.DataFrame | pa.Table) -> list[TeacherAnswered]:
    """Answers sorted by state, teacher and source.

    `turns` has one row per turn: `rollout_id`, `turn_index`, `state_key`, `event_id`, `model` (served or
    requested), `action_json`. Model names are compared case-insensitively; turns without a model are ignored.
    Raises BadInputError for missing columns."""
    frame = pl.DataFrame(pl.from_arrow(turns)) if isinstance(turns, pa.Table) else turns
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise BadInputError(
            "the turns lack columns that a harvest needs",
            got=f"no {', '.join(missing)}",
            expected=", ".join(COLUMNS),
            cure="Select them from the table `turn_completed`, `model` from model_served or model_requested.",
        )
    shared = _at_shared_states(frame.select(COLUMNS))
    return [_answer(row) for row in shared.iter_rows(named=True)]


def _at_shared_states(turns: pl.DataFrame) -> pl.DataFrame:
    named = turns.filter(pl.col("model").is_not_null() & (pl.col("model") != "")).unique(
        "event_id", keep="any"
    )
    model_count = pl.col("model").str.to_lowercase().n_unique().over("state_key")
    return named.filter(model_count >= MODELS_MIN).sort("state_key", "model", "event_id")


def _answer(row: dict[str, Any]) -> TeacherAnswered:
    return TeacherAnswered(
        request_key=hash_of(["harvested", row["state_key"], row["model"], row["event_id"]]),
        state_key=row["state_key"],
        teacher=row["model"],
        origin="harvested",
        source_event_id=row["event_id"],
        rollout_id=row["rollout_id"],
        turn_index=row["turn_index"],
        action_json=row["action_json"],
    )
