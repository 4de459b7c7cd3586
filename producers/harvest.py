"""Teacher answers that nobody has to buy: rollouts of other models that passed through the same state.

**Wherever rollouts of two or more models pass through one `state_key`, what each of them did there is an
answer** of that model at that state. Equal keys mean an equal context and equal tool definitions; nothing is
joined by likeness.
**An answer is named by its source alone**, so that harvesting again, after more rollouts, tells the same
facts again and adds only new ones.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import polars as pl
import pyarrow as pa

from tracelake.schemas.canonical import hash_of
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.events.teacher_events import TeacherAnswered

MODELS_MIN = 2
COLUMNS = ("rollout_id", "turn_index", "state_key", "event_id", "model", "action_json")


def harvest(turns: pl.DataFrame | pa.Table) -> list[TeacherAnswered]:
    """Answers, ordered by state, teacher and source, whatever the order of the rows.

    `turns` has one row for each turn: `rollout_id`, `turn_index`, `state_key`, `event_id`, `model` (as served
    or requested), `action_json`. Models are compared without regard to case; a turn without a model answers
    nothing. Raises BadInputError for missing columns."""
    frame = pl.DataFrame(pl.from_arrow(turns)) if isinstance(turns, pa.Table) else turns
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise BadInputError(
            "turns without the columns of a harvest",
            got=f"no {', '.join(missing)}",
            expected=", ".join(COLUMNS),
            cure="Select them from the table `turn_completed`, `model` from model_served or model_requested.",
        )
    shared = _at_shared_states(frame.select(COLUMNS))
    return [_answer(row) for row in shared.iter_rows(named=True)]


def models_by_state(answers: list[TeacherAnswered]) -> dict[str, set[str]]:
    """Which models, in lower case, answered at each state."""
    found: dict[str, set[str]] = defaultdict(set)
    for answer in answers:
        found[answer.state_key].add(answer.teacher.lower())
    return dict(found)


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
