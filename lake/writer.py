"""The way in: events are named, compared with what is known, numbered and landed.

Flow: `add` names and books each event → `flush` lands what is new, one file per kind → the receipt is final.

**Acknowledged means durable**: `append` and `flush` return after the landed files have been synced.
**Same key, same payload: a no-op. Same key, other payload: both are kept and `ConflictFound` is told.**
**Sequence numbers are contiguous** within one opening of a writer (its epoch), over all kinds.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, NamedTuple

import pyarrow as pa

from lake.known import KnownKeys
from lake.landing import Stamped, land, landed_file, stamped_table
from lake.store import ObjectStore
from schemas.errors import LakeError
from schemas.event import Event, EventIdentity, event_identity
from schemas.lake_events import ConflictFound


class Origin(NamedTuple):
    """Where events come from."""

    provenance: Literal["live", "imported", "derived"] = "live"
    source_uri: str | None = None
    source_hash: str | None = None


LIVE = Origin()


class Booked(NamedTuple):
    """An event that was accepted and not landed yet."""

    event: Event
    identity: EventIdentity
    origin: Origin


class Receipt(NamedTuple):
    """What became of the events of one call."""

    new_count: int
    duplicate_count: int
    conflict_count: int


class Writer:
    """One opening; not for use by several threads."""

    def __init__(self, store: ObjectStore, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._epoch = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:12]}"
        self._known: KnownKeys | None = None
        self._known_before = 0
        self._next_seq = 0
        self._waiting: dict[str, list[Booked]] = {}
        self._lander = ThreadPoolExecutor(max_workers=2, thread_name_prefix="land")
        self._landing: list[Future[None]] = []
        self._closed = False

    def append(self, events: Iterable[Event], origin: Origin = LIVE) -> Receipt:
        """Add and flush: durable when it returns. Raises EventInvalidError; nothing of the call has landed
        then."""
        receipt = self.add(events, origin)
        self.flush()
        return receipt

    def add(self, events: Iterable[Event], origin: Origin = LIVE) -> Receipt:
        """Book events; they are durable after the next `flush`. All of the call are booked or, on an error,
        none."""
        if self._closed:
            raise LakeError("the writer is closed", cure="Open another with `lake.writer`.")
        if self._known is None:
            self._known = KnownKeys.load(self._store)
            self._known_before = len(self._known)
        named = [(event, event_identity(event)) for event in events]
        new_count = duplicate_count = conflict_count = 0
        for event, identity in named:
            first = self._known.first(identity.key_hash)
            if first is None:
                self._book(event, identity, origin)
                new_count += 1
            elif self._known.holds(identity.key_hash, identity.event_id):
                duplicate_count += 1
            else:
                self._book(event, identity, origin)
                self._book_conflict(event, identity, first)
                conflict_count += 1
        return Receipt(new_count, duplicate_count, conflict_count)

    def told(self) -> dict[str, str]:
        """Key hash to event id of each fact that this writer was the first to tell."""
        return {} if self._known is None else self._known.since(self._known_before)

    def start_flush(self) -> None:
        """Begin to land what is booked, beside the caller; `flush` waits for it.

        One flush at a time, and each of its files after the one before: whatever is cut off, what has landed
        of an epoch is its beginning. A number that is missing before another was acknowledged, and lost.
        """
        self._wait()
        recorded_at = datetime.now(UTC)
        before: Future[None] | None = None
        for kind, booked in self._waiting.items():
            stamped = [
                Stamped(event, identity, self._next_seq + index, *origin)
                for index, (event, identity, origin) in enumerate(booked)
            ]
            self._next_seq += len(booked)
            # Made here: two threads that both need the interpreter cost more than one after the other.
            table = stamped_table(
                kind, stamped, run_id=self._run_id, epoch=self._epoch, recorded_at=recorded_at
            )
            before = self._lander.submit(self._land, table, before)
            self._landing.append(before)
        self._waiting = {}

    def flush(self) -> None:
        """Returns when everything booked is durable. Raises what landing raised."""
        self.start_flush()
        self._wait()

    def close(self) -> None:
        if not self._closed:
            try:
                self.flush()
            finally:
                self._closed = True
                self._lander.shutdown()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self) -> None:
        landing, self._landing = self._landing, []
        try:
            wait(landing)
            for future in landing:
                future.result()
        except BaseException:
            # What this writer believes to be known may not have landed: it must not judge another event.
            self._closed = True
            self._lander.shutdown(wait=False)
            raise

    def _land(self, table: pa.Table, before: Future[None] | None) -> None:
        file = landed_file(table)
        if before is not None:
            before.result()
        land(self._store, file)

    def _book(self, event: Event, identity: EventIdentity, origin: Origin) -> None:
        assert self._known is not None
        self._known.add(identity.key_hash, identity.event_id)
        self._waiting.setdefault(event.KIND, []).append(Booked(event, identity, origin))

    def _book_conflict(self, event: Event, identity: EventIdentity, first: str) -> None:
        assert self._known is not None
        conflict = conflict_between(event.KIND, identity.key_hash, first, identity.event_id, event.__dict__)
        told = event_identity(conflict)
        if not self._known.holds(told.key_hash, told.event_id):
            self._book(conflict, told, Origin("derived"))


def conflict_between(
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
