"""What an importer is given and what it gives back.

Flow: a file's bytes → `SourceFile` → `opened` (parsed once, for the sniff and for the import) → an importer →
`Imported` rollouts and `Refused` pieces.

**An identity never comes from content that may change.** The same file again yields the same keys, so it is
all duplicates; a changed file under the same identity yields conflicts.
**Whatever the bytes are, only typed refusals come out**: a piece that cannot be taken becomes a `Refused`,
and its neighbours stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import orjson

from tracelake.schemas.canonical import canonical_json
from tracelake.schemas.errors import SourceFormatError, explain
from tracelake.schemas.events.event import Event

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
GZIP = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
EXCERPT_LENGTH = 120
IDENTITY_PARTS = 3
ROWS_SNIFFED = 20
# What reading a record of an unforeseen shape may raise; pydantic's and our own errors are ValueErrors.
SHAPE_ERRORS = (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError, RecursionError)

_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]+")


class SourceFile(NamedTuple):
    """One file, read whole."""

    name: str
    """Its identity: the last three parts of its path, without the machine's own folders."""
    uri: str
    data: bytes
    sha256: str

    @property
    def parts(self) -> list[str]:
        """The whole path, split; longer than `name` where folders above say which run it was."""
        return self.uri.replace("\\", "/").split("/")

    @property
    def stem(self) -> str:
        """The file's name without its extensions `.json`, `.jsonl`, `.traj`."""
        return re.sub(r"(\.traj)?(\.jsonl?)?$", "", self.parts[-1])


class Refused(NamedTuple):
    """A piece of a source that was not taken."""

    reason: str
    line: int | None = None
    """Line or element number, from 1; null: the whole source."""
    excerpt: str | None = None


class HandedIn(NamedTuple):
    """What a rollout submitted, so that a verifier's verdict kept elsewhere can find it."""

    rollout_id: str
    instance_id: str
    root: str
    """The folder that holds `output/RUN/INSTANCE/`."""
    run: str
    submission: str


class Imported(NamedTuple):
    """One rollout and what it adds to the report."""

    rollout_id: str
    events: list[Event]
    turn_count: int
    """Assistant messages; `other_turn_count` counts model calls that left none (text completions, format
    errors)."""
    tool_result_count: int
    other_turn_count: int = 0
    reward: float = 0.0
    reward_count: int = 0
    cost_usd: float = 0.0
    notes: tuple[str, ...] = ()
    handed_in: HandedIn | None = None


class Row(NamedTuple):
    """One line of a JSON-lines file."""

    line: int
    data: bytes


class Opened(NamedTuple):
    """A source parsed as far as the sniff needs it."""

    source: SourceFile
    document: Any
    """The whole file as one JSON value; null for JSON lines."""
    first_row: Any
    """The first readable line of JSON lines; null for one JSON value."""


class Siblings(Protocol):
    """Reads the few other files that a format spreads its facts over."""

    def metadata(self, source: SourceFile) -> bytes | None:
        """`metadata.json` of the same run, null if there is none."""
        ...


class Importer(NamedTuple):
    """A format: what it looks like, how it is read, and what it cannot tell."""

    format: str
    claims: Callable[[Opened], bool]
    read: Callable[[Opened, Siblings], Iterator[Imported | Refused]]
    not_carried: tuple[str, ...]


class NoSiblings:
    """For a source that stands alone."""

    def metadata(self, source: SourceFile) -> bytes | None:
        return None


def source_file(uri: str, data: bytes, digest: str | None = None) -> SourceFile:
    uri = well_formed(uri)
    parts = [part for part in uri.replace("\\", "/").split("/") if part]
    return SourceFile(
        "/".join(parts[-IDENTITY_PARTS:]), uri, data, digest or hashlib.sha256(data).hexdigest()
    )


def opened(source: SourceFile) -> Opened:
    """Raises SourceFormatError for what is neither JSON nor JSON lines."""
    data = source.data
    if not data or data.isspace():
        raise SourceFormatError("an empty file", got=f"{len(data)} bytes", expected="a trace")
    if data.startswith(GZIP):
        raise SourceFormatError(
            "a compressed file", got="gzip", expected="JSON text", cure="Decompress it first."
        )
    try:
        return Opened(source, parsed(data), None)
    except SourceFormatError as error:
        for row in rows(data):
            if row.line > ROWS_SNIFFED:
                break
            first = _parsed_or_none(row.data)
            if isinstance(first, dict) and data.lstrip().count(b"\n"):
                return Opened(source, None, first)
        raise error


def parsed(data: bytes) -> Any:
    """A JSON value. Raises SourceFormatError; NaN, infinities, lone surrogates and 1,024 levels are
    refused."""
    try:
        return orjson.loads(data.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as error:
        raise SourceFormatError(
            "not JSON text", got=str(error), expected="well-formed JSON, numbers finite, UTF-8"
        ) from error


def _parsed_or_none(data: bytes) -> Any:
    try:
        return parsed(data)
    except SourceFormatError:
        return None


def rows(data: bytes) -> Iterator[Row]:
    """The lines that are not blank, numbered from 1."""
    for number, line in enumerate(data.removeprefix(BYTE_ORDER_MARK).split(b"\n"), start=1):
        if line.strip():
            yield Row(number, line)


def refused(error: Exception, *, line: int | None = None, data: bytes = b"", format: str = "") -> Refused:
    """The refusal of a piece that made its importer raise."""
    ours = isinstance(error, SourceFormatError)
    shape = f"{type(error).__name__}: {error}".split("\n  For further", 1)[0]
    reason = str(error) if ours else explain(f"not the shape of a {format} record", got=shape)
    return Refused(well_formed(reason), line, excerpt_of(data))


def refused_pointer(source: SourceFile) -> Iterator[Refused]:
    """A git-lfs pointer stands where data should be: every line is told, so that none is swallowed."""
    reason = explain(
        "a git-lfs pointer instead of the file",
        expected="the data itself",
        cure="Run `git lfs pull` at its origin.",
    )
    for row in rows(source.data):
        yield Refused(reason, row.line, excerpt_of(row.data))


def excerpt_of(data: bytes) -> str | None:
    """The beginning, escaped so that it can be stored and printed."""
    if not data:
        return None
    return data[:EXCERPT_LENGTH].decode("utf-8", "backslashreplace").encode("unicode_escape").decode()


def well_formed(text: str) -> str:
    """Text without lone surrogates, which neither JSON nor Arrow can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def rollout_id_of(prefix: str, label: object, identity: list[Any]) -> str:
    """Readable and short, unique by the hash of the identity: `mini-django__django-10914-1f0c…`."""
    readable = _NOT_IN_ID.sub("-", str(label or "")).strip("-.")[:60]
    digest = hashlib.sha256(canonical_json([prefix, *identity])).hexdigest()[:16]
    return "-".join(part for part in (prefix, readable, digest) if part)
