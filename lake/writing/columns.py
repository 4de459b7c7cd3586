"""Columns of a landed file, for rows of one kind: of new events or of a segment's frames.

**One code path for both**, so that a recovery lands the same bytes as the writer.
**Vectors are never touched value by value**: their packed bytes become the column's buffer.
**Only the kind's Arrow schema is needed**: the sealing process loads no event class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

Packed = bytes | memoryview
_PACKED = {"i": (pa.int32(), 4), "f": (pa.float32(), 4), "b": (pa.int8(), 1)}


def packed_lists(typecode: str, vectors: Sequence[Packed | None]) -> pa.Array:
    """A list column from the packed values of each row."""
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


def landed_table(
    schema: pa.Schema, values: dict[str, Any], constants: dict[str, Any], row_count: int
) -> pa.Table:
    """A table of the kind's schema. `values` has a sequence or an Arrow array per column, `constants` one
    value for all rows."""
    notes = schema.metadata
    constants = {
        **constants,
        "kind": notes[b"tracelake.kind"].decode(),
        "schema_version": int(notes[b"tracelake.schema_version"]),
    }
    columns: list[pa.Array] = []
    # Reading an attribute of an Arrow field is slow, so each is read once and not once per row.
    for name, column_type in [(field.name, field.type) for field in schema]:
        if name in constants:
            columns.append(pa.repeat(pa.scalar(constants[name], column_type), row_count))
        elif isinstance(values[name], pa.Array):
            columns.append(values[name])
        else:
            columns.append(pa.array(values[name], column_type))
    return pa.Table.from_arrays(columns, schema=schema)
