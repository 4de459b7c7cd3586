"""Events to landed Parquet files.

Flow: rows of one kind (`lake/writing/columns.py`) → Parquet bytes → create-only file named by their hash.

**A landed file is a fact**: never rewritten, self-describing (kind, schema version and sequence range in its
footer), zstd-compressed, with a checksum on every page.
**No event class is imported**: the sealing process of a writer loads none.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tracelake.lake.landed.verify import read_verified
from tracelake.lake.layout import LandedName, landed_path
from tracelake.lake.stores.store import ObjectStore

ZSTD_LEVEL = 1
# Columns with few distinct values; for others a dictionary only costs time.
DICTIONARY_COLUMNS = frozenset(
    {
        "kind",
        "run_id",
        "writer_epoch",
        "provenance",
        "source_uri",
        "source_hash",
        "rollout_id",
        "tool_name",
        "name",
        "model_requested",
        "model_served",
        "finish_reason",
        "system_fingerprint",
        "teacher",
        "origin",
        "grader",
        "arm",
    }
)
STATISTICS_COLUMNS = frozenset({"rollout_id", "writer_seq", "occurred_at"})


class LandedFile(NamedTuple):
    """A file to land: its path and contents."""

    path: str
    data: memoryview
    """A view of Arrow's buffer: copying it would copy everything that lands."""


def landed_file(table: pa.Table) -> LandedFile:
    """Rows of one kind as Parquet bytes, named by their hash."""
    kind = table.column("kind")[0].as_py()
    epoch = table.column("writer_epoch")[0].as_py()
    first_seq = table.column("writer_seq")[0].as_py()
    data = parquet_bytes(table)
    return LandedFile(landed_path(LandedName(kind, epoch, first_seq, hashlib.sha256(data).hexdigest())), data)


def land(store: ObjectStore, file: LandedFile) -> None:
    """Returns once the file is durable. An existing file with this name and the right contents is the success
    of an earlier attempt. Raises CorruptFileError if its contents are wrong."""
    if not store.put_new(file.path, file.data):
        read_verified(store, file.path)


def parquet_bytes(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    sequence = table.column("writer_seq")
    footer = {
        "tracelake.first_seq": str(sequence[0]),
        "tracelake.last_seq": str(sequence[table.num_rows - 1]),
    }
    metadata = {
        **(table.schema.metadata or {}),
        **{key.encode(): value.encode() for key, value in footer.items()},
    }
    names: list[str] = table.column_names
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": ZSTD_LEVEL,
        "use_dictionary": [name for name in names if name in DICTIONARY_COLUMNS],
        "write_statistics": [name for name in names if name in STATISTICS_COLUMNS],
        # The high bytes of successive token ids are similar: split by byte, they compress faster and smaller.
        "use_byte_stream_split": [
            f"{field.name}.list.element" for field in table.schema if _is_list_of_32_bits(field.type)
        ],
        "write_page_checksum": True,
        # For long vectors: the default of 1,024 repeats the writer's overhead for every thousand values.
        "write_batch_size": 2**16,
    }
    pq.write_table(table.replace_schema_metadata(metadata), sink, **options)
    return memoryview(sink.getvalue()).cast("B")


def _is_list_of_32_bits(column_type: pa.DataType) -> bool:
    return pa.types.is_list(column_type) and column_type.value_type.bit_width == 32
