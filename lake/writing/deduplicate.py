"""Redact, name and deduplicate the events that a writer is given.

Flow: events → `redact_and_name` → `deduplicate` → the events to write and a receipt. Each event is counted
for the ledger.

**Same key, same payload: a no-op. Same key, other payload: both events are written, with a `ConflictFound`.**
**Secrets go first**: identity, comparison and everything that is written come from the redacted event.
**A secret drops the token ids of its turn and of the later turns of its rollout**, whatever batches they come
in: a second import, or a longer recording, gives the same events.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from tracelake.lake.landed.ledger import EventCounter, EventOutcome
from tracelake.lake.secrets.public_text import without_credentials
from tracelake.lake.secrets.redaction import Redactor, read_or_create_redaction_key, without_token_ids
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.writing.known_keys import KnownKeys
from tracelake.lake.writing.rows import EventRow
from tracelake.lake.writing.spool.segment import SpooledEvent
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.event import CanonicalEvent, Event, canonical_event
from tracelake.schemas.events.lake_events import ConflictFound, EventRejected
from tracelake.schemas.events.rollout_events import RolloutStarted, ToolReturned, TurnCompleted


class Origin(NamedTuple):
    """Where events come from."""

    provenance: Literal["live", "imported", "derived"] = "live"
    source_uri: str | None = None
    source_hash: str | None = None


LIVE = Origin()


class PreparedEvent(NamedTuple):
    """A redacted event with its identity. It is in no file yet."""

    event: Event
    canonical: CanonicalEvent
    origin: Origin
    redactions_json: str | None = None

    def to_spooled(self, recorded_at: datetime) -> SpooledEvent:
        """For a segment of the spool."""
        return SpooledEvent(
            self.event.KIND,
            self.canonical.identity,
            recorded_at,
            self.event.source_position,
            *self.origin,
            self.redactions_json,
            self.canonical.text,
            self.canonical.vectors,
        )

    def to_row(self) -> EventRow:
        """For a file that lands without the spool."""
        return EventRow(
            self.event,
            self.canonical.identity,
            *self.origin,
            self.redactions_json,
            self.canonical.byte_count,
        )


class Receipt(NamedTuple):
    """How many events of one call were new, duplicate and conflicting."""

    new_count: int
    duplicate_count: int
    conflict_count: int


class Deduplicator:
    """Knows the events of the lake and counts what happens to each new one; for one writer."""

    def __init__(self, store: ObjectStore) -> None:
        self._known = KnownKeys(store)
        self._redactor = Redactor.from_environment(read_or_create_redaction_key(store), os.environ)
        self._redacted_turns: dict[str, int] = {}
        """By rollout the first turn whose token ids may repeat a secret of an earlier event."""
        self.counter = EventCounter()

    def redact_and_name(self, events: Iterable[Event], origin: Origin) -> list[PreparedEvent]:
        """Raises EventInvalidError."""
        origin = self._redacted_origin(origin)
        prepared = [
            PreparedEvent(event, canonical_event(type(event), event.__dict__), origin) for event in events
        ]
        # Naming makes the text that is searched for secrets. The few suspects are redacted and named again.
        for index in self._redactor.suspects_of([item.canonical.text for item in prepared]):
            event, found = self._redactor.redact(prepared[index].event)
            if found:
                self._note_redacted(event)
                prepared[index] = _named_again(event, origin, found)
        if self._redacted_turns:
            prepared = [self._without_token_ids(item) for item in prepared]
        return prepared

    def _redacted_origin(self, origin: Origin) -> Origin:
        """The address without user, password, query and fragment, and without secrets in its path."""
        if origin.source_uri is None:
            return origin
        address = self._redactor.redact_text(without_credentials(origin.source_uri)).text
        return origin._replace(source_uri=address)

    def deduplicate(self, prepared: list[PreparedEvent]) -> tuple[Receipt, list[PreparedEvent]]:
        """The receipt and the events to write: new ones, conflicting ones, and their `ConflictFound`."""
        to_write: list[PreparedEvent] = []
        known = self._known
        known.start_batch()
        self._load_keys(prepared)
        sizes: dict[EventOutcome, list[int]] = {"landed": [], "rejected": [], "duplicate": [], "conflict": []}
        for item in prepared:
            (event_id, key_hash, _), _, _, byte_count = item.canonical
            first_id = known.add_first(key_hash, event_id)
            if first_id is None:
                sizes["rejected" if item.event.KIND == EventRejected.KIND else "landed"].append(byte_count)
                to_write.append(item)
            elif known.contains(key_hash, event_id):
                sizes["duplicate"].append(byte_count)
            else:
                sizes["conflict"].append(byte_count)
                known.add(key_hash, event_id)
                to_write += [item, *self._new_conflict(item, first_id)]
        for outcome, byte_counts in sizes.items():
            self.counter.count(outcome, *byte_counts)
        landed, rejected, duplicate, conflict = map(len, sizes.values())
        return Receipt(landed + rejected, duplicate, conflict), to_write

    def knows_key_of(self, event: Event) -> bool:
        """Whether an event with this event's natural key is known. Raises EventInvalidError."""
        [prepared] = self.redact_and_name([event], LIVE)
        self._known.start_batch()
        self._load_keys([prepared])
        return self._known.knows_key(prepared.canonical.identity.key_hash)

    def first_seen_ids(self) -> dict[str, str]:
        """Key hash to event id of each event that was new to the lake."""
        return self._known.first_seen_ids()

    def _note_redacted(self, event: Event) -> None:
        """Prompts repeat what joined the context of their rollout before them."""
        if isinstance(event, (RolloutStarted, TurnCompleted, ToolReturned)):
            first = 0 if isinstance(event, RolloutStarted) else event.turn_index + 1
            known = self._redacted_turns.get(event.rollout_id, first)
            self._redacted_turns[event.rollout_id] = min(known, first)

    def _without_token_ids(self, item: PreparedEvent) -> PreparedEvent:
        """The event, without token ids if its turn comes after a secret."""
        fields = item.event.__dict__
        first = self._redacted_turns.get(fields.get("rollout_id") or "")
        if not item.canonical.vectors or first is None or (fields.get("turn_index") or 0) < first:
            return item
        event, dropped = without_token_ids(item.event)
        return _named_again(event, item.origin, dropped)

    def _load_keys(self, items: list[PreparedEvent]) -> None:
        for kind in {item.event.KIND for item in items}:
            key_hashes = (item.canonical.identity.key_hash for item in items if kind == item.event.KIND)
            self._known.load(kind, key_hashes)

    def _new_conflict(self, item: PreparedEvent, first_id: str) -> list[PreparedEvent]:
        """The `ConflictFound` to write; empty if the lake has it already."""
        identity = item.canonical.identity
        event = conflict_event(
            item.event.KIND, identity.key_hash, first_id, identity.event_id, item.event.__dict__
        )
        conflict = PreparedEvent(event, canonical_event(ConflictFound, event.__dict__), Origin("derived"))
        self._load_keys([conflict])
        identity = conflict.canonical.identity
        if self._known.contains(identity.key_hash, identity.event_id):
            return []
        self._known.add(identity.key_hash, identity.event_id)
        self.counter.count("conflict_found", conflict.canonical.byte_count)
        return [conflict]


def conflict_event(
    kind: str, key_hash: str, first_id: str, other_id: str, fields: Mapping[str, object]
) -> ConflictFound:
    """The event that records two payloads under one key; `fields` are those of one of the two."""
    rollout_id = fields.get("rollout_id")
    return ConflictFound(
        conflict_kind=kind,
        conflict_key_hash=key_hash,
        first_event_id=first_id,
        other_event_id=other_id,
        rollout_id=rollout_id if isinstance(rollout_id, str) else None,
    )


def _named_again(event: Event, origin: Origin, redactions: dict[str, int]) -> PreparedEvent:
    """A changed event is another fact: it gets the identity of what is left."""
    return PreparedEvent(
        event, canonical_event(type(event), event.__dict__), origin, canonical_text(redactions)
    )
