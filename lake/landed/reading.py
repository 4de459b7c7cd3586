"""Landed Parquet files, read back.

**Reading upcasts** older schema versions and refuses bytes that differ from the hash in the file's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tracelake.lake.landed.writing import checked
from tracelake.lake.layout import parse_landed_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.errors import CorruptFileError
from tracelake.schemas.events.columns import ENVELOPE_COLUMNS, arrow_schema
from tracelake.schemas.events.upcast import upcast


def without_holes(shown: Sequence[str], again: Sequence[str]) -> list[str]:
    """Of two listings of landed files, one after the other: files before which none of their epoch misses.

    A listing that runs while files land may show a later one and miss an earlier one. The second listing
    shows whatever had landed before anything that the first one shows.
    """
    newest: dict[str, int] = {}
    for name in map(parse_landed_path, shown):
        newest[name.writer_epoch] = max(name.first_seq, newest.get(name.writer_epoch, -1))
    names = [(path, parse_landed_path(path)) for path in again]
    return [path for path, name in names if name.first_seq <= newest.get(name.writer_epoch, -1)]


def read_envelopes(store: ObjectStore, path: str, columns: list[str]) -> pa.Table:
    """Envelope columns of one landed file, pages checked but not the whole file; null where it lacks one that
    came with a later version. Raises CorruptFileError."""
    source = store.location(path) if store.spool_folder is not None else pa.BufferReader(store.read(path))
    rows = _parquet_rows(path, source, columns)
    fields = [arrow_schema(parse_landed_path(path).kind).field(name) for name in columns]
    if lost := [field.name for field in fields if not field.nullable and field.name not in rows.column_names]:
        # No page of the footer that names the columns has a checksum.
        raise CorruptFileError(f"{path} is no landed file", got=f"no column {', '.join(lost)}")
    return pa.Table.from_arrays(
        [
            rows[field.name] if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)
            for field in fields
        ],
        schema=pa.schema(fields),
    )


def read_landed(store: ObjectStore, path: str, columns: list[str] | None = None) -> pa.Table:
    """Rows of one landed file, upcast; `columns` are envelope columns only and are not upcast.

    Raises CorruptFileError if the bytes are not those that the name says, or are no landed file.
    """
    name = parse_landed_path(path)
    data = checked(store, path)
    wanted = None if columns is None else [name for name in columns if name in ENVELOPE_COLUMNS]
    table = _parquet_rows(path, pa.BufferReader(data), wanted)
    if columns is not None:
        return table
    metadata = table.schema.metadata or {}
    return upcast(table, name.kind, int(metadata.get(b"tracelake.schema_version", b"1")))


def _parquet_rows(path: str, source: Any, columns: list[str] | None) -> pa.Table:
    """Columns as far as the file has them; each page is checked."""
    try:
        parquet = pq.ParquetFile(source, page_checksum_verification=True)
        known = parquet.schema_arrow.names
        return parquet.read(None if columns is None else [name for name in columns if name in known])
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            # The disk's word, and none about the file.
            raise
        raise CorruptFileError(
            f"{path} is no landed file", got=str(error), expected="the Parquet file that its name promises"
        ) from error
