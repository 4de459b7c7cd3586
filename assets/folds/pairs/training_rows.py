"""Training rows: pairs with the whole prompt that both actions answer, as recorded messages."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.context import CONTEXT_COLUMNS, ContextFold

TRAINING_ROW_SCHEMA: dict[str, type[pl.DataType]] = {
    "pair_id": pl.String,
    "rule": pl.String,
    "level": pl.String,
    "state_key": pl.String,
    "task_key": pl.String,
    "prompt_json": pl.String,
    "chosen_json": pl.String,
    "rejected_json": pl.String,
    "tools_json": pl.String,
    "vote_margin": pl.Float64,
}


def training_rows(
    preference_pairs: pl.DataFrame,
    turn_completed: pl.DataFrame,
    teacher_answered: pl.DataFrame,
    rollout_started: pl.DataFrame,
) -> pl.DataFrame:
    """One row per pair; its actions are those of the events that the pair names. Key pair_id."""
    rollout_ids = preference_pairs["rollout_id"].unique()
    turns = turn_completed.filter(pl.col("rollout_id").is_in(rollout_ids.implode())).select(CONTEXT_COLUMNS)
    contexts = ContextFold(turns.iter_rows())
    event_ids = pl.concat(
        [preference_pairs["chosen_event_id"], preference_pairs["rejected_event_id"]]
    ).unique()
    actions = dict(_actions(turn_completed, event_ids)) | dict(_actions(teacher_answered, event_ids))
    tools = dict(rollout_started.select("rollout_id", "tools_json").iter_rows())
    rows = [
        {
            **{
                name: pair[name]
                for name in ("pair_id", "rule", "level", "state_key", "task_key", "vote_margin")
            },
            "prompt_json": canonical_text(contexts.context(pair["rollout_id"], pair["turn_index"])),
            "chosen_json": actions[pair["chosen_event_id"]],
            "rejected_json": actions[pair["rejected_event_id"]],
            "tools_json": tools.get(pair["rollout_id"]),
        }
        for pair in preference_pairs.iter_rows(named=True)
    ]
    return pl.DataFrame(rows, schema=dict(TRAINING_ROW_SCHEMA)).sort("pair_id")


def _actions(events: pl.DataFrame, event_ids: pl.Series) -> Iterable[tuple[str, str]]:
    return (
        events.filter(pl.col("event_id").is_in(event_ids.implode()))
        .select("event_id", "action_json")
        .iter_rows()
    )
