"""The input and the result of a scenario.

**A failure names the seed and the trial that repeat it**: every random draw comes from `Context.random`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple


class Context(NamedTuple):
    """Settings of one run of a scenario."""

    seed: int
    full: bool
    folder: Path
    """Empty and used by this run only; removed afterwards."""
    trial: str | None = None
    """Run only this trial."""

    def random(self, *parts: object) -> Random:
        """The same draws for the same seed and parts, in every process."""
        return Random(":".join(map(str, (self.seed, *parts))))

    def is_selected(self, trial: str) -> bool:
        return self.trial is None or self.trial == trial

    def trial_folder(self, trial: str) -> Path:
        """Create the trial's folder; no lake is in it yet."""
        folder = self.folder / trial.replace(":", "-").replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class Counts(NamedTuple):
    """What a scenario did; `detail` lists it by type."""

    count: int
    unit: str
    check_count: int
    """Items that were checked afterwards: mostly acknowledged events."""
    detail: str


class FaultFoundError(Exception):
    """A guarantee does not hold."""

    def __init__(self, trial: str, problems: Sequence[str]) -> None:
        super().__init__(trial, list(problems))
        self.trial = trial
        self.problems = list(problems)

    def __str__(self) -> str:
        return f"trial {self.trial}: " + "; ".join(self.problems[:5])


class NotPossibleError(Exception):
    """The machine lacks a requirement: the scenario fails with CI=true, and is skipped otherwise."""


def join_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
