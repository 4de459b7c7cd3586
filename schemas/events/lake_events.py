"""Events that the lake adds about the events and sources that it was given."""

from __future__ import annotations

from typing import ClassVar, Literal

from tracelake.schemas.events.event import Event, Text


class ConflictFound(Event):
    """Two events have one natural key and different payloads; the lake keeps both, pins leave both out."""

    KEY: ClassVar[tuple[str, ...]] = ("conflict_key_hash", "first_event_id", "other_event_id")

    kind: Literal["conflict_found"] = "conflict_found"
    conflict_kind: str
    """Kind of the two events."""
    conflict_key_hash: str
    """Hash of the natural key that they share."""
    first_event_id: str
    """The event that landed first."""
    other_event_id: str
    """The event that landed later."""
    rollout_id: str | None = None
    """The rollout of the two events, where they name one."""


class EventRejected(Event):
    """A piece of a source could not become an event and was refused; this event records the loss."""

    KEY: ClassVar[tuple[str, ...]] = ("source_name", "line", "reason")

    kind: Literal["event_rejected"] = "event_rejected"
    source_name: str
    """The identity of the source, without the machine's own folders."""
    line: int | None = None
    """Line or element number, from 1; null means the whole source."""
    reason: Text
    """Why it was refused."""
    excerpt: Text | None = None
    """The beginning of the refused text, escaped."""
