"""Rows into Parquet files of bounded size, under one schema that is written down and never inferred.

**Nested values are columns of JSON text**: a struct inferred from one file's tool arguments would not be that
of the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_PER_GROUP = 512
SHARD_BYTES_MAX = 256 << 20


class ShardWriter:
    """Writes `part-00000.parquet` and so on into a folder; a folder without rows has one empty file."""

    def __init__(self, folder: Path, schema: pa.Schema, shard_bytes_max: int = SHARD_BYTES_MAX) -> None:
        folder.mkdir(parents=True)
        self.row_count = 0
        self._folder = folder
        self._schema = schema
        # Arrow cannot build values of its JSON type, but casts text to it.
        self._plain_schema = pa.schema([(field.name, plain_type(field.type)) for field in schema])
        self._shard_bytes_max = shard_bytes_max
        self._rows: list[Mapping[str, Any]] = []
        self._shard_count = 0
        self._shard: pq.ParquetWriter | None = None
        self._shard_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and (self._rows or not self._shard_count):
            self._write_group()
        if self._shard is not None:
            self._shard.close()

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self._rows.append(row)
            self.row_count += 1
            if len(self._rows) == ROWS_PER_GROUP:
                self._write_group()

    def _write_group(self) -> None:
        if self._shard is None or self._shard_bytes >= self._shard_bytes_max:
            self._open_shard()
        assert self._shard is not None
        group = pa.Table.from_pylist(list(self._rows), schema=self._plain_schema).cast(self._schema)
        self._shard.write_table(group)
        self._shard_bytes += group.nbytes
        self._rows = []

    def _open_shard(self) -> None:
        if self._shard is not None:
            self._shard.close()
        path = self._folder / f"part-{self._shard_count:05}.parquet"
        self._shard = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._shard_count += 1
        self._shard_bytes = 0


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type with text in place of JSON, in lists too."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    return pa.list_(plain_type(kind.value_type)) if pa.types.is_list(kind) else kind
