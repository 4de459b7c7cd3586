"""What an import did, file by file and in total.

**Nothing is dropped in silence**: refused pieces are listed, files that are no trace are counted by reason,
and each file lists the facts that its format does not record.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from tracelake.producers.importers.importer import ImportedRollout, Refusal


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RefusedPiece(_Frozen):
    """A file, line or element that was not imported."""

    path: str
    line: int | None = None
    """From 1; null: the whole file."""
    reason: str


class FileReport(_Frozen):
    """One file."""

    path: str
    format: str | None
    """Null: no format claimed it, and it was refused."""
    rollouts: int = 0
    turns: int = 0
    """Assistant messages."""
    other_turns: int = 0
    """Model calls that left no assistant message: text completions, replies dropped for their format."""
    tool_results: int = 0
    rewards: float = 0.0
    """Sum of the rewards that count."""
    rewards_count: int = 0
    """All rewards, metrics included."""
    cost_usd: float = 0.0
    """As the source states it."""
    refused: int = 0
    not_carried: tuple[str, ...] = ()
    """Facts that the format does not record."""
    notes: tuple[str, ...] = ()
    """What the importer assumed or left out in this file."""


class ImportReport(_Frozen):
    """All files together."""

    files: int
    """Files of a known format."""
    rollouts: int
    turns: int
    other_turns: int
    tool_results: int
    rewards: float
    rewards_count: int
    cost_usd: float
    new_events: int
    duplicate_events: int
    conflicts: int
    refused: list[RefusedPiece]
    skipped: dict[str, int]
    """Files of a folder or glob that are no traces, counted by reason."""
    file_reports: list[FileReport]
    notes: list[str] = []


class FileTally:
    """Adds up one file."""

    def __init__(self, path: str, format: str | None = None, not_carried: tuple[str, ...] = ()) -> None:
        self.path = path
        self.format = format
        self.refused: list[RefusedPiece] = []
        self._not_carried = not_carried
        self._notes: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._rewards = 0.0
        self._cost_usd = 0.0

    def add(self, rollout: ImportedRollout) -> None:
        self._counts["rollouts"] += 1
        self._counts["turns"] += rollout.turn_count
        self._counts["other_turns"] += rollout.other_turn_count
        self._counts["tool_results"] += rollout.tool_result_count
        self.add_rewards(rollout.reward, rollout.reward_count)
        self._cost_usd += rollout.cost_usd
        self._notes.update(rollout.notes)

    def add_rewards(self, total: float, count: int) -> None:
        self._rewards += total
        self._counts["rewards_count"] += count

    def refuse(self, refusal: Refusal) -> None:
        self.refused.append(RefusedPiece(path=self.path, line=refusal.line, reason=refusal.reason))

    def report(self) -> FileReport:
        return FileReport(
            path=self.path,
            format=self.format,
            rewards=self._rewards,
            cost_usd=self._cost_usd,
            refused=len(self.refused),
            not_carried=self._not_carried,
            notes=tuple(self._notes),
            **self._counts,
        )


class EventCounts(NamedTuple):
    """Events given to the lake, by outcome."""

    new: int = 0
    duplicate: int = 0
    conflict: int = 0


def import_report(
    tallies: list[FileTally],
    missing: list[RefusedPiece],
    skipped: dict[str, str],
    events: EventCounts,
    notes: list[str],
) -> ImportReport:
    """`skipped` has the reason for each file that was not read as a trace."""
    reports = [tally.report() for tally in tallies]
    return ImportReport(
        files=sum(report.format is not None for report in reports),
        rollouts=sum(report.rollouts for report in reports),
        turns=sum(report.turns for report in reports),
        other_turns=sum(report.other_turns for report in reports),
        tool_results=sum(report.tool_results for report in reports),
        rewards=sum(report.rewards for report in reports),
        rewards_count=sum(report.rewards_count for report in reports),
        cost_usd=sum(report.cost_usd for report in reports),
        new_events=events.new,
        duplicate_events=events.duplicate,
        conflicts=events.conflict,
        refused=[*missing, *(piece for tally in tallies for piece in tally.refused)],
        skipped=dict(sorted(Counter(skipped.values()).items())),
        file_reports=reports,
        notes=notes,
    )
