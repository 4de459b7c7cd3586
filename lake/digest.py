"""What makes two tables the same: a digest over values in key order, blind to storage.

**Order, chunks, file names and encodings do not count**; values, nulls, column names and types do.
**Event tables are digested by their event ids**, which are hashes of everything that they say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.canonical import sha256_hex


def event_ids_digest(event_ids: pa.ChunkedArray | pa.Array) -> str:
    """Of an event table: SHA-256 over its sorted event ids."""
    return sha256_hex("\n".join(sorted(event_ids.to_pylist())).encode())


def table_digest(table: pa.Table, key: Sequence[str]) -> str:
    """SHA-256 over schema and column contents, rows sorted by `key`, which must order them totally."""
    ordered = table.sort_by([(name, "ascending") for name in key])
    whole = hashlib.sha256(schema_digest(table.schema).encode())
    whole.update(str(table.num_rows).encode())
    for name in sorted(ordered.column_names):
        whole.update(name.encode() + b"\0")
        _update(whole, _combined(ordered.column(name)))
    return whole.hexdigest()


def schema_digest(schema: pa.Schema) -> str:
    """Over names and logical types; string widths are storage."""
    lines = sorted(f"{field.name}:{_logical(field.type)}" for field in schema)
    return sha256_hex("\n".join(lines).encode())


def _logical(kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{_logical(kind.value_type)}>"
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "string"
    return str(kind)


def _combined(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _update(whole: Any, array: pa.Array) -> None:
    """Validity, then values: text as lengths and bytes, lists as lengths and their flattened values."""
    whole.update(np.asarray(array.is_valid()).astype(np.uint8).tobytes())
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        text = pc.fill_null(array.cast(pa.large_string()), "")
        whole.update(np.asarray(pc.binary_length(text)).astype("<i8").tobytes())
        offsets = np.frombuffer(text.buffers()[1], dtype="<i8")[text.offset : text.offset + len(text) + 1]
        if len(text) and text.buffers()[2] is not None:
            whole.update(memoryview(text.buffers()[2])[offsets[0] : offsets[-1]])
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        whole.update(np.asarray(pc.fill_null(pc.list_value_length(array), 0)).astype("<i8").tobytes())
        _update(whole, array.flatten())
    else:
        whole.update(_little_endian(array))


def _little_endian(array: pa.Array) -> bytes:
    kind = array.type
    if pa.types.is_boolean(kind):
        return np.asarray(pc.fill_null(array, False)).astype(np.uint8).tobytes()
    if pa.types.is_timestamp(kind):
        return np.asarray(pc.fill_null(array.cast(pa.int64()), 0)).astype("<i8").tobytes()
    if pa.types.is_integer(kind):
        return np.asarray(pc.fill_null(array, 0)).astype("<i8").tobytes()
    if pa.types.is_floating(kind):
        return np.asarray(pc.fill_null(array, 0.0)).astype("<f8").tobytes()
    raise TypeError(f"no digest for a column of type {kind}")
