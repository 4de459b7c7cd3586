"""Events to landed Parquet files.

Flow: rows of one kind (`lake/writing/columns.py`) → Parquet bytes → create-only file named by their hash.

**A landed file is a fact**: never rewritten, self-describing (kind, schema version, sequence range in its
footer), zstd-compressed, every page with a checksum.
**No event class is needed**: the process that seals for a writer loads none.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tracelake.lake.layout import LandedName, landed_path, parse_landed_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.errors import CorruptFileError

ZSTD_LEVEL = 1
# Columns of few distinct values; for the others a dictionary only costs time.
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
    """A landed file before it is one."""

    path: str
    data: memoryview
    """Of Arrow's own buffer: a copy would be made of everything that lands."""


def landed_file(table: pa.Table) -> LandedFile:
    """One kind's rows as Parquet bytes, under the name that these bytes have."""
    kind = table.column("kind")[0].as_py()
    epoch = table.column("writer_epoch")[0].as_py()
    first_seq = table.column("writer_seq")[0].as_py()
    data = parquet_bytes(table)
    return LandedFile(landed_path(LandedName(kind, epoch, first_seq, hashlib.sha256(data).hexdigest())), data)


def land(store: ObjectStore, file: LandedFile) -> None:
    """Returns once the file is durable. That its name is taken already is the success of an earlier try, if
    it holds what its name says. Raises CorruptFileError if not."""
    if not store.put_new(file.path, file.data):
        checked(store, file.path)


def parquet_bytes(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    sequence = table.column("writer_seq")
    notes = {"tracelake.first_seq": str(sequence[0]), "tracelake.last_seq": str(sequence[table.num_rows - 1])}
    metadata = {
        **(table.schema.metadata or {}),
        **{key.encode(): value.encode() for key, value in notes.items()},
    }
    names: list[str] = table.column_names
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": ZSTD_LEVEL,
        "use_dictionary": [name for name in names if name in DICTIONARY_COLUMNS],
        "write_statistics": [name for name in names if name in STATISTICS_COLUMNS],
        # A token id's high bytes are alike from one to the next: apart, they compress in less time to less.
        "use_byte_stream_split": [
            f"{field.name}.list.element" for field in table.schema if _holds_32_bits(field.type)
        ],
        "write_page_checksum": True,
        # Of a vector's values: the default of 1,024 goes through the writer's own work for each thousand.
        "write_batch_size": 2**16,
    }
    pq.write_table(table.replace_schema_metadata(metadata), sink, **options)
    return memoryview(sink.getvalue()).cast("B")


def _holds_32_bits(column_type: pa.DataType) -> bool:
    return pa.types.is_list(column_type) and column_type.value_type.bit_width == 32


def checked(store: ObjectStore, path: str) -> bytes:
    """A landed file's bytes, if they are those that its name says."""
    data = store.read(path)
    expected, found = parse_landed_path(path).sha256, hashlib.sha256(data).hexdigest()
    if found != expected:
        raise CorruptFileError(
            f"landed file {path} is damaged",
            got=f"sha256 {found}",
            expected=f"sha256 {expected}",
            cure="Restore the file from a copy; `tracelake verify --deep` lists what is derived from it.",
        )
    return data
