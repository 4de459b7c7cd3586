"""Events to landed Parquet files, and back.

Flow: rows of one kind (lake.writing.rows) → Parquet bytes → create-only file named by their hash.

**A landed file is a fact**: never rewritten, self-describing (kind, schema version, sequence range in its
footer), zstd-compressed, every page with a checksum.
**Reading upcasts** older schema versions and refuses bytes that differ from the hash in the file's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lake.layout import LandedName, landed_path, parse_landed_path
from lake.stores.store import ObjectStore
from schemas.columns import ENVELOPE_COLUMNS, arrow_schema
from schemas.errors import CorruptFileError
from schemas.upcast import upcast

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
    data: bytes


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
        _checked(store, file.path)


def parquet_bytes(table: pa.Table) -> bytes:
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
    }
    pq.write_table(table.replace_schema_metadata(metadata), sink, **options)
    return sink.getvalue().to_pybytes()


def _holds_32_bits(column_type: pa.DataType) -> bool:
    return pa.types.is_list(column_type) and column_type.value_type.bit_width == 32


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
    data = _checked(store, path)
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


def _checked(store: ObjectStore, path: str) -> bytes:
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
