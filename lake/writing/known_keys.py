"""The events that a lake has, by key: those that a writer found there, and its own.

Flow: a kind's first event loads that kind's keys, from its table and from landed files not yet projected.
Then, batch by batch: `start_batch`, `load` the batch's keys, `add_first` each.

**The index is a cache of landed files**, never the truth. A table is a faster way to the same keys; one that
cannot be read costs time only.
**A known event takes 64 bytes of memory**, except the newest: a writer may live as long as a training.
**Comparisons are exact**: hash prefixes only find the rows to compare.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pyarrow as pa

from tracelake.lake.landed.listing import has_more_files, landed_files_of, landed_past
from tracelake.lake.landed.reading import read_envelopes
from tracelake.lake.layout import table_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.writing.key_index import KeyIndex
from tracelake.schemas.errors import CorruptFileError, TracelakeError

# Reading fewer files takes less time than loading Lance.
FILES_READ_MAX = 64
RECENT_MAX = 2**16
# Sorting a larger index would delay an append; with smaller ones there would be more to search.
INDEX_ROWS_MAX = 2**20
COLUMNS = ["key_hash", "event_id"]
_log = logging.getLogger("tracelake")


class KnownKeys:
    """Key hash to event ids. The first id under a key is the fact, all others are in conflict with it."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._from_lake: dict[str, list[KeyIndex]] = {}
        """By kind: events from before this writer's first one."""
        self._indexed: list[KeyIndex] = []
        """This writer's own first events, without the recent ones."""
        self._recent: dict[str, str] = {}
        self._batch: dict[str, str] = {}
        """First ids that the current batch found in the indexes."""
        self._conflicting: dict[str, list[str]] = {}

    def first_seen_ids(self) -> dict[str, str]:
        """Key hash to event id of the events that this writer was the first to write."""
        return {**dict(row for index in self._indexed for row in index.rows()), **self._recent}

    def start_batch(self) -> None:
        """Forget what the last batch found. Index the recent events when there are many."""
        self._batch.clear()
        if len(self._recent) < RECENT_MAX:
            return
        index, self._recent = KeyIndex.of(self._recent), {}
        while self._indexed and len(self._indexed[-1]) <= len(index) <= INDEX_ROWS_MAX // 2:
            index = self._indexed.pop().with_rows_of(index)
        self._indexed.append(index)

    def load(self, kind: str, key_hashes: Iterable[str]) -> None:
        """Look these keys of a kind up, before they are asked about."""
        if kind not in self._from_lake:
            self._from_lake[kind] = self._load_kind(kind)
        indexes = [*self._from_lake[kind], *self._indexed]
        if not indexes:
            return
        sought = [key_hash for key_hash in key_hashes if key_hash not in self._recent]
        for index in indexes:
            for key_hash, event_id in index.rows_of(sought):
                self.add(key_hash, event_id)

    def add_first(self, key_hash: str, event_id: str) -> str | None:
        """Add the event if its key is new and return null; else return the first id under the key."""
        first_id = self._first_id(key_hash)
        if first_id is None:
            self._recent[key_hash] = event_id
        return first_id

    def knows_key(self, key_hash: str) -> bool:
        """Whether any event has this key; its kind is loaded before."""
        return self._first_id(key_hash) is not None

    def contains(self, key_hash: str, event_id: str) -> bool:
        return self._first_id(key_hash) == event_id or event_id in self._conflicting.get(key_hash, ())

    def add(self, key_hash: str, event_id: str) -> None:
        first_id = self._first_id(key_hash)
        if first_id is None:
            self._batch[key_hash] = event_id
        elif first_id != event_id and event_id not in self._conflicting.get(key_hash, ()):
            self._conflicting.setdefault(key_hash, []).append(event_id)

    def _first_id(self, key_hash: str) -> str | None:
        return self._recent.get(key_hash) or self._batch.get(key_hash)

    def _load_kind(self, kind: str) -> list[KeyIndex]:
        """From the table where that is faster, and from the files that it does not have yet."""
        index, files = None, None
        if has_more_files(self._store, kind, FILES_READ_MAX):
            index, files = self._from_table(kind)
        paths = landed_files_of(self._store, kind) if files is None else files
        indexes = [] if index is None else [index]
        return [*indexes, self._from_files(paths)] if paths else indexes

    def _from_files(self, paths: list[str]) -> KeyIndex:
        """Raises CorruptFileError."""
        rows = pa.concat_tables([read_envelopes(self._store, path, COLUMNS) for path in paths])
        try:
            return KeyIndex.of_table(rows)
        except ValueError as error:
            raise CorruptFileError(
                "landed files contain malformed hashes",
                got=str(error),
                expected="key hashes and event ids",
                cure="`tracelake verify --deep` names the damaged files.",
            ) from error

    def _from_table(self, kind: str) -> tuple[KeyIndex | None, list[str] | None]:
        """The table's keys and the files that it does not have; both null if it cannot be read."""
        from tracelake.lake.tables.commits import CURSOR, open_table, schema_note
        from tracelake.lake.tables.cursors import read_cursor

        try:
            dataset = open_table(self._store.location(table_path(kind)))
            if dataset is None:
                return None, None
            cursor = read_cursor(self._store, kind, schema_note(dataset, CURSOR) or {})
            index = KeyIndex.of_table(dataset.to_table(columns=COLUMNS))
            return index, landed_past(self._store, kind, cursor)
        except (TracelakeError, OSError, ValueError) as error:
            _log.warning("cannot read keys from table %s, reading landed files instead: %s", kind, error)
            return None, None
