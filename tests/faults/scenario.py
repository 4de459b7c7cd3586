"""What a scenario is given and what it gives back.

**A failure names the seed and the trial that replay it**: every random draw comes from `Context.random`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple


class Context(NamedTuple):
    """How one run of a scenario is meant."""

    seed: int
    full: bool
    folder: Path
    """Empty, for this run alone; removed after it."""
    trial: str | None = None
    """Run this one only."""

    def random(self, *parts: object) -> Random:
        """The same draws for the same seed and parts, whatever runs beside."""
        return Random(":".join(map(str, (self.seed, *parts))))

    def wanted(self, trial: str) -> bool:
        return self.trial is None or self.trial == trial

    def place(self, trial: str) -> Path:
        """A folder of the trial's own, with no lake in it yet."""
        folder = self.folder / trial.replace(":", "-").replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class Counts(NamedTuple):
    """What was done; `detail` says it by part."""

    count: int
    unit: str
    checked: int
    """How often something was looked at afterwards: mostly acknowledged events."""
    detail: str


class FaultFoundError(Exception):
    """A promise was broken."""

    def __init__(self, trial: str, problems: Sequence[str]) -> None:
        super().__init__(trial, list(problems))
        self.trial = trial
        self.problems = list(problems)

    def __str__(self) -> str:
        return f"trial {self.trial}: " + "; ".join(self.problems[:5])


class NotPossibleError(Exception):
    """The machine lacks what the scenario needs; a failure where CI=true, told and passed over elsewhere."""


def by_part(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
