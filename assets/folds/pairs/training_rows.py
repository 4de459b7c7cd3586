"""Training rows: pairs with the whole prompt that both actions answer, as recorded messages, and the terms of
the teacher's answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
    "rollout_id": pl.String,
    "turn_index": pl.Int64,
    "student": pl.String,
    "teacher_side": pl.String,
    "teacher": pl.String,
    "teacher_model": pl.String,
    "teacher_origin": pl.String,
    "license": pl.String,
    "distillable": pl.Boolean,
}
"""One side of a pair is the student's and the other a teacher's: `teacher_side` is `chosen` or `rejected`.
`license` and `distillable` are the terms of the teacher's answer; null if they are unknown."""
_FROM_PAIR = ("pair_id", "rule", "level", "state_key", "task_key", "vote_margin", "rollout_id", "turn_index")
_TERMS = ("teacher", "teacher_model", "teacher_origin", "license", "distillable")


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
    answers = _answers(teacher_answered, event_ids)
    tools = dict(rollout_started.select("rollout_id", "tools_json").iter_rows())
    rows = [
        {
            **{name: pair[name] for name in _FROM_PAIR},
            "prompt_json": canonical_text(contexts.context(pair["rollout_id"], pair["turn_index"])),
            "chosen_json": actions[pair["chosen_event_id"]],
            "rejected_json": actions[pair["rejected_event_id"]],
            "tools_json": tools.get(pair["rollout_id"]),
            **_teacher_of(pair, answers),
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


def _answers(teacher_answered: pl.DataFrame, event_ids: pl.Series) -> dict[str, dict[str, Any]]:
    """Teacher and terms of each answer, by event id."""
    rows = teacher_answered.filter(pl.col("event_id").is_in(event_ids.implode())).select(
        "event_id",
        "teacher",
        pl.coalesce("model_served", "model_requested", "teacher").alias("teacher_model"),
        pl.col("origin").alias("teacher_origin"),
        "license",
        "distillable",
    )
    return {row.pop("event_id"): row for row in rows.to_dicts()}


def _teacher_of(pair: dict[str, Any], answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The student and the teacher of a pair, and the terms of the teacher's answer."""
    side, other = ("chosen", "rejected") if pair["chosen_event_id"] in answers else ("rejected", "chosen")
    answer = answers[pair[f"{side}_event_id"]]
    return {"teacher_side": side, "student": pair[f"{other}_author"], **{n: answer[n] for n in _TERMS}}
