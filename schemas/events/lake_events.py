"""What the lake itself has to say about what it was given."""

from __future__ import annotations

from typing import ClassVar, Literal

from tracelake.schemas.events.event import Event, Text


class ConflictFound(Event):
    """Two payloads came under one natural key; both are kept, and neither enters a pin."""

    KEY: ClassVar[tuple[str, ...]] = ("conflict_key_hash", "first_event_id", "other_event_id")

    kind: Literal["conflict_found"] = "conflict_found"
    conflict_kind: str
    """Kind of the two events."""
    conflict_key_hash: str
    """Hash of the key that they share."""
    first_event_id: str
    """The one that landed first."""
    other_event_id: str
    """The one that landed later."""
    rollout_id: str | None = None
    """The rollout that they belong to, where they name one."""


class EventRejected(Event):
    """A piece of a source was refused; it is told here, so that it is not lost in silence."""

    KEY: ClassVar[tuple[str, ...]] = ("source_name", "line", "reason")

    kind: Literal["event_rejected"] = "event_rejected"
    source_name: str
    """The identity of the source, without the machine's own folders."""
    line: int | None = None
    """Line or element number, from 1; null: the whole source."""
    reason: Text
    """Why it was refused."""
    excerpt: Text | None = None
    """The beginning of what was refused, escaped."""
