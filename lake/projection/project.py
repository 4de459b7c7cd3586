"""Landed files to Lance tables, exactly once, by any number of uncoordinated projectors.

Flow: list landed files past the cursor → read, drop what the table holds → commit rows and new cursor as
one compare-and-swap → keep the table in shape.

**The cursor is a vector**: writer epoch to the last sequence number projected. A lost race re-reads it and
starts over.
**The table is where racing writers meet**: an event that two of them landed enters once, and two payloads
that they landed under one key become `ConflictFound`.
**A commit costs what it brings**: neither the rows of the table nor its past commits are read for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa
from lance import LanceDataset

from tracelake.lake.landed.listing import without_gaps, files_past, parsed_name, landed_past
from tracelake.lake.landed.reading import read_landed
from tracelake.lake.layout import table_path
from tracelake.lake.maintenance.maintain import maintain_if_due
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.commits import (
    CURSOR,
    append_with_cursor,
    create_table,
    open_table,
    lost_to_cleanup,
    schema_note,
    add_missing_columns,
)
from tracelake.lake.tables.cursors import Cursor, CursorNote, advance_note, read_cursor
from tracelake.lake.tables.fingerprints import FILTER_VALUES_MAX, quoted, fingerprints_of
from tracelake.lake.writing.deduplicate import conflict_event
from tracelake.schemas.errors import CommitContendedError
from tracelake.schemas.events.columns import COMPRESSED, arrow_schema
from tracelake.schemas.events.lake_events import ConflictFound

RACES_MAX = 100
BATCH_BYTES = 256 * 2**20
PRIMARY_KEY = {b"lance-schema:unenforced-primary-key": b"true"}

LandConflicts = Callable[[list[ConflictFound]], object]
"""Lands conflicts; returns once they are durable."""


class Clash(NamedTuple):
    """Two events under one key, in the order in which a projector met them."""

    key_hash: str
    first: str
    other: str


def project_kind(
    store: ObjectStore,
    kind: str,
    tell: LandConflicts,
    *,
    batch_bytes: int = BATCH_BYTES,
    shown: list[str] | None = None,
) -> int:
    """Bring one table up to date with what had landed when it was called; returns the rows added.

    A commit holds about `batch_bytes` of Arrow data, and one file at least. `shown` is a listing of the
    kind's files, made before the call; null has what lies past the cursor listed.

    Conflicts between writers that did not see each other are told before the rows are committed: cut off in
    between, the next projector tells the same again, and a fact told twice is one.
    """
    location = store.location(table_path(kind))
    ahead: list[str] | None = None
    dataset: LanceDataset | None = None
    added = races = 0
    while shown != [] and races < RACES_MAX:
        dataset = _table(location, kind) if dataset is None else dataset
        note: Cursor = schema_note(dataset, CURSOR) or {}
        cursor = read_cursor(store, kind, note)
        ahead = _ahead(store, kind, shown, cursor) if ahead is None else files_past(ahead, cursor)
        if not ahead:
            break
        rows, reached = _read(store, kind, ahead, batch_bytes)
        dataset, brought = _taken_in(store, kind, dataset, rows, advance_note(store, kind, note, reached), tell)
        added += brought
        races += dataset is None
    _settle(kind, dataset if added else None, races)
    return added


def _ahead(store: ObjectStore, kind: str, shown: list[str] | None, cursor: Cursor) -> list[str]:
    past = landed_past(store, kind, cursor) if shown is None else files_past(shown, cursor)
    return without_gaps(store, kind, past, cursor)


def _taken_in(
    store: ObjectStore, kind: str, dataset: LanceDataset, rows: pa.Table, cursor: CursorNote, tell: LandConflicts
) -> tuple[LanceDataset | None, int]:
    """The table with what it lacked of the rows, and how many those were; null if another commit came
    first."""
    try:
        fresh, clashes = _unknown_rows(dataset, rows)
        if clashes and kind != ConflictFound.KIND:
            tell(_conflicts(dataset, kind, rows, clashes))
        committed = _commit(store, dataset, fresh, cursor)
    except (OSError, ValueError) as error:
        if not lost_to_cleanup(dataset, error):
            raise
        committed = None
    return committed, 0 if committed is None else fresh.num_rows


def _commit(store: ObjectStore, dataset: LanceDataset, fresh: pa.Table, cursor: CursorNote) -> LanceDataset | None:
    committed = append_with_cursor(dataset, fresh, cursor.note)
    if committed is not None:
        fingerprints_of(committed).added(committed, fresh)
        if cursor.lost_to_cleanup is not None:
            store.delete(cursor.lost_to_cleanup)
    return committed


def _settle(kind: str, grown: LanceDataset | None, races: int) -> None:
    """MaintenanceLimits of a table that has grown. Raises CommitContendedError."""
    if races == RACES_MAX:
        raise CommitContendedError(
            f"projection of {kind} lost {RACES_MAX} races",
            cure="Stop some of the projectors, then run it again.",
        )
    if grown is not None:
        maintain_if_due(grown)


def _table(location: str, kind: str) -> LanceDataset:
    """The kind's table in the current schema, made or add_missing_columns if need be."""
    schema = table_schema(kind)
    dataset = open_table(location)
    return create_table(location, schema) if dataset is None else add_missing_columns(dataset, schema)


def table_schema(kind: str) -> pa.Schema:
    """The kind's Arrow schema, with its primary key and compression declared to Lance."""
    schema = arrow_schema(kind)
    index = schema.get_field_index("event_id")
    field = schema.field(index)
    return schema.set(index, field.with_metadata({**(field.metadata or {}), **PRIMARY_KEY, **COMPRESSED}))


def _read(
    store: ObjectStore, kind: str, paths: list[str], batch_bytes: int
) -> tuple[pa.Table, dict[str, int]]:
    """Rows of the first files, and the last sequence number of each epoch among them."""
    tables: list[pa.Table] = []
    reached: dict[str, int] = {}
    size = 0
    for path in paths:
        if tables and size >= batch_bytes:
            break
        table = read_landed(store, path)
        size += table.nbytes
        epoch = parsed_name(path).writer_epoch
        reached[epoch] = max(reached.get(epoch, -1), max(table["writer_seq"].to_pylist()))
        tables.append(table)
    return pa.concat_tables(tables).cast(arrow_schema(kind)), reached


def _unknown_rows(dataset: LanceDataset, rows: pa.Table) -> tuple[pa.Table, list[Clash]]:
    """Rows whose event the table does not hold, and their clashes with keys that it, or they, hold."""
    events, first_of_key = fingerprints_of(dataset).held(dataset, rows["event_id"], rows["key_hash"])
    keep: list[int] = []
    clashes: list[Clash] = []
    ids, keys = rows["event_id"].to_pylist(), rows["key_hash"].to_pylist()
    for index, (event_id, key_hash) in enumerate(zip(ids, keys, strict=True)):
        if event_id in events:
            continue
        events.add(event_id)
        keep.append(index)
        first = first_of_key.setdefault(key_hash, event_id)
        if first != event_id:
            clashes.append(Clash(key_hash, first, event_id))
    return rows.take(pa.array(keep, pa.int64())), clashes


def _conflicts(dataset: LanceDataset, kind: str, rows: pa.Table, clashes: list[Clash]) -> list[ConflictFound]:
    """Clashes as events, in the order in which the lake accepted the two: every projector says the same."""
    columns = ["event_id", "recorded_at", "writer_epoch", "writer_seq"]
    if "rollout_id" in rows.column_names:
        columns.append("rollout_id")
    wanted = {event_id for clash in clashes for event_id in (clash.first, clash.other)}
    few = f"event_id IN ({quoted(wanted)})" if len(wanted) <= FILTER_VALUES_MAX else None
    row_of: dict[str, dict[str, Any]] = {}
    for table in (dataset.to_table(columns=columns, filter=few), rows.select(columns)):
        mask = pa.array([event_id in wanted for event_id in table["event_id"].to_pylist()], pa.bool_())
        for row in table.filter(mask).to_pylist():
            row_of.setdefault(row["event_id"], row)
    found: list[ConflictFound] = []
    for key_hash, *pair in clashes:
        first, other = sorted(
            (row_of[event_id] for event_id in pair),
            key=lambda row: (row["recorded_at"], row["writer_epoch"], row["writer_seq"]),
        )
        found.append(conflict_event(kind, key_hash, first["event_id"], other["event_id"], other))
    return found
