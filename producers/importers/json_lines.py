"""JSON lines of any length, one line in memory at a time.

**A line that is not JSON costs itself**, also one that is too large to read. Only `\\n` ends a line.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from tracelake.producers.importers.content import CHUNK_BYTES, Content
from tracelake.producers.importers.json_text import DOCUMENT_BYTES_MAX, Utf8Reader, encoding_of, parse_json
from tracelake.schemas.errors import SourceFormatError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line that is not blank."""

    number: int
    """From 1, blank lines included."""
    data: bytes
    """UTF-8 without the line's end; cut if the line is too large."""
    value: Any
    error: SourceFormatError | None
    ended: bool
    """False for a last line without a line break."""


def json_lines(content: Content) -> Iterator[Line]:
    encoding = encoding_of(content.head(4))
    with content.open() as opened:
        file = opened if encoding is None else io.BufferedReader(Utf8Reader(opened, encoding), CHUNK_BYTES)
        yield from _lines(file)


def text_lines(content: Content) -> Iterator[tuple[int, bytes]]:
    """Number and text of the lines that are not blank."""
    return ((line.number, line.data) for line in json_lines(content))


def _lines(file: BinaryIO | io.BufferedReader) -> Iterator[Line]:
    number = 0
    while data := file.readline(DOCUMENT_BYTES_MAX + 1):
        number += 1
        if len(data) > DOCUMENT_BYTES_MAX and not data.endswith(b"\n"):
            byte_count = len(data) + _skip_line(file)
            yield Line(number, data[:CHUNK_BYTES], None, _too_long(byte_count), True)
            continue
        if number == 1:
            data = data.removeprefix(_BYTE_ORDER_MARK)
        if data.isspace() or not data:
            continue
        text = data.rstrip(b"\r\n")
        try:
            yield Line(number, text, parse_json(text), None, data.endswith(b"\n"))
        except SourceFormatError as error:
            yield Line(number, text, None, error, data.endswith(b"\n"))


def _skip_line(file: BinaryIO | io.BufferedReader) -> int:
    byte_count = 0
    while data := file.readline(CHUNK_BYTES):
        byte_count += len(data)
        if data.endswith(b"\n"):
            break
    return byte_count


def _too_long(byte_count: int) -> SourceFormatError:
    return SourceFormatError(
        "a line too large to read whole",
        got=f"{byte_count} bytes",
        expected=f"{DOCUMENT_BYTES_MAX} at most",
        cure="Write its parts as several records.",
    )
