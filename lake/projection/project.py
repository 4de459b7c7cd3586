"""Landed files to Lance tables, exactly once, by any number of uncoordinated projectors.

Flow: list the landed files behind the cursor → read a batch, drop the rows that the table has → commit rows
and new cursor as one compare-and-swap → maintain the table if it is due.

**The cursor is a vector**: each writer's epoch to its last projected sequence number. After a lost race the
projector reads it again and starts over.
**Racing writers meet in the table**: an event that both landed enters once, and two payloads that they landed
under one key produce a `ConflictFound`.
**A commit costs what it adds**: it reads neither the table's rows nor its history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa
from lance import LanceDataset

from tracelake.lake.landed.listing import files_past, landed_past, parsed_name, without_gaps
from tracelake.lake.landed.reading import read_landed
from tracelake.lake.layout import table_path
from tracelake.lake.maintenance.maintain import maintain_if_due
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.commits import (
    CURSOR,
    add_missing_columns,
    append_with_cursor,
    create_table,
    lost_to_cleanup,
    open_table,
    schema_note,
)
from tracelake.lake.tables.cursors import Cursor, advance_note, read_cursor
from tracelake.lake.tables.fingerprints import FILTER_VALUES_MAX, fingerprints_of, quoted
from tracelake.lake.writing.deduplicate import conflict_event
from tracelake.schemas.errors import CommitContendedError
from tracelake.schemas.events.columns import COMPRESSED, arrow_schema
from tracelake.schemas.events.lake_events import ConflictFound

RACES_MAX = 100
BATCH_BYTES = 256 * 2**20
PRIMARY_KEY = {b"lance-schema:unenforced-primary-key": b"true"}

LandConflicts = Callable[[list[ConflictFound]], object]
"""Lands conflicts; returns once they are durable."""


class KeyConflict(NamedTuple):
    """Two events under one key, in the order in which a projector met them."""

    key_hash: str
    first_id: str
    other_id: str


def project_kind(
    store: ObjectStore,
    kind: str,
    land_conflicts: LandConflicts,
    *,
    batch_bytes: int = BATCH_BYTES,
    listing: list[str] | None = None,
) -> int:
    """Add what has landed to one table, and return the number of new rows.

    A commit has about `batch_bytes` of Arrow data, and at least one file. `listing` contains the kind's files
    if the caller has listed them already.

    Conflicts between writers that did not see each other land before the rows are committed. After a crash in
    between, the next projector lands the same conflicts again: they have the same ids and count once.
    """
    if listing == []:
        return 0
    location = store.location(table_path(kind))
    dataset = _open(location, kind)
    pending: list[str] | None = None
    added = lost_races = 0
    while lost_races < RACES_MAX:
        note: Cursor = {} if dataset is None else schema_note(dataset, CURSOR) or {}
        cursor = read_cursor(store, kind, note)
        if pending is None:
            past = landed_past(store, kind, cursor) if listing is None else files_past(listing, cursor)
            pending = without_gaps(store, kind, past, cursor)
        else:
            pending = files_past(pending, cursor)
        if not pending:
            break
        if dataset is None:
            # Another projector may have created and filled it: read its cursor before anything is taken.
            dataset = create_table(location, table_schema(kind))
            continue
        rows, reached = _read_batch(store, kind, pending, batch_bytes)
        new_note, obsolete_file = advance_note(store, kind, note, reached)
        try:
            new_rows, conflicts = _new_rows(dataset, rows)
            if conflicts and kind != ConflictFound.KIND:
                land_conflicts(_conflict_events(dataset, kind, rows, conflicts))
            committed = append_with_cursor(dataset, new_rows, new_note)
        except (OSError, ValueError) as error:
            if not lost_to_cleanup(dataset, error):
                raise
            committed = None
        if committed is None:
            lost_races += 1
            dataset = _open(location, kind)
            continue
        fingerprints_of(committed).add_committed(committed, new_rows)
        if obsolete_file is not None:
            store.delete(obsolete_file)
        dataset = committed
        added += new_rows.num_rows
    else:
        raise CommitContendedError(
            f"projection of {kind} lost {RACES_MAX} races",
            cure="Stop some of the projectors, then run it again.",
        )
    if added and dataset is not None:
        maintain_if_due(dataset)
    return added


def table_schema(kind: str) -> pa.Schema:
    """The kind's Arrow schema, with its primary key and compression declared to Lance."""
    schema = arrow_schema(kind)
    index = schema.get_field_index("event_id")
    field = schema.field(index)
    return schema.set(index, field.with_metadata({**(field.metadata or {}), **PRIMARY_KEY, **COMPRESSED}))


def _open(location: str, kind: str) -> LanceDataset | None:
    """The kind's table with all columns of the current schema; None if there is no table."""
    dataset = open_table(location)
    return None if dataset is None else add_missing_columns(dataset, table_schema(kind))


def _read_batch(
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


def _new_rows(dataset: LanceDataset, rows: pa.Table) -> tuple[pa.Table, list[KeyConflict]]:
    """Rows whose event is not in the table, and their conflicts with keys in the table or among
    themselves."""
    known = fingerprints_of(dataset).known_rows(dataset, rows["event_id"], rows["key_hash"])
    event_ids, first_of_key = known
    new: list[int] = []
    conflicts: list[KeyConflict] = []
    ids, keys = rows["event_id"].to_pylist(), rows["key_hash"].to_pylist()
    for index, (event_id, key_hash) in enumerate(zip(ids, keys, strict=True)):
        if event_id in event_ids:
            continue
        event_ids.add(event_id)
        new.append(index)
        first_id = first_of_key.setdefault(key_hash, event_id)
        if first_id != event_id:
            conflicts.append(KeyConflict(key_hash, first_id, event_id))
    return rows.take(pa.array(new, pa.int64())), conflicts


def _conflict_events(
    dataset: LanceDataset, kind: str, rows: pa.Table, conflicts: list[KeyConflict]
) -> list[ConflictFound]:
    """The two events of each conflict are named in the order in which the lake accepted them, so that all
    projectors produce the same event."""
    columns = ["event_id", "recorded_at", "writer_epoch", "writer_seq"]
    if "rollout_id" in rows.column_names:
        columns.append("rollout_id")
    wanted = {event_id for conflict in conflicts for event_id in (conflict.first_id, conflict.other_id)}
    where = f"event_id IN ({quoted(wanted)})" if len(wanted) <= FILTER_VALUES_MAX else None
    row_of: dict[str, dict[str, Any]] = {}
    for table in (dataset.to_table(columns=columns, filter=where), rows.select(columns)):
        mask = pa.array([event_id in wanted for event_id in table["event_id"].to_pylist()], pa.bool_())
        for row in table.filter(mask).to_pylist():
            row_of.setdefault(row["event_id"], row)
    events: list[ConflictFound] = []
    for key_hash, *pair in conflicts:
        first, other = sorted(
            (row_of[event_id] for event_id in pair),
            key=lambda row: (row["recorded_at"], row["writer_epoch"], row["writer_seq"]),
        )
        events.append(conflict_event(kind, key_hash, first["event_id"], other["event_id"], other))
    return events
