"""Which facts a lake held before a writer's first event of a kind, and which that writer has met since.

Flow: a kind's first event → its table's keys, and those of files that no table holds yet → batch by batch,
`begin`, `meet` the batch's keys, `learn` each.

**The index is a cache of landed files**, read when a kind is first met; it is never the truth. A table is a
quicker way to the same: one that cannot be read costs time.
**A fact takes 64 bytes of memory**, but for the newest: a writer may live as long as a training.
**What is asked is exact**: prefixes of hashes only find the rows to compare.
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

# Fewer files are read sooner than Lance is loaded.
FILES_READ_MAX = 64
YOUNG_MAX = 2**16
# A larger one would hold an append up while it is sorted; more of them would have to be searched.
INDEXED_MAX = 2**20
COLUMNS = ["key_hash", "event_id"]
_log = logging.getLogger("tracelake")


class KnownKeys:
    """Key hash to event ids, the first one known apart from the others."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._held: dict[str, list[KeyIndex]] = {}
        """By kind: what the lake held."""
        self._older: list[KeyIndex] = []
        """What was learned here, but for the youngest."""
        self._young: dict[str, str] = {}
        self._met: dict[str, str] = {}
        """What the batch at hand meets of both."""
        self._others: dict[str, list[str]] = {}

    @property
    def told(self) -> dict[str, str]:
        """Key hash to event id of what came here first."""
        return {**dict(row for index in self._older for row in index.rows()), **self._young}

    def begin(self) -> None:
        """Another batch follows."""
        self._met.clear()
        if len(self._young) < YOUNG_MAX:
            return
        settled, self._young = KeyIndex.of(self._young), {}
        while self._older and len(self._older[-1]) <= len(settled) <= INDEXED_MAX // 2:
            settled = self._older.pop().with_rows_of(settled)
        self._older.append(settled)

    def meet(self, kind: str, key_hashes: Iterable[str]) -> None:
        """Be ready for these keys of a kind."""
        if kind not in self._held:
            self._held[kind] = self._opened(kind)
        indexes = [*self._held[kind], *self._older]
        if not indexes:
            return
        sought = [key_hash for key_hash in key_hashes if key_hash not in self._young]
        for index in indexes:
            for key_hash, event_id in index.rows_of(sought):
                self.add(key_hash, event_id)

    def learn(self, key_hash: str, event_id: str) -> str | None:
        """The event that came first under the key; null if it is this one, which is known from now on."""
        first = self._first(key_hash)
        if first is None:
            self._young[key_hash] = event_id
        return first

    def holds(self, key_hash: str, event_id: str) -> bool:
        return self._first(key_hash) == event_id or event_id in self._others.get(key_hash, ())

    def add(self, key_hash: str, event_id: str) -> None:
        first = self._first(key_hash)
        if first is None:
            self._met[key_hash] = event_id
        elif first != event_id and event_id not in self._others.get(key_hash, ()):
            self._others.setdefault(key_hash, []).append(event_id)

    def _first(self, key_hash: str) -> str | None:
        return self._young.get(key_hash) or self._met.get(key_hash)

    def _opened(self, kind: str) -> list[KeyIndex]:
        """The keys of the kind's table, if it is worth it, and those of all files beside it."""
        index, files = None, None
        if has_more_files(self._store, kind, FILES_READ_MAX):
            index, files = self._from_table(kind)
        paths = landed_files_of(self._store, kind) if files is None else files
        indexes = [] if index is None else [index]
        return [*indexes, self._of_files(paths)] if paths else indexes

    def _of_files(self, paths: list[str]) -> KeyIndex:
        """Raises CorruptFileError."""
        rows = pa.concat_tables([read_envelopes(self._store, path, COLUMNS) for path in paths])
        try:
            return KeyIndex.of_table(rows)
        except ValueError as error:
            raise CorruptFileError(
                "landed files hold what is no hash",
                got=str(error),
                expected="names of facts",
                cure="`tracelake verify --deep` names what is damaged.",
            ) from error

    def _from_table(self, kind: str) -> tuple[KeyIndex | None, list[str] | None]:
        """The table's keys, and the files that it does not hold; null if it cannot be asked."""
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
            _log.warning("the table %s cannot be asked for its keys, landed files are read: %s", kind, error)
            return None, None
