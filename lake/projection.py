"""Landed files to Lance tables, exactly once, by any number of uncoordinated projectors.

Flow: list landed files past the cursor → read, drop what the table holds → commit rows and new cursor as
one compare-and-swap.

**The cursor is a vector**: writer epoch to the last sequence number projected. A lost race re-reads it and
starts over.
**The table is where racing writers meet**: an event that two of them landed enters once, and two payloads
that they landed under one key become `ConflictFound`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa
from lance import LanceDataset

from lake.landing import read_landed, without_holes
from lake.layout import kind_prefix, parse_landed_path, table_path
from lake.store import ObjectStore
from lake.tables import CURSOR, append_with_cursor, create_table, open_table, schema_note, widened
from lake.writer import conflict_between
from schemas.columns import COMPRESSED, arrow_schema
from schemas.errors import CommitContendedError
from schemas.events import CLASS_OF_KIND
from schemas.lake_events import ConflictFound

RACES_MAX = 100
BATCH_BYTES = 256 * 2**20
PRIMARY_KEY = {b"lance-schema:unenforced-primary-key": b"true"}

Tell = Callable[[list[ConflictFound]], object]
"""Lands conflicts; returns once they are durable."""


class Clash(NamedTuple):
    """Two events under one key, in the order in which a projector met them."""

    key_hash: str
    first: str
    other: str


def project_kind(store: ObjectStore, kind: str, tell: Tell, *, batch_bytes: int = BATCH_BYTES) -> int:
    """Bring one table up to date; returns the rows added.

    A commit holds about `batch_bytes` of Arrow data, and one file at least.

    Conflicts between writers that did not see each other are told before the rows are committed: cut off in
    between, the next projector tells the same again, and a fact told twice is one.
    """
    added = races = 0
    while races < RACES_MAX:
        shown = store.list(kind_prefix(kind), ".parquet")
        dataset = _table(store.location(table_path(kind)), kind) if shown else None
        cursor: dict[str, int] = {} if dataset is None else schema_note(dataset, CURSOR) or {}
        if dataset is None or not _files_past(shown, cursor):
            return added
        ahead = _files_past(without_holes(shown, store.list(kind_prefix(kind), ".parquet")), cursor)
        rows, reached = _read(store, kind, ahead, batch_bytes)
        fresh, clashes = _unknown_rows(dataset, rows)
        if clashes and kind != ConflictFound.KIND:
            tell(_conflicts(dataset, kind, rows, clashes))
        if append_with_cursor(dataset, fresh, cursor | reached) is None:
            races += 1
        else:
            added += fresh.num_rows
    raise CommitContendedError(
        f"projection of {kind} lost {RACES_MAX} races", cure="Stop some of the projectors, then run it again."
    )


def _table(location: str, kind: str) -> LanceDataset:
    """The kind's table in the current schema, made or widened if need be."""
    schema = table_schema(kind)
    dataset = open_table(location)
    return create_table(location, schema) if dataset is None else widened(dataset, schema)


def table_schema(kind: str) -> pa.Schema:
    """The kind's Arrow schema, with its primary key and compression declared to Lance."""
    schema = arrow_schema(kind)
    index = schema.get_field_index("event_id")
    field = schema.field(index)
    return schema.set(index, field.with_metadata({**(field.metadata or {}), **PRIMARY_KEY, **COMPRESSED}))


def projected_kinds(store: ObjectStore) -> list[str]:
    """Kinds that have landed files."""
    return [kind for kind in CLASS_OF_KIND if store.list(kind_prefix(kind), ".parquet")]


def _files_past(files: list[str], cursor: dict[str, int]) -> list[str]:
    names = [(path, parse_landed_path(path)) for path in files]
    return [path for path, name in names if name.first_seq > cursor.get(name.writer_epoch, -1)]


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
        epoch = parse_landed_path(path).writer_epoch
        reached[epoch] = max(reached.get(epoch, -1), max(table["writer_seq"].to_pylist()))
        tables.append(table)
    return pa.concat_tables(tables).cast(arrow_schema(kind)), reached


def _unknown_rows(dataset: LanceDataset, rows: pa.Table) -> tuple[pa.Table, list[Clash]]:
    """Rows whose event the table does not hold, and their clashes with keys that it, or they, hold."""
    held = dataset.to_table(columns=["event_id", "key_hash"]).to_pydict()
    events = set(held["event_id"])
    first_of_key: dict[str, str] = {}
    for key_hash, event_id in zip(held["key_hash"], held["event_id"], strict=True):
        first_of_key.setdefault(key_hash, event_id)
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
    row_of: dict[str, dict[str, Any]] = {}
    for table in (dataset.to_table(columns=columns), rows.select(columns)):
        mask = pa.array([event_id in wanted for event_id in table["event_id"].to_pylist()], pa.bool_())
        for row in table.filter(mask).to_pylist():
            row_of.setdefault(row["event_id"], row)
    found: list[ConflictFound] = []
    for key_hash, *pair in clashes:
        first, other = sorted(
            (row_of[event_id] for event_id in pair),
            key=lambda row: (row["recorded_at"], row["writer_epoch"], row["writer_seq"]),
        )
        found.append(conflict_between(kind, key_hash, first["event_id"], other["event_id"], other))
    return found
