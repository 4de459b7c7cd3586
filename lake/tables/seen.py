"""Which events a table holds, known without reading it for each commit.

**A fingerprint may say yes in error, never no**: whatever it says yes to is looked up in the table itself.
**A projector that stays open pays for what is new**: fingerprints follow the table's data files. A process
that begins reads two columns once.
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

# In a table's metadata: changes when its rows were written anew.
GENERATION = "tracelake.generation"
TABLES_REMEMBERED_MAX = 64
# Beyond this many values a filter costs more than the columns that it would filter.
FILTER_VALUES_MAX = 500

Fingerprints = np.ndarray
"""uint64, sorted."""


class Held(NamedTuple):
    """What a table holds of the events that were asked about."""

    event_ids: set[str]
    first_of_key: dict[str, str]
    """Key hash to the first event under it, in the order of the table."""


class _Runs:
    """Fingerprints in sorted runs, each at least twice as long as the next: an insertion is cheap."""

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

    def may_hold(self, fingerprints: Fingerprints) -> np.ndarray:
        found = np.zeros(len(fingerprints), bool)
        for run in self._runs:
            at = np.minimum(np.searchsorted(run, fingerprints), len(run) - 1)
            found |= run[at] == fingerprints
        return found


class SeenRows:
    """Fingerprints of the event ids and key hashes of one table."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forget(None)

    def held(self, dataset: LanceDataset, ids: pa.ChunkedArray, keys: pa.ChunkedArray) -> Held:
        """Exact for the dataset's version."""
        with self._lock:
            self._follow(dataset)
            maybe = self._events.may_hold(_fingerprints(ids)) | self._keys.may_hold(_fingerprints(keys))
        if not maybe.any():
            return Held(set(), {})
        mask = pa.array(maybe)
        return _looked_up(dataset, ids.filter(mask), keys.filter(mask))

    def added(self, dataset: LanceDataset, rows: pa.Table) -> None:
        """After a commit of our own that brought these rows and nothing else."""
        with self._lock:
            self._take(rows["event_id"], rows["key_hash"])
            self._files = set(_fragments(dataset))

    def compacted(self, removed: set[str], added: set[str]) -> None:
        """After a compaction of our own: the same rows in other files."""
        with self._lock:
            if removed <= self._files:
                self._files = (self._files - removed) | added

    def _follow(self, dataset: LanceDataset) -> None:
        generation = schema_note(dataset, GENERATION)
        if generation != self._generation:
            self._forget(generation)
        fragments = _fragments(dataset)
        missed = self._files - fragments.keys()
        self._read(dataset, [fragments[name] for name in fragments.keys() - self._files])
        if missed and self._events.distinct_count() != dataset.count_rows():
            # Not a compaction: rows have gone, and which is not known.
            self._forget(generation)
            self._read(dataset, list(fragments.values()))
        self._files = set(fragments)

    def _read(self, dataset: LanceDataset, fragments: list[LanceFragment]) -> None:
        if fragments:
            rows = dataset.scanner(columns=["event_id", "key_hash"], fragments=fragments).to_table()
            self._take(rows["event_id"], rows["key_hash"])

    def _take(self, ids: pa.ChunkedArray, keys: pa.ChunkedArray) -> None:
        self._events.add(_fingerprints(ids))
        self._keys.add(_fingerprints(keys))

    def _forget(self, generation: dict[str, str] | None) -> None:
        self._events, self._keys = _Runs(), _Runs()
        self._files: set[str] = set()
        self._generation = generation


_remembered: OrderedDict[str, SeenRows] = OrderedDict()
_remembered_lock = threading.Lock()


def seen_rows(dataset: LanceDataset) -> SeenRows:
    """This process' memory of the table; the table least in use is forgotten first."""
    with _remembered_lock:
        seen = _remembered.setdefault(dataset.uri, SeenRows())
        _remembered.move_to_end(dataset.uri)
        while len(_remembered) > TABLES_REMEMBERED_MAX:
            _remembered.popitem(last=False)
        return seen


def _fragments(dataset: LanceDataset) -> dict[str, LanceFragment]:
    """By the name of the first data file: fragment numbers begin anew when a table is overwritten."""
    return {fragment.metadata.files[0].path: fragment for fragment in dataset.get_fragments()}


def _fingerprints(texts: pa.ChunkedArray) -> Fingerprints:
    return cast("pl.Series", pl.from_arrow(texts)).hash().to_numpy()


def _looked_up(dataset: LanceDataset, ids: pa.ChunkedArray, keys: pa.ChunkedArray) -> Held:
    wanted = None
    if len(ids) <= FILTER_VALUES_MAX:
        wanted = f"event_id IN ({quoted(ids.to_pylist())}) OR key_hash IN ({quoted(keys.to_pylist())})"
    rows = dataset.to_table(columns=["event_id", "key_hash"], filter=wanted).to_pydict()
    held = Held(set(rows["event_id"]), {})
    for key_hash, event_id in zip(rows["key_hash"], rows["event_id"], strict=True):
        held.first_of_key.setdefault(key_hash, event_id)
    return held


def quoted(texts: Iterable[str]) -> str:
    """As values of an SQL filter."""
    return ", ".join("'" + text.replace("'", "''") + "'" for text in texts)
