"""`tracelake register`: an experiment's whole content lands as an event, before its first run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracelake.cli.output import LAKE_DEFAULT, Format, FormatOption, LakeOption, print_json, print_text

if TYPE_CHECKING:
    from tracelake.schemas.experiments.cost_experiment import CostExperiment


def register_command(
    experiment: Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="The experiment's TOML file.")],
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
) -> None:
    """Land an experiment's thresholds and stop rule before its first run, and print how to run it."""
    from tracelake.cli.registration import register_experiment
    from tracelake.lake import Lake
    from tracelake.schemas.experiments.cost_experiment import CostExperiment
    from tracelake.schemas.experiments.experiment import load_runnable

    loaded = load_runnable(experiment)
    spec_hash = register_experiment(Lake.open(lake), loaded).spec_hash
    is_cost = isinstance(loaded, CostExperiment)
    commands = replay_commands(loaded, experiment) if is_cost else [["tracelake", "train", str(experiment)]]
    if output is Format.JSON:
        print_json({"experiment": loaded.id, "spec_hash": spec_hash, "commands": commands})
        return
    print_text(f"{loaded.id} registered as {spec_hash}. Next:")
    for command in commands:
        print_text(f"  {shlex.join(command)}")


def replay_commands(experiment: CostExperiment, path: Path) -> list[list[str]]:
    """The replay that the experiment asks for, and its verdict."""
    teachers = (path.parent / experiment.asking.teachers_file).resolve()
    if teachers.is_relative_to(Path.cwd()):
        teachers = teachers.relative_to(Path.cwd())
    options = {
        "--name": experiment.id,
        "--teachers": str(teachers),
        "--traces": experiment.traces.filter,
        "--budget": experiment.asking.budget_usd,
    }
    words = [word for option in options.items() for word in option]
    return [["tracelake", "replay", *words], ["tracelake", "verdict", experiment.id]]


def register(app: typer.Typer) -> None:
    app.command("register")(register_command)
