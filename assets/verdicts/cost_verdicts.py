"""Verdicts of replays' costs from events: the registered rule applied to the attempts that landed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from tracelake.assets.folds.replay_cost.model import CostSpec, CostVerdict
from tracelake.assets.folds.replay_cost.verdict import CostEvents, replay_cost
from tracelake.assets.inputs import load_events, load_quarantine
from tracelake.assets.verdicts.projected_cost import PROJECTED_COLUMNS, project_cost
from tracelake.assets.verdicts.registered import Registered
from tracelake.lake import Lake
from tracelake.producers.teachers.asking.questions import select
from tracelake.schemas.errors import TableMissingError
from tracelake.schemas.experiments.cost_experiment import CostExperiment

TURN_COLUMNS = ("state_key", *PROJECTED_COLUMNS)
_ATTEMPTED = ("teacher_answered", "teacher_failed", "teacher_call_settled")


def cost_verdict(lake: Lake, experiment: CostExperiment, registered: Registered) -> CostVerdict:
    """Of the replay with the experiment's name. Tables as they stand. Raises QueryError for a bad filter."""
    turns = _turns(lake, experiment)
    events = _events(lake, experiment.id, turns)
    long = turns.filter(pl.len().over("rollout_id") >= experiment.traces.turn_count_min)
    spec = CostSpec(
        experiment_id=experiment.id,
        title=experiment.title,
        scale=experiment.scale,
        teachers=tuple(each.teacher for each in experiment.teachers),
        turn_count_min=experiment.traces.turn_count_min,
        thresholds=experiment.thresholds,
        rule=experiment.verdict,
        spec_hash=registered.spec_hash,
    )
    return replay_cost(
        events,
        spec,
        projected=project_cost(long, experiment.teachers, experiment.verdict),
        registered_late=_is_late(lake, registered),
    )


def _turns(lake: Lake, experiment: CostExperiment) -> pl.DataFrame:
    chosen = {question.rollout_id for question in select(lake, experiment.traces.filter)}
    quarantine = load_quarantine(lake)
    kept = sorted(chosen - quarantine.rollout_ids)
    return (
        lake.scan("turn_completed").filter(pl.col("rollout_id").is_in(kept)).select(TURN_COLUMNS).collect()
        if kept
        else load_events(lake, "turn_completed", quarantine).frame.select(TURN_COLUMNS).clear()
    )


def _events(lake: Lake, replay_id: str, turns: pl.DataFrame) -> CostEvents:
    quarantine = load_quarantine(lake)
    in_replay = pl.col("replay_id") == replay_id
    reserved = load_events(lake, "teacher_call_reserved", quarantine).frame.filter(in_replay)
    mine = pl.col("attempt_id").is_in(reserved["attempt_id"].implode())
    # What could not be sent has no attempt, and belongs to whoever asks about its state.
    unsent = pl.col("attempt_id").is_null() & pl.col("state_key").is_in(turns["state_key"].implode())
    frames: Mapping[str, Any] = {
        kind: load_events(lake, kind, quarantine).frame.filter(
            mine | unsent if kind == "teacher_failed" else mine
        )
        for kind in _ATTEMPTED
    }
    return CostEvents(
        turns,
        reserved,
        frames["teacher_call_settled"],
        frames["teacher_answered"],
        frames["teacher_failed"],
    )


def _is_late(lake: Lake, registered: Registered) -> bool:
    try:
        calls = lake.scan("teacher_call_reserved").filter(
            pl.col("replay_id") == registered.experiment.id,
            pl.col("recorded_at") < registered.recorded_at,
        )
        return calls.select(pl.len()).collect().item() > 0
    except TableMissingError:
        return False
