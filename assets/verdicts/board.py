"""The board: the claim of each experiment, and its status."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tracelake.assets.folds.replay_cost.cost_reasons import mean_text, p95_text
from tracelake.assets.folds.verdict.ab_model import Verdict
from tracelake.assets.verdicts.derive_verdict import AnyVerdict, derive_verdict
from tracelake.lake import Lake
from tracelake.schemas.errors import BadInputError, SourceMissingError, TableMissingError
from tracelake.schemas.experiments.experiment import Experiment, PlannedExperiment, load_experiment


class BoardRow(NamedTuple):
    id: str
    claim: str
    gate: str
    status: str
    """BLOCKED, OPEN, or the outcome of the verdict."""
    figure: str | None
    pin: str | None


def board(lake: Lake | None, folder: Path) -> list[BoardRow]:
    """One row for each experiment file, by id. Raises SourceMissingError for an empty folder."""
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise SourceMissingError("no experiment files", got=str(folder), expected="a folder of TOML files")
    return sorted(_row(lake, path) for path in files)


def _row(lake: Lake | None, path: Path) -> BoardRow:
    experiment = load_experiment(path)
    name = (experiment.id, experiment.title, experiment.gate)
    if isinstance(experiment, PlannedExperiment):
        return BoardRow(*name, "BLOCKED", f"needs {experiment.blocked_by}", None)
    status, figure = "OPEN", None
    if lake is not None:
        try:
            verdict = derive_verdict(lake, experiment.id)
            status, figure = verdict.outcome, _figure(verdict)
        except (BadInputError, TableMissingError):
            status = "OPEN"
    pin = experiment.data.pin if isinstance(experiment, Experiment) else None
    return BoardRow(*name, status, figure, pin)


def _figure(verdict: AnyVerdict) -> str:
    if isinstance(verdict, Verdict):
        return f"{verdict.difference:+.3f} [{verdict.interval_low:+.3f}, {verdict.interval_high:+.3f}]"
    if verdict.measured is None:
        return "nothing measured"
    seconds = verdict.measured.seconds_per_turn
    figure = mean_text(verdict.measured.dollars_per_trace)
    if seconds is not None:
        figure += f", {p95_text(seconds)}"
    return f"rehearsal: {figure}" if verdict.rehearsal else figure
