"""What an import would add, without writing anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.writing.deduplicate import LIVE, Deduplicator, Origin, Receipt
from tracelake.schemas.events.event import Event


class EventSink(Protocol):
    """What an import does with a writer."""

    def add(self, events: Iterable[Event], origin: Origin = LIVE) -> Receipt: ...

    def start_flush(self) -> None: ...

    def flush(self) -> None: ...

    def knows_key_of(self, event: Event) -> bool: ...

    def first_seen_ids(self) -> dict[str, str]: ...


class DryRunWriter:
    """Redacts, names and compares events with those of a lake as a writer does, and forgets them."""

    def __init__(self, store: ObjectStore) -> None:
        self._deduplicator = Deduplicator(store)

    def add(self, events: Iterable[Event], origin: Origin = LIVE) -> Receipt:
        """Raises EventInvalidError."""
        receipt, _ = self._deduplicator.deduplicate(self._deduplicator.redact_and_name(events, origin))
        return receipt

    def start_flush(self) -> None:
        """There is nothing to land."""

    def flush(self) -> None:
        """There is nothing to land."""

    def knows_key_of(self, event: Event) -> bool:
        return self._deduplicator.knows_key_of(event)

    def first_seen_ids(self) -> dict[str, str]:
        return self._deduplicator.first_seen_ids()
