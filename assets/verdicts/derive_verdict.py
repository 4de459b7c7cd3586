"""Verdicts from events: the registered rule applied to landed scores, or to landed teacher calls.

Flow: registration → by type: scores of its trainings → `ab_verdict`, or calls of its replay → `cost_verdict`
→ files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import polars as pl

from tracelake.assets.charts.ab_verdict import ab_verdict_chart
from tracelake.assets.charts.cost_verdict import cost_verdict_chart
from tracelake.assets.charts.style import chart_png, chart_svg
from tracelake.assets.folds.replay_cost.cost_model import CostSpec, CostVerdict
from tracelake.assets.folds.replay_cost.cost_verdict import ReplayEvents, cost_verdict
from tracelake.assets.folds.verdict.ab_model import Verdict, VerdictSpec
from tracelake.assets.folds.verdict.ab_verdict import ab_verdict
from tracelake.assets.folds.verdict.evaluations import evaluations
from tracelake.assets.inputs import load_events
from tracelake.assets.verdicts.projected_cost import PROJECTED_COLUMNS, project_cost
from tracelake.lake import Lake
from tracelake.lake.curation.selection import Selection
from tracelake.producers.teachers.asking.questions import select
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.experiments.cost_experiment import CostExperiment
from tracelake.schemas.experiments.experiment import AnyExperiment, Experiment, parse_experiment_fields

AnyVerdict = Verdict | CostVerdict
_TURN_COLUMNS = ("state_key", *PROJECTED_COLUMNS)


def derive_verdict(lake: Lake, experiment_id: str) -> AnyVerdict:
    """The verdict by the experiment's type, from all landed events.

    Raises: BadInputError if the experiment was not trained or evaluated, QueryError for a bad trace filter.
    """
    lake.project()
    registrations = (
        lake.scan("experiment_registered")
        .filter(pl.col("experiment_id") == experiment_id)
        .select("spec_json", "spec_hash", "recorded_at")
        .sort("recorded_at", "spec_hash", descending=True)
        .collect()
    )
    selection = lake.selection()
    newest = _experiment(experiment_id, registrations) if registrations.height else None
    if isinstance(newest, CostExperiment):
        return _cost_verdict(lake, newest, registrations.row(0, named=True), selection)
    return _ab_verdict(lake, experiment_id, registrations, selection)


def _experiment(experiment_id: str, registrations: pl.DataFrame) -> AnyExperiment:
    """As registered last."""
    return parse_experiment_fields(orjson.loads(registrations["spec_json"][0]), name=experiment_id)


def _ab_verdict(lake: Lake, experiment_id: str, registrations: pl.DataFrame, selection: Selection) -> Verdict:
    """By the newest registration that was trained."""
    started = load_events(lake, "training_started", selection).frame.filter(
        pl.col("experiment_id") == experiment_id
    )
    trained = registrations.filter(pl.col("spec_hash").is_in(started["spec_hash"].implode()))
    if not trained.height:
        raise BadInputError(
            f"no training of experiment {experiment_id} is in the lake",
            expected="a registered and trained experiment",
            cure="Run `tracelake train EXPERIMENT.toml`.",
        )
    experiment, spec_hash = _experiment(experiment_id, trained), trained["spec_hash"][0]
    assert isinstance(experiment, Experiment)
    trainings = started.filter(pl.col("spec_hash") == spec_hash)
    scores = evaluations(load_events(lake, "task_evaluated", selection).frame).filter(
        pl.col("training_id").is_in(trainings["training_id"].implode())
        & (pl.col("metric") == experiment.verdict.metric)
    )
    if not scores.height:
        raise BadInputError(
            f"no scores of {experiment_id}",
            expected="evaluated arms",
            cure="Run `tracelake train`, then `tracelake evaluate`.",
        )
    pins = trainings.select("pin", "pin_digest").unique().sort("pin", "pin_digest")
    spec = VerdictSpec(
        **dict(experiment.verdict),
        experiment_id=experiment.id,
        title=experiment.title,
        scale=experiment.scale,
        pin=", ".join(pins["pin"].unique(maintain_order=True)),
        pin_digest=", ".join(pins["pin_digest"].unique(maintain_order=True)),
        spec_hash=spec_hash,
    )
    return ab_verdict(scores, spec)


def _cost_verdict(
    lake: Lake, experiment: CostExperiment, registration: dict[str, Any], selection: Selection
) -> CostVerdict:
    """Of the replay with the experiment's name."""
    turns = _chosen_turns(lake, experiment, selection)
    long = turns.filter(pl.len().over("rollout_id") >= experiment.traces.turn_count_min)
    spec = CostSpec(
        experiment_id=experiment.id,
        title=experiment.title,
        scale=experiment.scale,
        teachers=tuple(each.teacher for each in experiment.teachers),
        turn_count_min=experiment.traces.turn_count_min,
        thresholds=experiment.thresholds,
        rule=experiment.verdict,
        spec_hash=registration["spec_hash"],
    )
    calls_before = lake.scan("teacher_call_reserved").filter(
        pl.col("replay_id") == experiment.id, pl.col("recorded_at") < registration["recorded_at"]
    )
    return cost_verdict(
        _replay_events(lake, experiment.id, turns, selection),
        spec,
        projected=project_cost(long, experiment.teachers, experiment.verdict),
        registered_late=calls_before.select(pl.len()).collect().item() > 0,
    )


def _chosen_turns(lake: Lake, experiment: CostExperiment, selection: Selection) -> pl.DataFrame:
    """All turns of the traces that the experiment's filter chooses."""
    chosen = {question.rollout_id for question in select(lake, experiment.traces.filter)}
    counts = ~pl.col("event_id").is_in(sorted(selection.discarded_ids))
    rollout_ids = sorted(chosen - selection.rollout_ids)
    turns = lake.scan("turn_completed").filter(pl.col("rollout_id").is_in(rollout_ids) & counts)
    return turns.select(_TURN_COLUMNS).collect()


def _replay_events(lake: Lake, replay_id: str, turns: pl.DataFrame, selection: Selection) -> ReplayEvents:
    reserved = load_events(lake, "teacher_call_reserved", selection).frame.filter(
        pl.col("replay_id") == replay_id
    )
    in_replay = pl.col("attempt_id").is_in(reserved["attempt_id"].implode())
    # A request that could not be sent has no attempt: it belongs to every replay of its state.
    unsent = pl.col("attempt_id").is_null() & pl.col("state_key").is_in(turns["state_key"].implode())
    return ReplayEvents(
        turns,
        reserved,
        load_events(lake, "teacher_call_settled", selection).frame.filter(in_replay),
        load_events(lake, "teacher_answered", selection).frame.filter(in_replay),
        load_events(lake, "teacher_failed", selection).frame.filter(in_replay | unsent),
    )


def write_verdict(verdict: AnyVerdict, folder: Path) -> list[Path]:
    """Writes verdict.json, verdict.svg and verdict.png; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    chart = ab_verdict_chart(verdict) if isinstance(verdict, Verdict) else cost_verdict_chart(verdict)
    files = {
        "verdict.json": orjson.dumps(verdict.model_dump(mode="json"), option=orjson.OPT_INDENT_2),
        "verdict.svg": chart_svg(chart),
        "verdict.png": chart_png(chart),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]
