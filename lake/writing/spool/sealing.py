"""Land the events of a closed segment, in one file per kind.

**A function of the segment's bytes and the kinds' Arrow schemas**: the writer, its sealing process and a
recovery after a kill make the same files under the same names.
**Numbers are assigned kind by kind**, so that those of one landed file are contiguous.
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
"""From a kind to its Arrow schema, envelope included."""
_TYPECODES = {pa.list_(pa.int32()): "i", pa.list_(pa.float32()): "f", pa.list_(pa.bool_()): "b"}


def seal_segment(store: ObjectStore, path: Path, byte_count: int, schema_of: SchemaOf) -> None:
    """Land and retire a segment of a living writer, which closed it at `byte_count`.

    Raises CorruptFileError if it is not whole: its writer wrote all of it."""
    with path.open("rb", buffering=0) as file:
        data = file.read(byte_count)
    read = read_segment(data, segment_number(path))
    if read.head is None or read.damaged_count or read.whole_byte_count != byte_count:
        raise CorruptFileError(
            "a spool segment was damaged before it landed",
            got=f"{len(read.events)} whole events in {len(data)} bytes of {path.name}",
            expected="the bytes that its writer wrote",
            cure="Open the lake again: whole events are recovered, and the damaged file is set aside.",
        )
    for table in spooled_events_to_tables(read.head, read.events, schema_of):
        land(store, landed_file(table))
    with suppress(FileNotFoundError):
        # Gone if the writer died and a recovery was faster.
        retire_segment(path)


def spooled_events_to_tables(
    head: SegmentHead, events: Iterable[SpooledEvent], schema_of: SchemaOf
) -> list[pa.Table]:
    """One table per kind, in the order of their sequence numbers."""
    by_kind: dict[str, list[SpooledEvent]] = {}
    for event in events:
        by_kind.setdefault(event.kind, []).append(event)
    tables: list[pa.Table] = []
    seq = head.first_seq
    for kind, of_kind in by_kind.items():
        tables.append(_table(head, schema_of(kind), of_kind, seq))
        seq += len(of_kind)
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
    payloads = _payloads(schema, events)
    vectors = _vector_columns(schema, payloads, events)
    names = [name for name in schema.names if name not in envelope and name not in vectors]
    values: dict[str, Any] = {name: [payload.get(name) for payload in payloads] for name in names}
    return landed_table(schema, {**values, **vectors, **envelope}, constants, len(events))


def _payloads(schema: pa.Schema, events: Sequence[SpooledEvent]) -> list[dict[str, Any]]:
    """The fields of each payload's text, with digests in place of vectors; nulls are absent."""
    payloads: list[dict[str, Any]] = [orjson.loads(event.text) for event in events]
    for name, column_type in [(field.name, field.type) for field in schema]:
        # Canonical text writes 5.0 as 5.
        convert = float if pa.types.is_float64(column_type) else None
        if pa.types.is_timestamp(column_type):
            convert = datetime.fromisoformat
        if convert is not None:
            for payload in payloads:
                if name in payload:
                    payload[name] = convert(payload[name])
    return payloads


def _vector_columns(
    schema: pa.Schema, payloads: list[dict[str, Any]], events: Sequence[SpooledEvent]
) -> dict[str, pa.Array]:
    """List columns straight from packed bytes, without touching a value."""
    declared = [(field.name, _TYPECODES[field.type]) for field in schema if field.type in _TYPECODES]
    packed: dict[str, list[Packed | None]] = {name: [] for name, _ in declared}
    for payload, event in zip(payloads, events, strict=True):
        # Packed vectors of null fields were left out.
        remaining = iter(event.vectors)
        for name, _ in declared:
            packed[name].append(next(remaining) if name in payload else None)
    return {name: packed_lists(typecode, packed[name]) for name, typecode in declared}
