"""Which facts a lake held before a writer's first event of a kind, and which that writer has met since.

Flow: a kind's first event → its table's keys, and those of files that no table holds yet → `learn` each key.

**The index is a cache of landed files**, read when a kind is first met; it is never the truth. A table is a
quicker way to the same: one that cannot be read costs time.
**What is asked is exact**: fingerprints only find the rows to compare.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa

from lake.landed_files import are_more_than, landed_of, landed_past
from lake.landing import read_envelopes
from lake.layout import table_path
from lake.stores.store import ObjectStore
from schemas.errors import TracelakeError

if TYPE_CHECKING:
    from lake.writing.key_index import KeyIndex

# Fewer files are read sooner than Lance is loaded.
FILES_READ_MAX = 64
COLUMNS = ["key_hash", "event_id"]
_log = logging.getLogger("tracelake")


class KnownKeys:
    """Key hash to event ids, the first one known apart from the others."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._first: dict[str, str] = {}
        self._others: dict[str, list[str]] = {}
        self._told: dict[str, str] = {}
        self._tables: dict[str, KeyIndex | None] = {}

    @property
    def told(self) -> dict[str, str]:
        """Key hash to event id of what came here first, in that order."""
        return self._told

    def meet(self, kind: str, key_hashes: Iterable[str]) -> None:
        """Be ready for these keys of a kind; they are looked at only where there is a table to ask."""
        if kind not in self._tables:
            self._tables[kind] = self._open(kind)
        table = self._tables[kind]
        if table is not None:
            for key_hash, event_id in table.rows_of(list(key_hashes)):
                self.add(key_hash, event_id)

    def learn(self, key_hash: str, event_id: str) -> str | None:
        """The event that came first under the key; null if it is this one, which is known from now on."""
        first = self._first.get(key_hash)
        if first is None:
            self._first[key_hash] = self._told[key_hash] = event_id
        return first

    def holds(self, key_hash: str, event_id: str) -> bool:
        return self._first.get(key_hash) == event_id or event_id in self._others.get(key_hash, ())

    def add(self, key_hash: str, event_id: str) -> None:
        first = self._first.setdefault(key_hash, event_id)
        if first != event_id and event_id not in self._others.get(key_hash, ()):
            self._others.setdefault(key_hash, []).append(event_id)

    def _open(self, kind: str) -> KeyIndex | None:
        """The keys of the kind's table, if it is worth it; those of all files beside it are added."""
        index, files = None, None
        if are_more_than(self._store, kind, FILES_READ_MAX):
            index, files = self._from_table(kind)
        for path in landed_of(self._store, kind) if files is None else files:
            rows: pa.Table = read_envelopes(self._store, path, COLUMNS)
            for key_hash, event_id in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                self.add(key_hash, event_id)
        return index

    def _from_table(self, kind: str) -> tuple[KeyIndex | None, list[str] | None]:
        """The table's keys, and the files that it does not hold; null if it cannot be asked."""
        from lake.cursors import read_cursor
        from lake.tables import CURSOR, open_table, schema_note
        from lake.writing.key_index import KeyIndex

        try:
            dataset = open_table(self._store.location(table_path(kind)))
            if dataset is None:
                return None, None
            cursor = read_cursor(self._store, kind, schema_note(dataset, CURSOR) or {})
            return KeyIndex(dataset.to_table(columns=COLUMNS)), landed_past(self._store, kind, cursor)
        except (TracelakeError, OSError, ValueError) as error:
            _log.warning("the table %s cannot be asked for its keys, landed files are read: %s", kind, error)
            return None, None
