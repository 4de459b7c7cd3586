"""Commands of experiments: train, evaluate, verdict, spikes, demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracelake.cli.output import (
    LAKE_DEFAULT,
    Format,
    FormatOption,
    LakeOption,
    advance,
    print_json,
    print_rows,
    print_text,
    progress,
    say,
)
from tracelake.cli.shipped import EXPERIMENTS

if TYPE_CHECKING:
    from tracelake.consumers.launches.launch import TrainingResult

RunsOption = Annotated[Path, typer.Option("--runs", help="Folder of checkpoints, locks and charts.")]
RUNS_DEFAULT = Path("runs")
FileArgument = Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="The experiment's TOML file.")]
ArmOption = Annotated[str | None, typer.Option("--arm", help="A or B; both without it.")]
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="One of the experiment's seeds; all without it.")
]
LockOption = Annotated[
    Path | None, typer.Option("--lock", help="The launch's lock file; default: RUNS/ID/lock.json.")
]
AtOnceOption = Annotated[
    int | None,
    typer.Option(
        "--at-once",
        min=1,
        help="Launches in parallel, each in its own process; default: cores / threads, 1 on a GPU.",
    ),
]


def train(
    experiment: FileArgument,
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
    runs: RunsOption = RUNS_DEFAULT,
    arm: ArmOption = None,
    seed: SeedOption = None,
    lock: LockOption = None,
    at_once: AtOnceOption = None,
) -> None:
    """Train arms on the pin that the lock names; refuses a changed pin (exit 3)."""
    from tracelake.cli.experiments import open_experiment
    from tracelake.cli.launches import Workers, at_once_by_default, train_all

    opened = open_experiment(experiment, lake, runs, lock)
    launches = opened.launches(arm, seed)
    with Workers(opened, at_once or at_once_by_default()) as workers, progress("updates") as bar:
        task = bar.add_task("train", total=len(launches) * opened.experiment.training.train_steps, rate="–")
        trained = train_all(workers, launches, lambda count: advance(bar, task, count))
    rows = [_training_row(item) for item in trained]
    if output is Format.JSON:
        print_json({"pin": opened.lock.pin, "pin_digest": opened.lock.pin_digest, "trainings": rows})
    else:
        print_rows(rows, ["training", "reused", "duration_ms"])
        say(f"Next: tracelake evaluate {experiment}")


def _training_row(item: TrainingResult) -> dict[str, Any]:
    return {
        "training": item.training_id,
        "reused": item.reused,
        "duration_ms": item.duration_ms,
        "folder": str(item.folder),
    }


def evaluate(
    experiment: FileArgument,
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
    runs: RunsOption = RUNS_DEFAULT,
    arm: ArmOption = None,
    seed: SeedOption = None,
    lock: LockOption = None,
    at_once: AtOnceOption = None,
) -> None:
    """Score the trained arms on held-out tasks."""
    from tracelake.cli.experiments import open_experiment
    from tracelake.cli.launches import Workers, at_once_by_default, evaluate_all

    opened = open_experiment(experiment, lake, runs, lock)
    launches = opened.launches(arm, seed)
    total = len(launches) * opened.experiment.evaluation.attempt_count
    with Workers(opened, at_once or at_once_by_default()) as workers, progress("tasks") as bar:
        task = bar.add_task("evaluate", total=total, rate="–")
        evaluated = evaluate_all(workers, launches, lambda count: advance(bar, task, count))
    rows = [item._asdict() for item in evaluated]
    if output is Format.JSON:
        print_json(rows)
    else:
        print_rows(rows, ["evaluation_id", "mean_score", "reused"])
        say(f"Next: tracelake verdict {opened.experiment.id}")


def verdict(
    experiment_id: Annotated[str, typer.Argument(metavar="ID", help="The experiment's id.")],
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
    runs: RunsOption = RUNS_DEFAULT,
) -> None:
    """Derive the verdict from events; writes verdict.json, .svg and .png into RUNS/ID."""
    from tracelake.assets.verdicts.derive_verdict import derive_verdict, write_verdict
    from tracelake.cli.verdict_text import verdict_text
    from tracelake.lake import Lake

    found = derive_verdict(Lake.open(lake), experiment_id)
    files = write_verdict(found, runs / experiment_id)
    if output is Format.JSON:
        print_json(found.model_dump(mode="json"))
    else:
        print_text(verdict_text(found))
        for path in files:
            say(f"wrote {path}")


def spikes(
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
    folder: Annotated[
        Path | None,
        typer.Option("--experiments", help="Folder of experiment files, instead of the shipped ones."),
    ] = None,
) -> None:
    """The board: every experiment with its claim, gate, status, figure and pin."""
    from tracelake.assets.verdicts.board import board
    from tracelake.lake import Lake
    from tracelake.schemas.errors import LakeMissingError

    try:
        opened: Lake | None = Lake.open(lake)
    except LakeMissingError:
        opened = None
    rows: list[dict[str, Any]] = [row._asdict() for row in board(opened, folder or EXPERIMENTS)]
    if output is Format.JSON:
        print_json(rows)
    else:
        print_rows(rows, ["id", "claim", "gate", "status", "figure", "pin"])


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where everything of the demo lies.")] = Path(
        ".demo"
    ),
    lake: Annotated[
        str | None,
        typer.Option("--lake", help="Where the lake lies, as s3://BUCKET/PREFIX; default: in the folder."),
    ] = None,
    output: FormatOption = Format.HUMAN,
) -> None:
    """The main job at the smallest scale: collect, ask teachers, pin, train two arms, decide.

    Takes about five minutes.
    """
    from tracelake.cli.demo import run_demo

    result = run_demo(folder, lake)
    if output is Format.JSON:
        print_json(result.summary())
    else:
        print_text(result.text())


def register(app: typer.Typer) -> None:
    for command in (train, evaluate, verdict, spikes, demo):
        app.command()(command)
