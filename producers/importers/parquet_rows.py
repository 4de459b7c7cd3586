"""Rows of a Parquet file as JSON values, a few at a time.

Times become text of ISO 8601, decimals numbers or text, and NaN null: tables write a missing number so.

**A row that cannot be read costs itself.** A file that expands beyond all measure is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tracelake.producers.importers.content import Content
from tracelake.producers.importers.expansion import Expansion
from tracelake.schemas.errors import SourceFormatError

PARQUET_MAGIC = b"PAR1"
BATCH_ROWS = 64
ROW_GROUP_BYTES_MAX = 2 * 10**9
# What a damaged file makes pyarrow raise.
_ERRORS = (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError, KeyError)


class Row(NamedTuple):
    """One row, or the error of reading it."""

    number: int
    """From 1."""
    value: dict[str, Any] | None
    error: SourceFormatError | None


def parquet_rows(content: Content) -> Iterator[Row]:
    """Raises SourceFormatError before the first row if the file cannot be read at all."""
    number = 0
    expansion = Expansion()
    try:
        file = pq.ParquetFile(pa.PythonFile(content.open(), mode="r"), pre_buffer=False)
        for index in range(file.num_row_groups):
            byte_count = file.metadata.row_group(index).total_byte_size
            if not 0 <= byte_count <= ROW_GROUP_BYTES_MAX:
                raise SourceFormatError(
                    "a Parquet row group too large to read",
                    got=f"{byte_count} bytes",
                    expected=f"{ROW_GROUP_BYTES_MAX} at most",
                    cure="Write it with smaller row groups.",
                )
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            expansion.add(batch.nbytes, content.size_bytes)
            for row in _values(batch):
                number += 1
                yield row._replace(number=number)
    except SourceFormatError as error:
        if not number:
            raise
        yield Row(number + 1, None, error)
    except _ERRORS as error:
        damaged = SourceFormatError(
            "a damaged Parquet file",
            got=f"{type(error).__name__} after {number} rows",
            expected="rows that pyarrow reads",
            cure="Copy or write the file again.",
        )
        if not number:
            raise damaged from error
        yield Row(number + 1, None, damaged)


def _values(batch: pa.RecordBatch) -> Iterator[Row]:
    try:
        values: list[dict[str, Any]] = batch.to_pylist(maps_as_pydicts="strict")
    except (ValueError, pa.ArrowException, KeyError) as error:
        if batch.num_rows == 1:
            reason = SourceFormatError("a row that is not text or numbers", got=type(error).__name__)
            yield Row(0, None, reason)
            return
        for index in range(batch.num_rows):
            yield from _values(batch.slice(index, 1))
        return
    for value in values:
        try:
            yield Row(0, _json_value(value), None)
        except SourceFormatError as error:
            yield Row(0, None, error)


def _json_value(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if math.isinf(value):
            raise SourceFormatError("no JSON number", got=str(value), cure="Write null in its place.")
        return None if math.isnan(value) else value
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else str(value)
    if isinstance(value, bytes):
        return _text_of(value)
    raise SourceFormatError("a value that JSON has not", got=type(value).__name__)


def _text_of(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise SourceFormatError(
            "binary data in a column", got=f"{len(value)} bytes", cure="Leave the column out."
        ) from error
