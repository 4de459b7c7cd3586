"""The board of the program: what each experiment claims, and where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from assets.verdicts import experiment_verdict
from lake import Lake
from schemas.errors import BadInputError, LakeError, SourceMissingError
from schemas.experiment import Experiment, load_experiment


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
    if not isinstance(experiment, Experiment):
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
            found = experiment_verdict(lake, experiment.id)
            status = found.outcome
            figure = f"{found.difference:+.3f} [{found.interval_low:+.3f}, {found.interval_high:+.3f}]"
        except (BadInputError, LakeError):
            status = "OPEN"
    return BoardRow(experiment.id, experiment.title, experiment.gate, status, figure, experiment.data.pin)
