"""Events of one kind as rows of a landed file: from accepted events, or from the packed parts of a segment.

**Both ways make the same columns**, so that a recovery lands what the writer would have.
**A vector is never touched value by value**: its packed bytes are the column.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

import pyarrow as pa

from schemas.columns import arrow_schema
from schemas.event import Event, EventIdentity, vector_fields
from schemas.events import class_of_kind
from schemas.vector import packed

_PACKED = {"i": (pa.int32(), 4), "f": (pa.float32(), 4), "b": (pa.int8(), 1)}
ROWS_AT_ONCE = 80
"""Transposed at a time: their values stay near the processor."""


class Stamped(NamedTuple):
    """An accepted event with what the writer adds; its payload's text is let go."""

    event: Event
    identity: EventIdentity
    provenance: str
    source_uri: str | None
    source_hash: str | None
    redactions_json: str | None = None
    payload_byte_count: int | None = None


def stamped_table(
    kind: str, stamped: Sequence[Stamped], first_seq: int, *, run_id: str, epoch: str, recorded_at: datetime
) -> pa.Table:
    """Rows of one kind in the order of their sequence numbers, which begin with the first."""
    names = [name for name in class_of_kind(kind).model_fields if name != "kind"]
    values: dict[str, Any] = {name: [] for name in (*names, *EventIdentity._fields, *Stamped._fields[2:])}
    fields_of = itemgetter(*names)
    for start in range(0, len(stamped), ROWS_AT_ONCE):
        # A pass per column would fetch each row from memory again, a pass over all rows each value.
        events, identities, *envelope = zip(*stamped[start : start + ROWS_AT_ONCE], strict=True)
        rows = zip(*map(fields_of, [event.__dict__ for event in events]), strict=True)
        parts = (*rows, *zip(*identities, strict=True), *envelope)
        for column, part in zip(values.values(), parts, strict=True):
            column.extend(part)
    for name, typecode in vector_fields(class_of_kind(kind)):
        values[name] = packed_lists(
            typecode, [None if vector is None else packed(typecode, vector) for vector in values[name]]
        )
    values["writer_seq"] = range(first_seq, first_seq + len(stamped))
    constants = {"run_id": run_id, "writer_epoch": epoch, "recorded_at": recorded_at}
    return landed_table(kind, values, constants, len(stamped))


def packed_lists(typecode: str, vectors: Sequence[bytes | None]) -> pa.Array:
    """Lists from the packed values of each row."""
    value_type, size = _PACKED[typecode]
    if vectors.count(None) == len(vectors):
        return pa.nulls(len(vectors), pa.list_(pa.bool_() if typecode == "b" else value_type))
    offsets = [0]
    for vector in vectors:
        offsets.append(offsets[-1] + (len(vector) // size if vector else 0))
    data = pa.py_buffer(b"".join(filter(None, vectors)))
    values = pa.Array.from_buffers(value_type, offsets[-1], [None, data])
    if typecode == "b":
        values = values.cast(pa.bool_())
    nulls = None if None not in vectors else pa.array([vector is None for vector in vectors], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=nulls)


def landed_table(kind: str, values: dict[str, Any], constants: dict[str, Any], row_count: int) -> pa.Table:
    """Columns of the kind's schema from a sequence or an Arrow array for each, or one value for all rows."""
    schema = arrow_schema(kind)
    constants = {**constants, "kind": kind, "schema_version": class_of_kind(kind).SCHEMA_VERSION}
    columns: list[pa.Array] = []
    # An attribute of an Arrow field costs more than a look-up in a row: it is asked for once.
    for name, column_type in [(field.name, field.type) for field in schema]:
        if name in constants:
            columns.append(pa.repeat(pa.scalar(constants[name], column_type), row_count))
        elif isinstance(values[name], pa.Array):
            columns.append(values[name])
        else:
            columns.append(pa.array(values[name], column_type))
    return pa.Table.from_arrays(columns, schema=schema)
