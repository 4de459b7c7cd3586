"""From files to parsed JSON.

Flow: `load` reads each file → `SourceFile` → `parse_source` parses it once, both to recognise the format and
to import it.

**A file is one JSON value or JSON lines**; anything else raises SourceFormatError.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import orjson

from tracelake.producers.importers.conversion.fields import well_formed
from tracelake.producers.importers.find_files import FoundFile
from tracelake.schemas.errors import SourceFormatError

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
GZIP = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
EXCERPT_LENGTH = 120
IDENTITY_PARTS = 3
ROWS_SNIFFED = 20
SOURCE_BYTES_MAX = 2**30
READ_AHEAD = 4


class SourceFile(NamedTuple):
    """One file, read whole."""

    name: str
    """Its identity: the last three parts of its path, without the folders of one machine."""
    uri: str
    data: bytes
    sha256: str

    @property
    def parts(self) -> list[str]:
        """The whole path, split; longer than `name`, because folders above may name the run."""
        return self.uri.replace("\\", "/").split("/")

    @property
    def stem(self) -> str:
        """The file's name without its extensions `.json`, `.jsonl`, `.traj`."""
        return re.sub(r"(\.traj)?(\.jsonl?)?$", "", self.parts[-1])

    @property
    def is_lfs_pointer(self) -> bool:
        return self.data.startswith(LFS_POINTER)


class LoadedFile(NamedTuple):
    """A file with its bytes, or with the error of reading it."""

    file: FoundFile
    source: SourceFile | None
    error: Exception | None


class ParsedSource(NamedTuple):
    """A source parsed as far as recognising its format needs it."""

    source: SourceFile
    document: Any
    """The whole file as one JSON value; null for JSON lines."""
    first_row: Any
    """The first readable line of JSON lines; null for one JSON value."""


class Row(NamedTuple):
    """One line of a JSON-lines file."""

    line: int
    data: bytes


def load(files: Iterable[FoundFile]) -> Iterator[LoadedFile]:
    """Files with their bytes, in order; a thread reads the next few remote ones ahead."""
    reader: ThreadPoolExecutor | None = None
    ahead: deque[Future[LoadedFile]] = deque()
    try:
        for file in files:
            if file.is_local:
                yield from _results(ahead, left_count=0)
                yield _load_one(file)
                continue
            reader = reader or ThreadPoolExecutor(max_workers=1, thread_name_prefix="read")
            ahead.append(reader.submit(_load_one, file))
            yield from _results(ahead, left_count=READ_AHEAD)
        yield from _results(ahead, left_count=0)
    finally:
        if reader is not None:
            reader.shutdown(cancel_futures=True)


def _results(ahead: deque[Future[LoadedFile]], *, left_count: int) -> Iterator[LoadedFile]:
    while len(ahead) > left_count:
        yield ahead.popleft().result()


def _load_one(file: FoundFile) -> LoadedFile:
    try:
        size = file.size_bytes()
        if size is not None and size > SOURCE_BYTES_MAX:
            raise SourceFormatError(
                "a file too large to read whole",
                got=f"{size} bytes",
                expected=f"{SOURCE_BYTES_MAX} at most",
                cure="Split it into files of single rollouts or fewer lines.",
            )
        return LoadedFile(file, source_file(file.uri, file.content()), None)
    except (OSError, ValueError) as error:
        return LoadedFile(file, None, error)


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


def excerpt_of(data: bytes) -> str | None:
    """The beginning, escaped so that it can be stored and printed."""
    if not data:
        return None
    return data[:EXCERPT_LENGTH].decode("utf-8", "backslashreplace").encode("unicode_escape").decode()
