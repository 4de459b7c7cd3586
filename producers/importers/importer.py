"""The contract of a format: what an importer receives and returns.

To add a format, write `formats/NAME.py` with `claims`, `read` and `IMPORTER`, list it in `format_registry`,
and add a small trace to `tests/producers/importers/samples.py`: the property tests run over every sample.

**An identity never comes from content that may change.** The same file again yields the same keys, so all its
events are duplicates; a changed file with the same identity yields conflicts.
**Whatever the bytes are, only typed refusals come out**: `read` yields a `Refusal` for a record that it
cannot convert, and continues with the next one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from tracelake.schemas.canonical import canonical_json
from tracelake.schemas.errors import SourceFormatError, explain
from tracelake.schemas.events.event import Event

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
EXCERPT_LENGTH = 120
# What reading a record of an unforeseen shape may raise; pydantic's and our own errors are ValueErrors.
SHAPE_ERRORS = (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError, RecursionError)

_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]+")


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


class ParsedSource(NamedTuple):
    """A source parsed as far as recognising its format needs it."""

    source: SourceFile
    document: Any
    """The whole file as one JSON value; null for JSON lines."""
    first_row: Any
    """The first readable line of JSON lines; null for one JSON value."""


class Submission(NamedTuple):
    """The patch that a rollout submitted; a verifier's report elsewhere may grade it."""

    rollout_id: str
    instance_id: str
    root: str
    """The folder that contains `output/RUN/INSTANCE/`."""
    run: str
    patch: str
    source_uri: str


class ImportedRollout(NamedTuple):
    """The events of one rollout, and its numbers for the report."""

    rollout_id: str
    events: list[Event]
    turn_count: int
    """Assistant messages; `other_turn_count` counts model calls without one (text completions, format
    errors)."""
    tool_result_count: int
    other_turn_count: int = 0
    reward: float = 0.0
    reward_count: int = 0
    cost_usd: float = 0.0
    notes: tuple[str, ...] = ()
    submission: Submission | None = None


class Refusal(NamedTuple):
    """A piece of a source that was not imported."""

    reason: str
    line: int | None = None
    """Line or element number, from 1; null: the whole source."""
    excerpt: str | None = None


class Companions(Protocol):
    """Reads the other files over which a format spreads its facts."""

    def metadata(self, source: SourceFile) -> bytes | None:
        """`metadata.json` of the same run, null if there is none."""
        ...


class NoCompanions:
    """For a source that stands alone."""

    def metadata(self, source: SourceFile) -> bytes | None:
        return None


class Importer(NamedTuple):
    """One format."""

    format: str
    claims: Callable[[ParsedSource], bool]
    """Whether the parsed content is of this format. Never raises."""
    read: Callable[[ParsedSource, Companions], Iterator[ImportedRollout | Refusal]]
    """Each rollout in the source, or the reason why a record was refused."""
    not_carried: tuple[str, ...]
    """Facts that the format does not record; the report lists them."""


def refusal_of(error: Exception, *, line: int | None = None, data: bytes = b"", format: str = "") -> Refusal:
    """The refusal of a record whose conversion raised `error`."""
    if isinstance(error, SourceFormatError):
        reason = str(error)
    else:
        shape = f"{type(error).__name__}: {error}".split("\n  For further", 1)[0]
        reason = explain(f"not the shape of a {format} record", got=shape)
    return Refusal(well_formed(reason), line, excerpt_of(data))


def excerpt_of(data: bytes) -> str | None:
    """The beginning, escaped so that it can be stored and printed."""
    if not data:
        return None
    return data[:EXCERPT_LENGTH].decode("utf-8", "backslashreplace").encode("unicode_escape").decode()


def well_formed(text: str) -> str:
    """Text without lone surrogates, which neither JSON nor Arrow can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def rollout_id_of(prefix: str, label: object, identity: list[Any]) -> str:
    """Short and readable, unique by the hash of the identity: `mini-django__django-10914-1f0c…`."""
    readable = _NOT_IN_ID.sub("-", str(label or "")).strip("-.")[:60]
    digest = hashlib.sha256(canonical_json([prefix, *identity])).hexdigest()[:16]
    return "-".join(part for part in (prefix, readable, digest) if part)
