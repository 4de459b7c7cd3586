"""Which facts the lake holds: natural key to the events that came under it.

**The index is a cache of landed files**, read back when a writer opens; it is never the truth.
"""

from __future__ import annotations

from itertools import islice

from lake.landing import read_envelopes
from lake.layout import EVENTS
from lake.store import ObjectStore


class KnownKeys:
    """Key hash to event ids, first landed first."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._others: dict[str, list[str]] = {}

    @classmethod
    def load(cls, store: ObjectStore) -> KnownKeys:
        known = cls()
        for path in store.list(EVENTS, ".parquet"):
            rows = read_envelopes(store, path, ["key_hash", "event_id"])
            for key_hash, event_id in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                known.add(key_hash, event_id)
        return known

    def __len__(self) -> int:
        return len(self._first)

    def since(self, count: int) -> dict[str, str]:
        """Keys beyond the first `count`, in the order in which they came."""
        return dict(islice(self._first.items(), count, None))

    def first(self, key_hash: str) -> str | None:
        """The event that came first under the key; null if none did."""
        return self._first.get(key_hash)

    def holds(self, key_hash: str, event_id: str) -> bool:
        return self._first.get(key_hash) == event_id or event_id in self._others.get(key_hash, ())

    def add(self, key_hash: str, event_id: str) -> None:
        first = self._first.setdefault(key_hash, event_id)
        if first != event_id and event_id not in self._others.get(key_hash, ()):
            self._others.setdefault(key_hash, []).append(event_id)
