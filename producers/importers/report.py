"""What an import did: totals first, then what was not read or not whole, then file by file.

**Nothing is dropped in silence**: refused pieces are listed, files that were not read are named with the
reason, and each format lists what it does not record, which keys were left out and which are only in
`extra_json`.
**Bounded in what foreign data can fill**: names of keys are redacted, and listed up to a number.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from tracelake.lake.secrets.public_text import redacted_excerpt
from tracelake.producers.importers.importer import ImportedRollout, Refusal
from tracelake.producers.importers.losses import Losses

if TYPE_CHECKING:
    from tracelake.lake.curation.conflicts import Conflict

PATHS_LISTED_MAX = 500
PATH_LENGTH_MAX = 200

Outcome = Literal["new", "known", "extended", "shorter", "in_conflict"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class RolloutOutcomes(_Frozen):
    """Rollouts by what the import added."""

    new: int = 0
    known: int = 0
    """The lake had all of their facts."""
    extended: int = 0
    """The lake had a shorter recording, or other facts are new, such as a reward."""
    shorter: int = 0
    """The lake has a longer recording, which counts; the end of this one is a fact too."""
    in_conflict: int = 0
    """At least one fact contradicts one in the lake."""


class RefusedPiece(_Frozen):
    """A file, line or element that was not imported."""

    path: str
    line: int | None = None
    """From 1; null: the whole file."""
    reason: str


class UnreadPath(_Frozen):
    """A file that was not read as a trace."""

    path: str
    reason: str


class ConflictReport(_Frozen):
    """A fact that contradicts another one with the same key."""

    files: tuple[str, ...]
    """Where the contradicting facts come from."""
    kind: str
    rollout_id: str | None
    key: dict[str, str | int | float | bool | None]
    differing: tuple[str, ...]
    """Fields, with the path to the place inside JSON."""
    cure: str | None

    @classmethod
    def of(cls, conflict: Conflict) -> ConflictReport:
        return cls(
            files=tuple(event.source_uri or "no file" for event in conflict.events),
            kind=conflict.kind,
            rollout_id=conflict.rollout_id,
            key={
                name: value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
                for name, value in conflict.key.items()
            },
            differing=tuple(difference.field for difference in conflict.differing),
            cure=conflict.cure,
        )


class DroppedKeys(_Frozen):
    """Keys at one place that were left out on purpose."""

    path: str
    reason: str
    count: int


class FormatLosses(_Frozen):
    """What one format does not carry into the fields of events."""

    not_carried: tuple[str, ...] = ()
    """Facts that the format does not record."""
    dropped_count: int = 0
    in_extra_json_count: int = 0
    """Keys that no field holds, and `extra_json` does."""
    dropped: tuple[DroppedKeys, ...] = ()
    in_extra_json: dict[str, int] = {}
    """Count by the path of the key."""
    notes: dict[str, int] = {}
    """What the importer assumed."""

    @classmethod
    def of(cls, not_carried: tuple[str, ...], losses: Losses) -> FormatLosses:
        return cls(
            not_carried=not_carried,
            dropped_count=losses.dropped.total(),
            in_extra_json_count=losses.extra.total(),
            dropped=tuple(
                DroppedKeys(path=_shown(path), reason=reason, count=count)
                for (path, reason), count in losses.dropped.most_common(PATHS_LISTED_MAX)
            ),
            in_extra_json=_by_shown_path(losses.extra),
            notes=_by_shown_path(losses.notes),
        )


class FileReport(_Frozen):
    """One file, or one member of an archive."""

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
    cost_usd: float | None = None
    """As the source states it, of the rollouts whose cost it states; null if it states none."""
    priced_rollouts: int = 0
    """Rollouts whose cost the source states."""
    refused: int = 0


class ImportReport(_Frozen):
    """All files together."""

    dry_run: bool = False
    """Nothing was written."""
    interrupted: bool = False
    """The user stopped it; the same import again continues."""
    files: int
    """Files of a known format."""
    files_left: int = 0
    """Files that an interrupted import did not come to."""
    rollouts: int
    rollouts_by_outcome: RolloutOutcomes = RolloutOutcomes()
    weak_identities: int = 0
    """Rollouts with nothing unique in them: the place in the file, or the file's name, identifies them."""
    turns: int
    other_turns: int
    tool_results: int
    rewards: float
    rewards_count: int
    cost_usd: float | None
    priced_rollouts: int = 0
    new_events: int
    duplicate_events: int
    conflicts: int
    skipped: dict[str, int]
    """Files of a folder, glob or archive that are no traces, counted by reason."""
    notes: list[str] = []
    losses: dict[str, FormatLosses] = {}
    """By format."""
    named_without_rollouts: list[str] = []
    """Paths that the user named, and that could not be imported."""
    conflict_list: list[ConflictReport] = []
    refused: list[RefusedPiece]
    unread: list[UnreadPath] = []
    """Files that were not read as traces, and links and special files."""
    file_reports: list[FileReport]


class FileTally:
    """Adds up one file."""

    def __init__(self, path: str, format: str | None = None) -> None:
        self.path = path
        self.format = format
        self.refused: list[RefusedPiece] = []
        self._counts: Counter[str] = Counter()
        self._rewards = 0.0
        self._cost_usd = 0.0

    def add(self, rollout: ImportedRollout) -> None:
        self._counts["rollouts"] += 1
        self._counts["turns"] += rollout.turn_count
        self._counts["other_turns"] += rollout.other_turn_count
        self._counts["tool_results"] += rollout.tool_result_count
        self.add_rewards(rollout.reward, rollout.reward_count)
        if rollout.cost_usd is not None:
            self._cost_usd += rollout.cost_usd
            self._counts["priced_rollouts"] += 1

    def add_rewards(self, total: float, count: int) -> None:
        self._rewards += total
        self._counts["rewards_count"] += count

    def refuse(self, refusal: Refusal) -> None:
        self.refused.append(RefusedPiece(path=self.path, line=refusal.line, reason=refusal.reason))

    @property
    def rollout_count(self) -> int:
        return self._counts["rollouts"]

    def report(self) -> FileReport:
        return FileReport(
            path=self.path,
            format=self.format,
            rewards=self._rewards,
            cost_usd=self._cost_usd if self._counts["priced_rollouts"] else None,
            refused=len(self.refused),
            **self._counts,
        )


class EventCounts(NamedTuple):
    """Events given to the lake, by outcome."""

    new: int = 0
    duplicate: int = 0
    conflict: int = 0


def totals(reports: list[FileReport]) -> dict[str, Any]:
    """Sums over files, by the names of `ImportReport`."""
    costs = [report.cost_usd for report in reports if report.cost_usd is not None]
    return {
        "files": sum(report.format is not None for report in reports),
        "rollouts": sum(report.rollouts for report in reports),
        "turns": sum(report.turns for report in reports),
        "other_turns": sum(report.other_turns for report in reports),
        "tool_results": sum(report.tool_results for report in reports),
        "rewards": sum(report.rewards for report in reports),
        "rewards_count": sum(report.rewards_count for report in reports),
        "cost_usd": sum(costs) if costs else None,
        "priced_rollouts": sum(report.priced_rollouts for report in reports),
    }


def _by_shown_path(counts: Counter[str]) -> dict[str, int]:
    shown: Counter[str] = Counter()
    for path, count in counts.most_common(PATHS_LISTED_MAX):
        shown[_shown(path)] += count
    return dict(shown)


def _shown(path: str) -> str:
    return redacted_excerpt(path, PATH_LENGTH_MAX)
