"""The board of the program: what each experiment claims, and where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tracelake.assets.folds.replay_cost.reasons import mean_of, tail_of
from tracelake.assets.folds.verdict.model import Verdict
from tracelake.assets.verdicts.verdicts import AnyVerdict, verdict_of
from tracelake.lake import Lake
from tracelake.schemas.errors import BadInputError, LakeError, SourceMissingError
from tracelake.schemas.experiments.experiment import Experiment, PlannedExperiment, load_experiment


class BoardRow(NamedTuple):
    id: str
    claim: str
    gate: str
    status: str
    """BLOCKED, REGISTERED, OPEN, or the verdict."""
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
    if isinstance(experiment, PlannedExperiment):
        return BoardRow(
            experiment.id,
            experiment.title,
            experiment.gate,
            "BLOCKED",
            f"needs {experiment.blocked_by}",
            None,
        )
    status, figure = "OPEN", None
    if lake is not None:
        try:
            found = verdict_of(lake, experiment.id)
            status, figure = found.outcome, _figure(found)
        except (BadInputError, LakeError):
            status = "OPEN"
    pin = experiment.data.pin if isinstance(experiment, Experiment) else None
    return BoardRow(experiment.id, experiment.title, experiment.gate, status, figure, pin)


def _figure(found: AnyVerdict) -> str:
    if isinstance(found, Verdict):
        return f"{found.difference:+.3f} [{found.interval_low:+.3f}, {found.interval_high:+.3f}]"
    if found.measured is None:
        return "nothing measured"
    pace = found.measured.seconds_per_turn
    figure = mean_of(found.measured.dollars_per_trace) + ("" if pace is None else f", {tail_of(pace)}")
    return f"rehearsal: {figure}" if found.rehearsal else figure
