"""Landed Parquet files, read back.

**Reading upcasts** rows of older schema versions, and rejects files whose bytes do not match the hash in
their name.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tracelake.lake.landed.verify import read_verified
from tracelake.lake.layout import parse_landed_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.errors import CorruptFileError
from tracelake.schemas.events.columns import ENVELOPE_COLUMNS, arrow_schema
from tracelake.schemas.events.upcast import upcast


def read_envelopes(store: ObjectStore, path: str, columns: list[str]) -> pa.Table:
    """Envelope columns of one landed file; page checksums are verified, the file's hash is not. A column that
    a later version added is null. Raises CorruptFileError."""
    source = store.location(path) if store.spool_folder is not None else pa.BufferReader(store.read(path))
    rows = _parquet_rows(path, source, columns)
    fields = [arrow_schema(parse_landed_path(path).kind).field(name) for name in columns]
    required = [field.name for field in fields if not field.nullable]
    if missing := [name for name in required if name not in rows.column_names]:
        # The footer, which names the columns, has no checksum.
        raise CorruptFileError(f"{path} is not a landed file", got=f"no column {', '.join(missing)}")
    return pa.Table.from_arrays(
        [
            rows[field.name] if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)
            for field in fields
        ],
        schema=pa.schema(fields),
    )


def read_landed(store: ObjectStore, path: str, columns: list[str] | None = None) -> pa.Table:
    """Rows of one landed file, upcast. `columns` selects envelope columns, which need no upcast.

    Raises CorruptFileError if the bytes do not match the name's hash, or are not a landed file.
    """
    name = parse_landed_path(path)
    data = read_verified(store, path)
    wanted = None if columns is None else [name for name in columns if name in ENVELOPE_COLUMNS]
    table = _parquet_rows(path, pa.BufferReader(data), wanted)
    if columns is not None:
        return table
    metadata = table.schema.metadata or {}
    return upcast(table, name.kind, int(metadata.get(b"tracelake.schema_version", b"1")))


def _parquet_rows(path: str, source: Any, columns: list[str] | None) -> pa.Table:
    """Those of the columns that the file has; page checksums are verified."""
    try:
        parquet = pq.ParquetFile(source, page_checksum_verification=True)
        known = parquet.schema_arrow.names
        return parquet.read(None if columns is None else [name for name in columns if name in known])
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            # An error of the disk, not of the file.
            raise
        raise CorruptFileError(
            f"{path} is not a landed file",
            got=str(error),
            expected="a Parquet file with the hash in its name",
        ) from error
