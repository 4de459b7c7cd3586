"""What becomes of an event that a writer is given: cleared of secrets, named, and known, new or in conflict.

Flow: events → `accept` (secrets out, names) → `judge` (duplicates dropped, conflicts told, all of it booked).

**Same key, same payload: a no-op. Same key, other payload: both are kept and `ConflictFound` is told.**
**Secrets go before anything else is done**: what is named, compared and written never held them.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from tracelake.lake.landed.ledger import Counting, Outcome
from tracelake.lake.layout import REDACTION_KEY
from tracelake.lake.secrets.redaction import DROPPED_VECTOR, Redactor
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.writing.known_keys import KnownKeys
from tracelake.lake.writing.spool.segment import SpooledEvent
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.event import CanonicalEvent, Event, canonical_event, vector_fields
from tracelake.schemas.events.lake_events import ConflictFound, EventRejected

KEY_BYTES = 32


class Origin(NamedTuple):
    """Where events come from."""

    provenance: Literal["live", "imported", "derived"] = "live"
    source_uri: str | None = None
    source_hash: str | None = None


LIVE = Origin()


class PreparedEvent(NamedTuple):
    """An event that was named, and is in no file yet."""

    event: Event
    named: CanonicalEvent
    origin: Origin
    redactions_json: str | None = None

    def spooled(self, recorded_at: datetime) -> SpooledEvent:
        """As a segment keeps it."""
        event, told = self.event, self.named
        position, redactions = event.source_position, self.redactions_json
        return SpooledEvent(
            event.KIND,
            told.identity,
            recorded_at,
            position,
            *self.origin,
            redactions,
            told.text,
            told.vectors,
        )


class Receipt(NamedTuple):
    """What became of the events of one call."""

    new_count: int
    duplicate_count: int
    conflict_count: int


class Deduplicator:
    """Knows what the lake holds, and counts; for one writer."""

    def __init__(self, store: ObjectStore) -> None:
        self._known = KnownKeys(store)
        self._redactor = Redactor.from_environment(read_or_create_redaction_key(store), os.environ)
        self._redacted_rollouts: set[str | None] = set()
        self.counting = Counting()

    def accept(self, events: Iterable[Event], origin: Origin) -> list[PreparedEvent]:
        """Raises EventInvalidError."""
        accepted = [PreparedEvent(event, canonical_event(type(event), event.__dict__), origin) for event in events]
        for index in self._redactor.suspects_of([item.named.text for item in accepted]):
            event, found = self._redactor.redact(accepted[index].event)
            if found:
                self._redacted_rollouts.add(event.__dict__.get("rollout_id"))
                accepted[index] = _changed(event, origin, found)
        if self._redacted_rollouts:
            accepted = [self._without_ids(item) for item in accepted]
        return accepted

    def _without_ids(self, item: PreparedEvent) -> PreparedEvent:
        """Later contexts of a rollout say a secret again, as token ids: they go with it."""
        fields = item.event.__dict__
        if not item.named.vectors or fields.get("rollout_id") not in self._redacted_rollouts:
            return item
        vectors = [name for name, _ in vector_fields(type(item.event)) if fields[name] is not None]
        event = item.event.model_copy(update=dict.fromkeys(vectors))
        return _changed(event, item.origin, {DROPPED_VECTOR: len(vectors)})

    def judge(self, accepted: list[PreparedEvent]) -> tuple[Receipt, list[PreparedEvent]]:
        """What each event is, and those that are to be kept, conflicts among them told."""
        fresh: list[PreparedEvent] = []
        self._known.begin()
        self._meet(accepted)
        known = self._known
        sizes: dict[Outcome, list[int]] = {"landed": [], "rejected": [], "duplicate": [], "conflict": []}
        for item in accepted:
            (event_id, key_hash, _), _, _, size = item.named
            first = known.learn(key_hash, event_id)
            if first is None:
                sizes["rejected" if item.event.KIND == EventRejected.KIND else "landed"].append(size)
                fresh.append(item)
            elif known.holds(key_hash, event_id):
                sizes["duplicate"].append(size)
            else:
                sizes["conflict"].append(size)
                known.add(key_hash, event_id)
                fresh += [item, *self._conflict(item, first)]
        for outcome, each in sizes.items():
            self.counting.book(outcome, *each)
        landed, rejected, duplicate, conflict = map(len, sizes.values())
        return Receipt(landed + rejected, duplicate, conflict), fresh

    def _meet(self, items: list[PreparedEvent]) -> None:
        for met in {item.event.KIND for item in items}:
            self._known.meet(met, (item.named.identity.key_hash for item in items if met == item.event.KIND))

    def first_seen_ids(self) -> dict[str, str]:
        """Key hash to event id of each fact that was told here first."""
        return self._known.told

    def _conflict(self, item: PreparedEvent, first: str) -> list[PreparedEvent]:
        identity = item.named.identity
        event = conflict_event(
            item.event.KIND, identity.key_hash, first, identity.event_id, item.event.__dict__
        )
        told = PreparedEvent(event, canonical_event(ConflictFound, event.__dict__), Origin("derived"))
        self._meet([told])
        identity = told.named.identity
        if self._known.holds(identity.key_hash, identity.event_id):
            return []
        self._known.add(identity.key_hash, identity.event_id)
        self.counting.book("told", told.named.byte_count)
        return [told]


def _changed(event: Event, origin: Origin, found: dict[str, int]) -> PreparedEvent:
    return PreparedEvent(event, canonical_event(type(event), event.__dict__), origin, canonical_text(found))


def read_or_create_redaction_key(store: ObjectStore) -> bytes:
    """The lake's own, made with its first writer: tokens of one secret are equal within a lake, and tell
    nothing to whoever has only them."""
    if not store.exists(REDACTION_KEY):
        # Of writers that race the first one's key stands.
        store.put_new(REDACTION_KEY, secrets.token_bytes(KEY_BYTES))
    return store.read(REDACTION_KEY)


def conflict_event(
    kind: str, key_hash: str, first: str, other: str, fields: Mapping[str, object]
) -> ConflictFound:
    """The event that tells of two payloads under one key."""
    rollout_id = fields.get("rollout_id")
    return ConflictFound(
        conflict_kind=kind,
        conflict_key_hash=key_hash,
        first_event_id=first,
        other_event_id=other,
        rollout_id=rollout_id if isinstance(rollout_id, str) else None,
    )
