"""Search what an export has written for secrets, with the check that stands before every pin.

**The files themselves are searched**, not the rows that they came from. A finding is named
`FILE/PLACE/RULE`: the line of a text file, the row of a Parquet file.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tracelake.consumers.exports.parquet_shards import plain_type
from tracelake.lake.secrets.known_secrets import secrets_of
from tracelake.lake.secrets.secret_check import SecretReport, check_for_secrets, strings_in

LINES_PER_TABLE = 256


def search_files(folder: Path, allowed: Collection[str] = ()) -> SecretReport:
    """Raises SecretFoundError for a finding that is not allowed."""
    return check_for_secrets(_tables(folder), secrets=secrets_of(os.environ), allowed=allowed)


def _tables(folder: Path) -> Iterator[tuple[str, pa.Table]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".parquet":
            yield from ((name, table) for table in _parquet_tables(path))
        elif path.suffix == ".json":
            yield name, _named([("document", _strings(path.read_bytes()))])
        elif path.is_file():
            yield from ((name, table) for table in _line_tables(path))


def _parquet_tables(path: Path) -> Iterator[pa.Table]:
    start = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(LINES_PER_TABLE):
            rows = pa.Table.from_batches([batch])
            names = pa.array([f"row {start + index}" for index in range(rows.num_rows)])
            plain = pa.schema([(field.name, plain_type(field.type)) for field in rows.schema])
            yield rows.cast(plain).append_column("event_id", names)
            start += rows.num_rows


def _line_tables(path: Path) -> Iterator[pa.Table]:
    are_json = path.suffix == ".jsonl"
    with path.open("rb") as file:
        lines: list[tuple[str, list[str]]] = []
        for number, line in enumerate(file, start=1):
            lines.append((f"line {number}", _strings(line) if are_json else [line.decode()]))
            if len(lines) == LINES_PER_TABLE:
                yield _named(lines)
                lines = []
        if lines:
            yield _named(lines)


def _strings(text: bytes) -> list[str]:
    """Keys and values of JSON. The text as a whole would be full of findings such as `"state_key": "…"`."""
    return list(strings_in(orjson.loads(text)))


def _named(rows: list[tuple[str, list[str]]]) -> pa.Table:
    names, values = zip(*rows, strict=True)
    return pa.table({"event_id": pa.array(names), "texts": pa.array(values, pa.list_(pa.large_string()))})
