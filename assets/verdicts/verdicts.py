"""Verdicts from events: the registered rule applied to the scores that landed."""

from __future__ import annotations

from pathlib import Path

import orjson
import polars as pl

from tracelake.assets.charts.replay_cost import replay_cost_chart
from tracelake.assets.charts.verdict import chart_png, chart_svg, verdict_chart
from tracelake.assets.folds.replay_cost.model import CostVerdict
from tracelake.assets.folds.replay_cost.text import render_cost_text
from tracelake.assets.folds.verdict.evaluations import evaluations
from tracelake.assets.folds.verdict.model import Verdict, VerdictSpec
from tracelake.assets.folds.verdict.text import render_text
from tracelake.assets.folds.verdict.verdict import verdict
from tracelake.assets.inputs import load_events, load_quarantine
from tracelake.assets.verdicts.cost_verdicts import cost_verdict
from tracelake.assets.verdicts.registered import last_registered
from tracelake.lake import Lake
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.experiments.cost_experiment import CostExperiment
from tracelake.schemas.experiments.experiment import Experiment, parse_experiment_fields

AnyVerdict = Verdict | CostVerdict


def verdict_of(lake: Lake, experiment_id: str) -> AnyVerdict:
    """By the experiment's type. Raises BadInputError if nothing of it was registered or evaluated."""
    lake.project()
    registered = last_registered(lake, experiment_id)
    if registered is None or not isinstance(registered.experiment, CostExperiment):
        return experiment_verdict(lake, experiment_id)
    return cost_verdict(lake, registered.experiment, registered)


def verdict_text(found: AnyVerdict) -> str:
    return render_text(found) if isinstance(found, Verdict) else render_cost_text(found)


def experiment_verdict(lake: Lake, experiment_id: str) -> Verdict:
    """Of the registration that was trained last. Raises BadInputError if nothing of it was registered or
    evaluated.
    """
    lake.project()
    quarantine = load_quarantine(lake)
    started = load_events(lake, "training_started", quarantine).frame
    mine = started.filter(pl.col("experiment_id") == experiment_id)
    experiment, spec_hash = _registered(lake, experiment_id, mine)
    trainings = mine.filter(pl.col("spec_hash") == spec_hash)
    scores = evaluations(load_events(lake, "task_evaluated", quarantine).frame).filter(
        pl.col("training_id").is_in(trainings["training_id"].implode())
        & (pl.col("metric") == experiment.verdict.metric)
    )
    if not scores.height:
        raise BadInputError(
            f"no scores of {experiment_id}",
            expected="evaluated arms",
            cure="Run `tracelake train`, then `tracelake evaluate`.",
        )
    return verdict(scores, _spec(experiment, spec_hash, trainings))


def _spec(experiment: Experiment, spec_hash: str, trainings: pl.DataFrame) -> VerdictSpec:
    pins = trainings.select("pin", "pin_digest", "lock_json").unique().sort("pin")
    rule = experiment.verdict
    return VerdictSpec(
        experiment_id=experiment.id,
        title=experiment.title,
        scale=experiment.scale,
        metric=rule.metric,
        minimum_effect=rule.minimum_effect,
        alpha=rule.alpha,
        required_power=rule.required_power,
        resample_count=rule.resample_count,
        bootstrap_seed=rule.bootstrap_seed,
        pin=", ".join(pins["pin"].unique(maintain_order=True)),
        pin_digest=", ".join(pins["pin_digest"].unique(maintain_order=True)),
        spec_hash=spec_hash,
    )


def write_verdict(found: AnyVerdict, folder: Path) -> list[Path]:
    """verdict.json, verdict.svg and verdict.png."""
    folder.mkdir(parents=True, exist_ok=True)
    chart = verdict_chart(found) if isinstance(found, Verdict) else replay_cost_chart(found)
    files = {
        "verdict.json": orjson.dumps(found.model_dump(mode="json"), option=orjson.OPT_INDENT_2),
        "verdict.svg": chart_svg(chart),
        "verdict.png": chart_png(chart),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def _registered(lake: Lake, experiment_id: str, started: pl.DataFrame) -> tuple[Experiment, str]:
    registered = lake.scan("experiment_registered").filter(pl.col("experiment_id") == experiment_id)
    known = (
        registered.select("spec_hash", "spec_json", "recorded_at")
        .sort("recorded_at", descending=True)
        .collect()
    )
    trained = known.filter(pl.col("spec_hash").is_in(started["spec_hash"].implode()))
    if not trained.height:
        raise BadInputError(
            f"no training of experiment {experiment_id} is in the lake",
            expected="a registered and trained experiment",
            cure="Run `tracelake train EXPERIMENT.toml`.",
        )
    experiment = parse_experiment_fields(orjson.loads(trained["spec_json"][0]), name=experiment_id)
    assert isinstance(experiment, Experiment)
    return experiment, trained["spec_hash"][0]
