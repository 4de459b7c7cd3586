"""Deduplication in a projector: which events a table contains already, without reading it for each commit.

Flow: rows to project → fingerprints say which may be in the table → only these are looked up in the table.

**A fingerprint may match by chance, but never misses**: every match is checked in the table itself.
**A projector that stays open pays only for new rows**: fingerprints follow the table's data files. A new
process reads two columns once.
**Fingerprints belong to the process, not to a lake object**: `_by_uri` keeps those of the tables used last.

Two other indexes have other tasks: `KnownKeys` (lake/writing/known_keys.py) tells a writer which events have
landed, table or not, and `KeyIndex` (lake/writing/key_index.py) is its storage.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple, cast

import numpy as np
import polars as pl
import pyarrow as pa
from lance import LanceDataset, LanceFragment

from tracelake.lake.tables.commits import schema_note

# In a table's metadata: a new value after all rows were rewritten.
GENERATION = "tracelake.generation"
TABLES_CACHED_MAX = 64
# Beyond this many values a filter costs more than reading both columns.
FILTER_VALUES_MAX = 500

Fingerprints = np.ndarray
"""uint64, sorted."""


class KnownRows(NamedTuple):
    """The events of a table among those that were looked up."""

    event_ids: set[str]
    first_of_key: dict[str, str]
    """Key hash to the first event under it, in the order of the table."""


class _SortedRuns:
    """Fingerprints in sorted runs, each at least twice as long as the next: insertions are cheap."""

    def __init__(self) -> None:
        self._runs: list[Fingerprints] = []

    def add(self, fingerprints: Fingerprints) -> None:
        run = np.unique(fingerprints)
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.union1d(self._runs.pop(), run)
        if len(run):
            self._runs.append(run)

    def distinct_count(self) -> int:
        while len(self._runs) > 1:
            self._runs.append(np.union1d(self._runs.pop(), self._runs.pop()))
        return len(self._runs[0]) if self._runs else 0

    def may_contain(self, fingerprints: Fingerprints) -> np.ndarray:
        found = np.zeros(len(fingerprints), bool)
        for run in self._runs:
            at = np.minimum(np.searchsorted(run, fingerprints), len(run) - 1)
            found |= run[at] == fingerprints
        return found


class TableFingerprints:
    """Fingerprints of the event ids and key hashes of one table."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reset(None)

    def known_rows(self, dataset: LanceDataset, ids: pa.ChunkedArray, keys: pa.ChunkedArray) -> KnownRows:
        """Exact for the dataset's version."""
        with self._lock:
            self._update(dataset)
            maybe = self._events.may_contain(_hash(ids)) | self._keys.may_contain(_hash(keys))
        if not maybe.any():
            return KnownRows(set(), {})
        mask = pa.array(maybe)
        return _look_up(dataset, ids.filter(mask), keys.filter(mask))

    def add_committed(self, dataset: LanceDataset, rows: pa.Table) -> None:
        """Call after this process's own commit of these rows."""
        with self._lock:
            self._add(rows["event_id"], rows["key_hash"])
            self._files = set(_fragments_by_file(dataset))

    def replace_files(self, removed: set[str], added: set[str]) -> None:
        """Call after this process's own merge: the same rows in other files."""
        with self._lock:
            if removed <= self._files:
                self._files = (self._files - removed) | added

    def _update(self, dataset: LanceDataset) -> None:
        generation = schema_note(dataset, GENERATION)
        if generation != self._generation:
            self._reset(generation)
        fragments = _fragments_by_file(dataset)
        missing = self._files - fragments.keys()
        self._read(dataset, [fragments[name] for name in fragments.keys() - self._files])
        if missing and self._events.distinct_count() != dataset.count_rows():
            # Not a merge: rows are gone, and it is unknown which.
            self._reset(generation)
            self._read(dataset, list(fragments.values()))
        self._files = set(fragments)

    def _read(self, dataset: LanceDataset, fragments: list[LanceFragment]) -> None:
        if fragments:
            rows = dataset.scanner(columns=["event_id", "key_hash"], fragments=fragments).to_table()
            self._add(rows["event_id"], rows["key_hash"])

    def _add(self, ids: pa.ChunkedArray, keys: pa.ChunkedArray) -> None:
        self._events.add(_hash(ids))
        self._keys.add(_hash(keys))

    def _reset(self, generation: dict[str, str] | None) -> None:
        self._events, self._keys = _SortedRuns(), _SortedRuns()
        self._files: set[str] = set()
        self._generation = generation


_by_uri: OrderedDict[str, TableFingerprints] = OrderedDict()
_by_uri_lock = threading.Lock()


def fingerprints_of(dataset: LanceDataset) -> TableFingerprints:
    """This process's fingerprints of the table; those of the least recently used table are dropped first."""
    with _by_uri_lock:
        found = _by_uri.setdefault(dataset.uri, TableFingerprints())
        _by_uri.move_to_end(dataset.uri)
        while len(_by_uri) > TABLES_CACHED_MAX:
            _by_uri.popitem(last=False)
        return found


def quoted(texts: Iterable[str]) -> str:
    """Comma-separated string literals of an SQL filter."""
    return ", ".join("'" + text.replace("'", "''") + "'" for text in texts)


def _fragments_by_file(dataset: LanceDataset) -> dict[str, LanceFragment]:
    """By the name of the first data file: fragment numbers start again when a table is overwritten."""
    return {fragment.metadata.files[0].path: fragment for fragment in dataset.get_fragments()}


def _hash(texts: pa.ChunkedArray) -> Fingerprints:
    return cast("pl.Series", pl.from_arrow(texts)).hash().to_numpy()


def _look_up(dataset: LanceDataset, ids: pa.ChunkedArray, keys: pa.ChunkedArray) -> KnownRows:
    where = None
    if len(ids) <= FILTER_VALUES_MAX:
        where = f"event_id IN ({quoted(ids.to_pylist())}) OR key_hash IN ({quoted(keys.to_pylist())})"
    rows = dataset.to_table(columns=["event_id", "key_hash"], filter=where).to_pydict()
    found = KnownRows(set(rows["event_id"]), {})
    for key_hash, event_id in zip(rows["key_hash"], rows["event_id"], strict=True):
        found.first_of_key.setdefault(key_hash, event_id)
    return found
