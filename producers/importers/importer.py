"""The contract of a format: what an importer receives and returns.

docs/importers.md shows how to write one: a file of mapping with `claims`, `read` and `IMPORTER`, listed in
`format_registry` or registered by another package through the entry point `tracelake.importers`.

**An identity never comes from content that may change** (`identity.py`). The same record again yields the
same keys, so all its events are duplicates; a changed record with the same identity yields conflicts.
**Whatever the bytes are, only typed refusals come out**: `read` yields a `Refusal` for a record that it
cannot convert, and continues with the next one.
**Every key of a record is mapped, in `extra_json`, or listed in `losses`** (`conversion/record.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tracelake.lake.secrets.public_text import redact_text
from tracelake.schemas.errors import SourceFormatError, explain
from tracelake.schemas.events.event import Event

if TYPE_CHECKING:
    from tracelake.producers.importers.losses import Losses
    from tracelake.producers.importers.source import Source, SourceRecord

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
EXCERPT_LENGTH = 120
# What reading a record of an unforeseen shape may raise; pydantic's and our own errors are ValueErrors.
SHAPE_ERRORS = (
    KeyError,
    TypeError,
    AttributeError,
    ValueError,
    IndexError,
    OverflowError,
    RecursionError,
    MemoryError,
)


class ImportOptions(NamedTuple):
    """What the user decided about one import."""

    run: str | None = None
    """The rollouts belong to this run, and to no other."""
    distinct: bool = False
    """Files at different paths have different rollouts."""
    columns: tuple[tuple[str, str], ...] = ()
    """(role, column) of a dataset of chats, where names are not the usual ones."""


class Submission(NamedTuple):
    """The patch that a rollout submitted; a verifier's report elsewhere may grade it."""

    rollout_id: str
    instance_id: str
    root: str
    """The folder that contains `output/RUN/INSTANCE/`."""
    run: str
    patch: str
    source_uri: str


@dataclass
class ImportedRollout:
    """The events of one rollout, and its numbers for the report."""

    rollout_id: str
    events: list[Event]
    turn_count: int
    """Assistant messages; `other_turn_count` counts model calls without one (text completions, format
    errors)."""
    tool_result_count: int
    losses: Losses
    other_turn_count: int = 0
    reward: float = 0.0
    reward_count: int = 0
    cost_usd: float | None = None
    """As the source states it; null if it does not."""
    weak_identity: bool = False
    submission: Submission | None = None


class Refusal(NamedTuple):
    """A piece of a source that was not imported."""

    reason: str
    line: int | None = None
    """Line or element number, from 1; null: the whole source."""
    excerpt: str | None = None


class Importer(NamedTuple):
    """One format."""

    format: str
    claims: Callable[[Source], bool]
    """Whether the parsed content is of this format. Never raises."""
    read: Callable[[Source, ImportOptions], Iterator[ImportedRollout | Refusal]]
    """Each rollout in the source, or the reason why a record was refused."""
    not_carried: tuple[str, ...]
    """Facts that the format does not record; the report lists them."""


def read_records(
    source: Source,
    format: str,
    convert: Callable[[SourceRecord], ImportedRollout | None],
) -> Iterator[ImportedRollout | Refusal]:
    """The rollout of each record of a source, or its refusal. Null from `convert`: the record is no rollout,
    as is a header."""
    return read_each(source.records(), format, convert)


def read_each(
    records: Iterable[SourceRecord],
    format: str,
    convert: Callable[[SourceRecord], ImportedRollout | None],
) -> Iterator[ImportedRollout | Refusal]:
    """The same for records that an importer found itself, such as a list inside of a document."""
    for record in records:
        try:
            if record.error is not None:
                raise record.error
            found = convert(record)
        except SHAPE_ERRORS as error:
            yield refusal_of(error, line=record.position, data=record.data, format=format)
        else:
            if found is not None:
                yield found


def refusal_of(error: Exception, *, line: int | None = None, data: bytes = b"", format: str = "") -> Refusal:
    """The refusal of a record whose conversion raised `error`."""
    if isinstance(error, SourceFormatError):
        reason = str(error)
    elif isinstance(error, (KeyError, IndexError)):
        reason = explain(f"not the shape of a {format} record", got=f"nothing at {error}")
    else:
        # Its first line names the type; more of a foreign message may repeat a value, which may be a secret.
        shape = f"{type(error).__name__}: {error}".split("\n", 1)[0]
        reason = explain(f"not the shape of a {format} record", got=shape)
    return Refusal(well_formed(reason), line, excerpt_of(data))


def excerpt_of(data: bytes) -> str | None:
    """The beginning, escaped so that it can be stored and printed."""
    if not data:
        return None
    # Redacted before it is cut: a piece of a secret would no longer be recognised.
    text = redact_text(data[: 8 * EXCERPT_LENGTH].decode("utf-8", "backslashreplace"))
    return text[:EXCERPT_LENGTH].encode("unicode_escape").decode()


def well_formed(text: str) -> str:
    """Text without lone surrogates, which neither JSON nor Arrow can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def as_object(value: Any) -> dict[str, Any]:
    """A value to examine for `claims`: itself if it is an object, else an empty one."""
    return value if type(value) is dict else {}
