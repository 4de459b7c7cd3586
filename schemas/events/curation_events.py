"""Decisions of people about events that the lake has: which of two conflicting ones counts, and what is
retracted.

**A decision is an event**: it has a reason and a time, and it changes nothing that has landed.
**The latest decision counts**, by its own time and then by its event id, in whatever order decisions land.
**All fields are the key**, so decisions are never in conflict with each other.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from tracelake.schemas.events.event import Event, JsonText, Text


class ConflictResolved(Event):
    """Someone decided which of the events under one natural key folds use."""

    KEY: ClassVar[tuple[str, ...]] = (
        "conflict_key_hash",
        "conflict_kind",
        "chosen_event_id",
        "event_ids_json",
        "reason",
        "occurred_at",
    )

    kind: Literal["conflict_resolved"] = "conflict_resolved"
    conflict_kind: str
    """Kind of the conflicting events."""
    conflict_key_hash: str
    """Hash of the natural key that they share."""
    rollout_id: str | None = None
    """Their rollout, where they name one."""
    chosen_event_id: str | None = None
    """The event that folds use; null: none of them, and the rollout is left out on purpose."""
    event_ids_json: JsonText
    """Ids of all events under the key when it was decided, sorted. Another one opens the conflict again."""
    reason: Text
    """Why."""


class RetractionDecided(Event):
    """Someone decided that folds leave rollouts out, or that they use them again."""

    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id", "is_retracted", "reason", "occurred_at")

    kind: Literal["retraction_decided"] = "retraction_decided"
    scope: Literal["rollout", "source_run"]
    """`rollout`: one rollout; `source_run`: all rollouts of a run, also those that land later."""
    scope_id: str
    """The `rollout_id`, or the `source_run` of the rollouts."""
    is_retracted: bool
    """False takes an earlier retraction back."""
    reason: Text
    """Why."""
