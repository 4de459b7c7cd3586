"""One source of an import: its bytes as JSON values, whatever container and encoding they lie in.

Flow: `read_source` recognises the container from the first bytes and the first record → an importer claims
the source by `first` → `records` reads it, one record after the other.

**The content decides, not the name**: JSON, JSON lines, Parquet, or a zip file that is one document.
**A bad record costs itself**: a line or an element that cannot be read is a `SourceRecord` with its error.
**Small sources are read once and parsed once.** Larger JSON lines and Parquet files are streamed.
**Nothing in `uri` or `parts` is secret**: no user, password, query or fragment, and keys are redacted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol

from tracelake.lake.secrets.public_text import public_uri
from tracelake.producers.importers.content import Content
from tracelake.producers.importers.json_lines import Line, json_lines
from tracelake.producers.importers.json_text import (
    DOCUMENT_BYTES_MAX,
    Element,
    encoding_of,
    list_elements,
    parse_json,
    require_bounded,
    utf8,
)
from tracelake.producers.importers.parquet_rows import PARQUET_MAGIC, parquet_rows
from tracelake.producers.importers.zip_documents import zip_document_member, zip_document_names
from tracelake.schemas.errors import SourceFormatError

Container = Literal["json", "jsonl", "parquet", "zip"]

EXCERPT_BYTES = 8192
LINES_SNIFFED = 20
ZIP_MAGIC = b"PK\x03\x04"
_NO_TEXT = b" \t\r\n\x00\xef\xbb\xbf\xff\xfe"

_COMPRESSION_SUFFIX = re.compile(r"\.(gz|zst|xz|bz2)$", re.IGNORECASE)
_SUFFIXES = re.compile(r"(\.traj)?(\.jsonl?|\.ndjson|\.parquet|\.eval)?$")


class SourceRecord(NamedTuple):
    """One record: a line, a row, an element of a list, or the whole document."""

    position: int
    """From 1."""
    value: Any
    data: bytes = b""
    """Its beginning or whole text, for an excerpt; empty where no text is at hand."""
    error: SourceFormatError | None = None
    """Why it could not be read; then `value` is null."""


class Neighbours(Protocol):
    """Reads the files next to a source."""

    def read(self, source: Source, name: str) -> bytes | None: ...

    def read_below(self, source: Source, folder: str, pattern: str) -> list[bytes]: ...


class NoNeighbours:
    """For a source that stands alone."""

    def read(self, source: Source, name: str) -> bytes | None:
        return None

    def read_below(self, source: Source, folder: str, pattern: str) -> list[bytes]:
        return []


class Source:
    """See the module. Only `read_source` makes one."""

    def __init__(
        self,
        uri: str,
        content: Content,
        container: Container,
        *,
        document: Any = None,
        first: Any = None,
        elements: list[Element] | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.uri = uri
        """For provenance and reports. A member of an archive: `runs.tar.xz!inner/a.jsonl`."""
        self.container: Container = container
        self.document = document
        """The parsed JSON document; null in other containers, and where elements of a list are damaged."""
        self.first = first
        """The document; of a list, lines or rows the first that could be read."""
        self.size_bytes = content.size_bytes
        self._content = content
        self._elements = elements
        self._neighbours = neighbours or NoNeighbours()

    def __repr__(self) -> str:
        return f"Source({self.uri!r}, {self.container})"

    @cached_property
    def parts(self) -> list[str]:
        """The path, split; a member follows its archive, and a compressed file has the name of what is in
        it."""
        return path_parts(self.uri)

    @property
    def name(self) -> str:
        """The last part."""
        return self.parts[-1] if self.parts else ""

    @property
    def stem(self) -> str:
        """The last part without `.json`, `.jsonl`, `.traj` and the like."""
        return _SUFFIXES.sub("", self.name)

    @property
    def damage(self) -> SourceFormatError | None:
        """What is wrong with the first damaged element of a list document."""
        return next((element.error for element in self._elements or () if element.error), None)

    def stable_name(self, part_count: int) -> str:
        """The last parts of the path: `run1/dead__1/dead__1.traj.json`."""
        return "/".join(self.parts[-part_count:])

    def records(self) -> Iterator[SourceRecord]:
        """Rows of Parquet, lines of JSON lines, elements of a list, or the one document. Each call begins
        anew."""
        match self.container:
            case "jsonl":
                return (_line_record(line) for line in json_lines(self._content))
            case "parquet":
                rows = parquet_rows(self._content)
                return (SourceRecord(position, value, b"", error) for position, value, error in rows)
            case "zip":
                return iter(())
            case "json":
                return self._elements_or_document()

    def _elements_or_document(self) -> Iterator[SourceRecord]:
        if self._elements is not None:
            for position, (data, value, error) in enumerate(self._elements, start=1):
                yield SourceRecord(position, value, data[:EXCERPT_BYTES], error)
        elif isinstance(self.document, list):
            for position, value in enumerate(self.document, start=1):
                yield SourceRecord(position, value)
        else:
            yield SourceRecord(1, self.document, self.head())

    def head(self) -> bytes:
        """The first bytes, as text for an excerpt."""
        return utf8(self._content.head(EXCERPT_BYTES))

    def sha256(self) -> str:
        """Of the bytes; for a compressed file or a member of an archive, of what is in it."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return self._content.sha256()

    def sibling(self, name: str) -> bytes | None:
        """A file in the same folder of the import or the archive; null if there is none. Where an archive put
        every file in a separate folder: in the only folder with the same name and parent.

        After `../`: a file of the import in the folder above, or a member of the archive there."""
        return self._neighbours.read(self, name)

    def below(self, folder: str, pattern: str) -> list[bytes]:
        """The files of the import in a folder next to this source whose names match, sorted by name."""
        return self._neighbours.read_below(self, folder, pattern)

    def open(self) -> BinaryIO:
        """The whole bytes as a stream."""
        return self._content.open()

    def member_names(self) -> list[str]:
        """Of a zip document. Raises SourceFormatError."""
        return zip_document_names(self._content)

    def member(self, name: str) -> bytes:
        """A member of a zip document. Raises SourceFormatError, and KeyError for an unknown name."""
        return zip_document_member(self._content, name)


def path_parts(uri: str) -> list[str]:
    """The parts of the path of a public address."""
    parts = [part for part in re.split(r"[/\\]|!(?=[^/\\])", uri) if part]
    if parts:
        parts[-1] = _COMPRESSION_SUFFIX.sub("", parts[-1])
    return parts


def source_of_bytes(address: str, data: bytes, neighbours: Neighbours | None = None) -> Source:
    """A source whose bytes are in memory. Raises SourceFormatError if it can be read as nothing."""
    return read_source(public_uri(address), Content(data), neighbours)


def read_source(uri: str, content: Content, neighbours: Neighbours | None = None) -> Source:
    """`uri` is public. Raises SourceFormatError if the content can be read as nothing."""
    head = content.head(EXCERPT_BYTES)
    if head.startswith(PARQUET_MAGIC):
        first = next((value for _, value, error in parquet_rows(content) if error is None), None)
        return Source(uri, content, "parquet", first=first, neighbours=neighbours)
    if head.startswith(ZIP_MAGIC):
        return Source(uri, content, "zip", neighbours=neighbours)
    if content.size_bytes <= EXCERPT_BYTES and not head.strip(_NO_TEXT):
        raise SourceFormatError(
            "an empty file", got=f"{content.size_bytes} bytes", expected="a trace", cure="Leave it out."
        )
    if content.data is None:
        # Too large to try: the first lines decide.
        first = _first_line_record(content)
        if first is not None:
            return Source(uri, content, "jsonl", first=first, neighbours=neighbours)
        _require_document_size(content)
    data = content.read() if encoding_of(head) is None else utf8(content.read())
    require_bounded(data)
    try:
        document = parse_json(data)
    except SourceFormatError:
        first = None if content.data is None else _first_line_record(content)
        if first is not None:
            return Source(uri, content, "jsonl", first=first, neighbours=neighbours)
        elements = list(list_elements(data))
        whole = [element.value for element in elements if element.error is None]
        if not whole:
            raise
        return Source(uri, content, "json", first=whole[0], elements=elements, neighbours=neighbours)
    first = document if not isinstance(document, list) else document[0] if document else None
    return Source(uri, content, "json", document=document, first=first, neighbours=neighbours)


def _first_line_record(content: Content) -> dict[str, Any] | None:
    """The first object among the first lines; null if the text is no JSON lines."""
    for index, line in enumerate(islice(json_lines(content), LINES_SNIFFED)):
        text = line.data.strip()
        if index == 0 and (text[:1] == b"[" or text == b"{"):
            # One value over many lines, whatever its parts look like.
            return None
        if isinstance(line.value, dict) and (line.ended or line.number > 1):
            return line.value
    return None


def _line_record(line: Line) -> SourceRecord:
    return SourceRecord(line.number, line.value, line.data, line.error)


def _require_document_size(content: Content) -> None:
    if content.size_bytes > DOCUMENT_BYTES_MAX:
        raise SourceFormatError(
            "a file too large to read whole, and no JSON lines",
            got=f"{content.size_bytes} bytes",
            expected=f"{DOCUMENT_BYTES_MAX} at most, or one record on each line",
            cure="Split it into files of single rollouts, or write it as JSON lines.",
        )
