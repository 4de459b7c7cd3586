"""Digests of tables: a hash over values in key order, independent of storage.

**Row order, chunks, file names and encodings do not matter**; values, nulls, column names and types do.
**The digest of an event table covers its event ids**, which are hashes of all payload fields.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tracelake.schemas.canonical import hash_of, sha256_hex
from tracelake.schemas.errors import BadInputError

_POSITION = "\0position"


def event_ids_digest(event_ids: pa.ChunkedArray | pa.Array) -> str:
    """SHA-256 over the sorted event ids of an event table."""
    return sha256_hex("\n".join(sorted(event_ids.to_pylist())).encode())


def table_digest(table: pa.Table, key: Sequence[str]) -> str:
    """SHA-256 over schema and column contents, rows sorted by `key`, which must order them totally.

    Raises BadInputError for a column of a type that has no digest.
    """
    return columns_digest(table.schema, table.select(list(key)), table.column)


def columns_digest(schema: pa.Schema, keys: pa.Table, load: Callable[[str], pa.ChunkedArray]) -> str:
    """`table_digest` of a table on disk: `load` reads one column in the row order of `keys`."""
    whole = hashlib.sha256(schema_digest(schema).encode())
    whole.update(str(keys.num_rows).encode())
    order = _order(keys)
    for name in sorted(schema.names):
        # One column at a time: sorting the whole table would need twice its memory.
        _update(whole, _combined(_sortable(load(name)).take(order)), name)
    return whole.hexdigest()


def schema_digest(schema: pa.Schema) -> str:
    """SHA-256 over column names and logical types; string widths count as storage."""
    return hash_of(sorted([field.name, _logical(field.type)] for field in schema))


def _order(keys: pa.Table) -> pa.ChunkedArray:
    positions = pa.array(np.arange(keys.num_rows))
    columns = {name: _sortable(keys.column(name)) for name in keys.column_names}
    ordered = pa.table(columns | {_POSITION: positions}).sort_by([(name, "ascending") for name in columns])
    return ordered.column(_POSITION)


def _sortable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Arrow can neither sort nor take string views."""
    return column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column


def _logical(kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{_logical(kind.value_type)}>"
    return "string" if _is_text(kind) else str(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _combined(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _update(whole: Any, array: pa.Array, name: str) -> None:
    """Validity, then values: text as lengths and bytes, lists as lengths and their flattened values."""
    whole.update(np.asarray(array.is_valid()).astype(np.uint8).tobytes())
    kind = array.type
    if _is_text(kind):
        text = pc.fill_null(array.cast(pa.large_string()), "")
        _, offset_buffer, letters = text.buffers()
        offsets = np.frombuffer(offset_buffer, "<i8")[text.offset : text.offset + len(text) + 1]
        whole.update(np.diff(offsets).tobytes())
        if len(text) and letters is not None:
            whole.update(memoryview(letters)[offsets[0] : offsets[-1]])
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        whole.update(np.asarray(pc.fill_null(array.value_lengths(), 0)).astype("<i8").tobytes())
        _update(whole, array.flatten(), name)
    else:
        whole.update(_little_endian(array, name))


def _little_endian(array: pa.Array, name: str) -> bytes:
    kind = array.type
    if pa.types.is_boolean(kind):
        return np.asarray(pc.fill_null(array, False)).astype(np.uint8).tobytes()
    if pa.types.is_timestamp(kind):
        return np.asarray(pc.fill_null(array.cast(pa.int64()), 0)).astype("<i8").tobytes()
    if pa.types.is_integer(kind):
        return np.asarray(pc.fill_null(array, 0)).astype("<i8").tobytes()
    if pa.types.is_floating(kind):
        numbers = np.asarray(pc.fill_null(array, 0.0)).astype("<f8")
        # The bit pattern of a NaN depends on the machine.
        return np.where(np.isnan(numbers), np.nan, numbers).tobytes()
    raise BadInputError(
        f"column {name} cannot be digested",
        got=str(kind),
        expected="text, integers, floats, booleans, timestamps, and lists of them",
        cure="Cast it, or store it as canonical JSON text.",
    )
