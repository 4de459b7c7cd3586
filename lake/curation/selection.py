"""The selection: the events that folds and pins use, folded from conflicts and decisions.

**Under a natural key with several payloads one event counts, or none.** Without a decision, or with one that
did not see all of them, the conflict is open and none counts.
**A rollout whose own record has no event under such a key is left out whole**: a context with a missing turn
is wrong.
**The latest decision counts** (`schemas/events/curation_events.py`). The result depends on which events the
lake has, never on their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import orjson
import polars as pl

from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.derived import scan_events
from tracelake.schemas.events.curation_events import ConflictResolved, RetractionDecided
from tracelake.schemas.events.lake_events import ConflictFound
from tracelake.schemas.events.rollout_events import (
    RewardAssigned,
    RolloutEnded,
    RolloutStarted,
    ToolReturned,
    TurnCompleted,
)
from tracelake.schemas.events.teacher_events import HintGiven, TeacherAnswered
from tracelake.schemas.events.training_events import TaskEvaluated

RECORD_KINDS = frozenset(
    cls.KIND for cls in (RolloutStarted, TurnCompleted, ToolReturned, RolloutEnded, RewardAssigned)
)
"""Kinds that make up a rollout's own record."""
ABOUT_ROLLOUTS = frozenset({HintGiven.KIND, TaskEvaluated.KIND})
"""Kinds that say something about a rollout; of a retracted one they do not count either."""
HARVESTED_COLUMNS = ("origin", "source_event_id", "rollout_id")
BEFORE_ALL = datetime.min.replace(tzinfo=UTC)

Why = Literal["conflict", "decision", "retracted"]
"""`conflict`: an open one; `decision`: a conflict was resolved by using neither event."""


class LeftOut(NamedTuple):
    """A rollout that no derived table contains."""

    rollout_id: str
    why: Why
    detail: str
    """A sentence for people."""


class Candidates(NamedTuple):
    """The events under one natural key that has several payloads."""

    kind: str
    key_hash: str
    rollout_id: str | None
    event_ids: tuple[str, ...]
    """Sorted."""


class Selection(NamedTuple):
    chosen_of_key: Mapping[str, str | None]
    """Key hashes in conflict, each with the event that counts; null: none of them."""
    discarded_ids: frozenset[str]
    """Events under these keys that do not count."""
    left_out: Mapping[str, LeftOut]
    """By rollout id, sorted."""

    @property
    def rollout_ids(self) -> frozenset[str]:
        return frozenset(self.left_out)

    @property
    def retracted(self) -> frozenset[str]:
        return frozenset(each.rollout_id for each in self.left_out.values() if each.why == "retracted")

    def counts(self) -> dict[Why, int]:
        """Rollouts left out, by reason."""
        found = Counter(each.why for each in self.left_out.values())
        reasons: tuple[Why, ...] = ("conflict", "decision", "retracted")
        return {why: found[why] for why in reasons}


EVERYTHING = Selection({}, frozenset(), {})
"""Nothing is in conflict and nothing retracted."""


def read_selection(store: ObjectStore) -> Selection:
    """From the event tables as of their last projection."""
    candidates = read_candidates(store)
    chosen = {key: _chosen(each, decision) for key, (each, decision) in candidates.items()}
    discarded = frozenset(
        event_id
        for key, (each, _) in candidates.items()
        for event_id in each.event_ids
        if event_id != chosen[key]
    )
    left_out = _by_conflicts(candidates, chosen)
    left_out.update(_by_retraction(store, discarded))
    return Selection(chosen, discarded, dict(sorted(left_out.items())))


def read_candidates(store: ObjectStore) -> dict[str, tuple[Candidates, dict[str, Any] | None]]:
    """By key hash: the events in conflict, and the latest decision on them, if any."""
    columns = ["conflict_kind", "conflict_key_hash", "first_event_id", "other_event_id", "rollout_id"]
    found = scan_events(store, ConflictFound.KIND).select(columns).collect()
    ids: dict[tuple[str, str], set[str]] = {}
    rollout_of: dict[str, str] = {}
    for kind, key_hash, first, other, rollout_id in found.iter_rows():
        ids.setdefault((key_hash, kind), set()).update((first, other))
        if rollout_id is not None:
            rollout_of[key_hash] = rollout_id
    decisions = scan_events(store, ConflictResolved.KIND).collect().to_dicts()
    latest = latest_by(decisions, "conflict_key_hash")
    return {
        key_hash: (
            Candidates(kind, key_hash, rollout_of.get(key_hash), tuple(sorted(event_ids))),
            latest.get((key_hash,)),
        )
        for (key_hash, kind), event_ids in sorted(ids.items())
    }


def latest_by(decisions: Iterable[Mapping[str, Any]], *columns: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The latest decision for each value of the columns."""
    latest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in sorted(decisions, key=decision_order):
        latest[tuple(row[column] for column in columns)] = dict(row)
    return latest


def decision_order(row: Mapping[str, Any]) -> tuple[datetime, str]:
    return row["occurred_at"] or BEFORE_ALL, row["event_id"]


def is_open(candidates: Candidates, decision: Mapping[str, Any] | None) -> bool:
    """Whether nobody has decided among all the events that are there now."""
    if decision is None:
        return True
    seen = set(orjson.loads(decision["event_ids_json"]))
    chosen = decision["chosen_event_id"]
    return not seen.issuperset(candidates.event_ids) or chosen not in (None, *candidates.event_ids)


def is_used(frame: pl.DataFrame, kind: str, selection: Selection) -> pl.Series:
    """A mask of the rows of an event table that count.

    `frame` has `event_id`, `key_hash`, and where the kind has them, `rollout_id` and `HARVESTED_COLUMNS`.
    """
    chosen = [event_id for event_id in selection.chosen_of_key.values() if event_id is not None]
    used = ~frame["key_hash"].is_in(list(selection.chosen_of_key)) | frame["event_id"].is_in(chosen)
    if kind in RECORD_KINDS:
        used &= ~frame["rollout_id"].is_in(list(selection.left_out))
    elif kind in ABOUT_ROLLOUTS:
        used &= ~frame["rollout_id"].is_in(list(selection.retracted)).fill_null(False)
    elif kind == TeacherAnswered.KIND:
        # A harvested answer is a turn of a rollout; it counts if that turn does.
        gone = frame["rollout_id"].is_in(list(selection.left_out)).fill_null(False)
        gone |= frame["source_event_id"].is_in(list(selection.discarded_ids)).fill_null(False)
        used &= ~(gone & (frame["origin"] == "harvested"))
    return used


def selection_columns(kind: str) -> list[str]:
    """The columns that `is_used` needs of a kind."""
    columns = ["event_id", "key_hash"]
    if kind in RECORD_KINDS | ABOUT_ROLLOUTS:
        return [*columns, "rollout_id"]
    return [*columns, *HARVESTED_COLUMNS] if kind == TeacherAnswered.KIND else columns


def _chosen(candidates: Candidates, decision: Mapping[str, Any] | None) -> str | None:
    return None if decision is None or is_open(candidates, decision) else decision["chosen_event_id"]


def _by_conflicts(
    candidates: Mapping[str, tuple[Candidates, dict[str, Any] | None]], chosen: Mapping[str, str | None]
) -> dict[str, LeftOut]:
    open_kinds: dict[str, Counter[str]] = {}
    reasons: dict[str, str] = {}
    for key, (each, decision) in candidates.items():
        if chosen[key] is not None or each.kind not in RECORD_KINDS or each.rollout_id is None:
            continue
        if decision is None or is_open(each, decision):
            open_kinds.setdefault(each.rollout_id, Counter())[each.kind] += 1
        else:
            reasons[each.rollout_id] = decision["reason"]
    left_out = {rollout: LeftOut(rollout, "decision", reason) for rollout, reason in reasons.items()}
    for rollout, kinds in open_kinds.items():
        named = ", ".join(f"{count} of {kind}" for kind, count in sorted(kinds.items()))
        left_out.setdefault(rollout, LeftOut(rollout, "conflict", f"open conflicts: {named}"))
    return left_out


def _by_retraction(store: ObjectStore, discarded: frozenset[str]) -> dict[str, LeftOut]:
    """Of several decisions that apply to a rollout, on itself or on its run, the latest counts."""
    decisions = scan_events(store, RetractionDecided.KIND).collect().to_dicts()
    if not decisions:
        return {}
    latest = latest_by(decisions, "scope", "scope_id")
    started = scan_events(store, RolloutStarted.KIND).select("event_id", "rollout_id", "source_run").collect()
    runs_of: dict[str, set[str | None]] = {name: set() for scope, name in latest if scope == "rollout"}
    for event_id, rollout_id, source_run in started.iter_rows():
        if event_id not in discarded:
            runs_of.setdefault(rollout_id, set()).add(source_run)
    left_out: dict[str, LeftOut] = {}
    for rollout, runs in runs_of.items():
        names = [("rollout", rollout), *(("source_run", run) for run in runs)]
        applying = [latest[name] for name in names if name in latest]
        newest = max(applying, key=decision_order, default=None)
        if newest is not None and newest["is_retracted"]:
            of_run = f"run {newest['scope_id']}: " if newest["scope"] == "source_run" else ""
            left_out[rollout] = LeftOut(rollout, "retracted", of_run + newest["reason"])
    return left_out
