"""From bytes to JSON: one JSON value or JSON lines.

Flow: `source_file` → `parse_source` parses the file once, both to recognise its format and to import it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from tracelake.producers.importers.importer import ParsedSource, SourceFile, well_formed
from tracelake.schemas.errors import SourceFormatError

GZIP = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
IDENTITY_PARTS = 3
ROWS_SNIFFED = 20


class Row(NamedTuple):
    """One line of a JSON-lines file."""

    line: int
    data: bytes


def source_file(uri: str, data: bytes) -> SourceFile:
    uri = well_formed(uri)
    parts = [part for part in uri.replace("\\", "/").split("/") if part]
    return SourceFile("/".join(parts[-IDENTITY_PARTS:]), uri, data, hashlib.sha256(data).hexdigest())


def parse_source(source: SourceFile) -> ParsedSource:
    """Raises SourceFormatError if the file is neither JSON nor JSON lines."""
    data = source.data
    if not data or data.isspace():
        raise SourceFormatError("an empty file", got=f"{len(data)} bytes", expected="a trace")
    if data.startswith(GZIP):
        raise SourceFormatError(
            "a compressed file", got="gzip", expected="JSON text", cure="Decompress it first."
        )
    try:
        return ParsedSource(source, parse_json(data), None)
    except SourceFormatError as error:
        for row in rows(data):
            if row.line > ROWS_SNIFFED:
                break
            try:
                first = parse_json(row.data)
            except SourceFormatError:
                continue
            if isinstance(first, dict) and data.lstrip().count(b"\n"):
                return ParsedSource(source, None, first)
        raise error


def parse_json(data: bytes) -> Any:
    """A JSON value. Raises SourceFormatError, also for NaN, infinities, lone surrogates and nesting deeper
    than 1,024 levels."""
    try:
        return orjson.loads(data.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as error:
        raise SourceFormatError(
            "not JSON text", got=str(error), expected="well-formed JSON, numbers finite, UTF-8"
        ) from error


def rows(data: bytes) -> Iterator[Row]:
    """The lines that are not blank, numbered from 1."""
    for number, line in enumerate(data.removeprefix(BYTE_ORDER_MARK).split(b"\n"), start=1):
        if line.strip():
            yield Row(number, line)
