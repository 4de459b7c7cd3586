"""Rollouts in conflict, for tests of decisions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from tests.traces import rollout
from tracelake.lake import Lake
from tracelake.lake.writing.deduplicate import Origin
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.curation_events import ConflictResolved, RetractionDecided
from tracelake.schemas.events.event import Event, event_identity

ROLLOUT = "teacher-a/q1"
START = datetime(2026, 1, 1, tzinfo=UTC)


def version(command: str) -> list[Event]:
    """One recording of the rollout; recordings differ in the turn's action."""
    return list(rollout("teacher-a", "q1", command))


def turn_of(command: str) -> Event:
    return next(event for event in version(command) if event.KIND == "turn_completed")


def id_of(command: str) -> str:
    return event_identity(turn_of(command)).event_id


def land(lake: Lake, events: Iterable[Event], file: str | None = None) -> None:
    origin = Origin("live") if file is None else Origin("imported", file)
    with lake.writer("run") as writer:
        writer.append(events, origin)


def decided(chosen: str | None, *seen: str, minutes: int = 0, reason: str = "because") -> ConflictResolved:
    """A decision between the turns with these commands."""
    return ConflictResolved(
        conflict_kind="turn_completed",
        conflict_key_hash=event_identity(turn_of("a")).key_hash,
        rollout_id=ROLLOUT,
        chosen_event_id=None if chosen is None else id_of(chosen),
        event_ids_json=canonical_text(sorted(map(id_of, seen))),
        reason=reason,
        occurred_at=START + timedelta(minutes=minutes),
    )


def retracted(scope_id: str, *, minutes: int, gone: bool = True, run: bool = False) -> RetractionDecided:
    return RetractionDecided(
        scope="source_run" if run else "rollout",
        scope_id=scope_id,
        is_retracted=gone,
        reason="because",
        occurred_at=START + timedelta(minutes=minutes),
    )
