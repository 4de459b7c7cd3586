"""A closed segment becomes landed files, one per kind.

**A function of the segment's bytes and the kinds' Arrow schemas**: the writer, its sealing process and a
recovery after a kill make the same files under the same names.
**Numbers are given kind by kind**: those of one landed file are contiguous.
**No event class is needed**, and neither pydantic nor NumPy: a process that only seals starts in a third of
the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from tracelake.lake.landed.writing import land, landed_file
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.writing.columns import Packed, landed_table, packed_lists
from tracelake.lake.writing.spool.segment import SegmentHead, SpooledEvent, read_segment
from tracelake.lake.writing.spool.spool import retire_segment, segment_number
from tracelake.schemas.errors import CorruptFileError
from tracelake.schemas.events.identity import EventIdentity

SchemaOf = Callable[[str], pa.Schema]
"""The Arrow schema of a kind, envelope included."""
_TYPECODES = {pa.list_(pa.int32()): "i", pa.list_(pa.float32()): "f", pa.list_(pa.bool_()): "b"}


def seal_segment(store: ObjectStore, path: Path, byte_count: int, schema_of: SchemaOf) -> None:
    """Land a segment that its living writer has closed after so many bytes, and retire it. Raises
    CorruptFileError for one that is not whole: its writer wrote all of it."""
    with path.open("rb", buffering=0) as file:
        data = file.read(byte_count)
    read = read_segment(data, segment_number(path))
    if read.head is None or read.damaged_count or read.whole_byte_count != byte_count:
        raise CorruptFileError(
            "a spool segment was damaged before it landed",
            got=f"{len(read.events)} whole events in {len(data)} bytes of {path.name}",
            expected="what was written",
            cure="Open the lake again: what is whole is recovered, what is damaged is put aside and told.",
        )
    for table in spooled_events_to_tables(read.head, read.events, schema_of):
        land(store, landed_file(table))
    with suppress(FileNotFoundError):
        # A recovery after the writer's death may have been quicker.
        retire_segment(path)


def spooled_events_to_tables(head: SegmentHead, events: Iterable[SpooledEvent], schema_of: SchemaOf) -> list[pa.Table]:
    """One table per kind, in the order of their sequence numbers."""
    of_kind: dict[str, list[SpooledEvent]] = {}
    for event in events:
        of_kind.setdefault(event.kind, []).append(event)
    tables: list[pa.Table] = []
    seq = head.first_seq
    for kind, spooled in of_kind.items():
        tables.append(_table(head, schema_of(kind), spooled, seq))
        seq += len(spooled)
    return tables


def _table(head: SegmentHead, schema: pa.Schema, events: Sequence[SpooledEvent], first_seq: int) -> pa.Table:
    envelope: dict[str, Any] = {
        "recorded_at": [event.recorded_at for event in events],
        "source_position": [event.source_position for event in events],
        "provenance": [event.provenance for event in events],
        "source_uri": [event.source_uri for event in events],
        "source_hash": [event.source_hash for event in events],
        "redactions_json": [event.redactions_json for event in events],
        "payload_byte_count": [len(event.text) + sum(map(len, event.vectors)) for event in events],
        "writer_seq": range(first_seq, first_seq + len(events)),
    }
    envelope |= zip(
        EventIdentity._fields, zip(*(event.identity for event in events), strict=True), strict=True
    )
    constants = {"run_id": head.run_id, "writer_epoch": head.epoch}
    rows = _payloads(schema, events)
    vectors = _vector_columns(schema, rows, events)
    names = [name for name in schema.names if name not in envelope and name not in vectors]
    values: dict[str, Any] = {name: [row.get(name) for row in rows] for name in names}
    return landed_table(schema, {**values, **vectors, **envelope}, constants, len(events))


def _payloads(schema: pa.Schema, events: Sequence[SpooledEvent]) -> list[dict[str, Any]]:
    """Fields as payloads' texts say them, digests in the place of vectors; nulls are absent."""
    rows: list[dict[str, Any]] = [orjson.loads(event.text) for event in events]
    for name, column_type in [(field.name, field.type) for field in schema]:
        # Canonical text says 5.0 as 5.
        told = float if pa.types.is_float64(column_type) else None
        if pa.types.is_timestamp(column_type):
            told = datetime.fromisoformat
        if told is not None:
            for row in rows:
                if name in row:
                    row[name] = told(row[name])
    return rows


def _vector_columns(
    schema: pa.Schema, rows: list[dict[str, Any]], events: Sequence[SpooledEvent]
) -> dict[str, pa.Array]:
    """Lists straight from their packed bytes: no value of them is touched."""
    declared = [(field.name, _TYPECODES[field.type]) for field in schema if field.type in _TYPECODES]
    packed: dict[str, list[Packed | None]] = {name: [] for name, _ in declared}
    for row, event in zip(rows, events, strict=True):
        left = iter(event.vectors)
        for name, _ in declared:
            packed[name].append(next(left) if name in row else None)
    return {name: packed_lists(typecode, packed[name]) for name, typecode in declared}
