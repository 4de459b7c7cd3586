"""Landed files to Lance tables, exactly once, by any number of uncoordinated projectors.

Flow: list landed files past the cursor → read, drop what the table holds → commit rows and new cursor as
one compare-and-swap.

**The cursor is a vector**: writer epoch to the last sequence number projected. A lost race re-reads it and
starts over.
**The table is where racing writers meet**: an event that two of them landed enters once, and two payloads
that they landed under one key become `ConflictFound`.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from lance import LanceDataset

from lake.landing import read_landed
from lake.layout import kind_prefix, parse_landed_path, table_path
from lake.store import ObjectStore
from lake.tables import CURSOR, append_with_cursor, create_table, open_table, schema_note
from lake.writer import conflict_between
from schemas.columns import COMPRESSED, arrow_schema
from schemas.errors import CommitContendedError
from schemas.events import CLASS_OF_KIND, class_of_kind
from schemas.lake_events import ConflictFound

RACES_MAX = 100
PRIMARY_KEY = {b"lance-schema:unenforced-primary-key": b"true"}


def project_kind(store: ObjectStore, kind: str) -> tuple[int, list[ConflictFound]]:
    """Bring one table up to date; returns rows added, and conflicts between writers that did not see each
    other."""
    location = store.location(table_path(kind))
    for _ in range(RACES_MAX):
        files = store.list(kind_prefix(kind), ".parquet")
        dataset = open_table(location)
        if dataset is None:
            if not files:
                return 0, []
            dataset = create_table(location, table_schema(kind))
        cursor = dict(schema_note(dataset, CURSOR) or {})
        ahead = _files_past(files, cursor)
        if not ahead:
            return 0, []
        rows, reached = _read(store, kind, ahead, cursor)
        fresh, conflicts = _unknown_rows(dataset, kind, rows)
        if append_with_cursor(dataset, fresh, cursor | reached) is not None:
            return fresh.num_rows, conflicts
    raise CommitContendedError(
        f"projection of {kind} lost {RACES_MAX} races", cure="Stop some of the projectors, then run it again."
    )


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
    store: ObjectStore, kind: str, paths: list[str], cursor: dict[str, int]
) -> tuple[pa.Table, dict[str, int]]:
    tables: list[pa.Table] = []
    reached: dict[str, int] = {}
    for path in paths:
        table = read_landed(store, path)
        epoch = parse_landed_path(path).writer_epoch
        last = pc.max(table["writer_seq"]).as_py()
        reached[epoch] = max(last, reached.get(epoch, cursor.get(epoch, -1)))
        tables.append(table)
    return pa.concat_tables(tables).cast(arrow_schema(kind)), reached


def _unknown_rows(dataset: LanceDataset, kind: str, rows: pa.Table) -> tuple[pa.Table, list[ConflictFound]]:
    """Rows whose event the table does not hold, and the conflicts among keys that it does hold."""
    held = dataset.to_table(columns=["event_id", "key_hash"]).to_pydict()
    events = set(held["event_id"])
    first_of_key: dict[str, str] = {}
    for key_hash, event_id in zip(held["key_hash"], held["event_id"], strict=True):
        first_of_key.setdefault(key_hash, event_id)
    keep: list[int] = []
    conflicts: list[ConflictFound] = []
    ids, keys = rows["event_id"].to_pylist(), rows["key_hash"].to_pylist()
    for index, (event_id, key_hash) in enumerate(zip(ids, keys, strict=True)):
        if event_id in events:
            continue
        events.add(event_id)
        keep.append(index)
        first = first_of_key.setdefault(key_hash, event_id)
        if first != event_id:
            fields = (
                {"rollout_id": rows["rollout_id"][index].as_py()} if "rollout_id" in rows.column_names else {}
            )
            conflicts.append(conflict_between(class_of_kind(kind).KIND, key_hash, first, event_id, fields))
    return rows.take(pa.array(keep, pa.int64())), conflicts
