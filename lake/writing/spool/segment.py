"""A spool segment: what was acknowledged and has not landed yet, as length + CRC frames in one file.

Flow: accepted events → frames → segment file → (tracelake.lake.writing.spool.sealing) one Parquet file per kind.

    head frame | mark, frame | mark, frame | ... | END | whatever lay there before

**A file is written over, segment after segment**, so behind a segment's end lies what an earlier one left.
Each frame begins with the mark of its own segment, and each batch ends with `END`, which the next one
overwrites: what lies behind it was never a part of the segment.
**A frame that was cut is never half read**: a mark, a length or a checksum that does not fit ends the
segment, unless a whole frame of it follows. Then it was whole once, and is damaged.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import NamedTuple

import orjson

from tracelake.lake.writing.columns import Packed
from tracelake.schemas.errors import CorruptFileError
from tracelake.schemas.events.identity import EventIdentity

SEGMENT_VERSION = 2
END = bytes(8)
"""As long as a mark, and none."""
_UNMARKED_VERSION = 1
_FRAME = Struct("<II")
"""Length of the body and its CRC-32."""
_PARTS = Struct("<II")
"""Lengths of head and payload text; the vectors are the rest of the body."""
_START = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


Frame = tuple[Packed, ...]
"""Parts that follow each other: they are joined once, with those of other frames, when they are written."""


class SegmentHead(NamedTuple):
    """The first frame of a segment."""

    epoch: str
    run_id: str
    first_seq: int
    number: int | None = None
    """Of its file. One that says another is an earlier segment's, and was not begun; null: version 1, which
    did not say."""


class SpooledEvent(NamedTuple):
    """One accepted event."""

    kind: str
    identity: EventIdentity
    recorded_at: datetime
    source_position: int | None
    provenance: str
    source_uri: str | None
    source_hash: str | None
    redactions_json: str | None
    text: Packed
    vectors: tuple[Packed, ...]
    """Views of the segment's bytes where it was read from one."""


class SegmentRead(NamedTuple):
    """What a segment file holds; a file that was cut before its head was whole holds nothing."""

    head: SegmentHead | None
    events: list[SpooledEvent]
    whole_byte_count: int
    torn_byte_count: int
    """What was begun behind the last whole frame; without `END`, all that is there."""
    damaged_count: int
    """Places with whole frames behind them where none can be read: they had been acknowledged."""


def head_frame(head: SegmentHead) -> Frame:
    return _framed(orjson.dumps([SEGMENT_VERSION, *head]))


def mark_of(head: SegmentHead) -> bytes:
    """What its frames begin with: no other segment's do."""
    return _mark(orjson.dumps([SEGMENT_VERSION, *head]))


def marked(mark: bytes, frames: Iterable[Frame]) -> list[Packed]:
    """Frames as they are written one after the other, without what ends them."""
    return [part for frame in frames for part in (mark, *frame)]


def event_frame(event: SpooledEvent) -> Frame:
    told = (event.recorded_at - _START) // _MICROSECOND
    sizes = [len(vector) for vector in event.vectors]
    head = orjson.dumps([event.kind, *event.identity, told, *event[3:8], sizes])
    return _framed(_PARTS.pack(len(head), len(event.text)), head, event.text, *event.vectors)


def read_segment(data: bytes, number: int | None = None) -> SegmentRead:
    """All whole frames from the beginning; nothing of a file whose head says another number than its name.

    Raises CorruptFileError for a version that this code does not know.
    """
    told = _whole_body(data, 0, b"")
    if told is None:
        return SegmentRead(None, [], 0, len(data), 0)
    head, mark = _head(told)
    if number is not None and head.number not in (None, number):
        return SegmentRead(None, [], 0, 0, 0)
    bodies, whole, damaged_count = _bodies(data, _FRAME.size + len(told), mark)
    is_ended = bool(mark) and not data[whole : whole + len(END)].strip(b"\0")
    torn = 0 if is_ended else len(data) - whole
    return SegmentRead(head, [_spooled(body) for body in bodies], whole, torn, damaged_count)


def _framed(*parts: Packed) -> Frame:
    checksum = length = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
        length += len(part)
    return (_FRAME.pack(length, checksum), *parts)


def _bodies(data: bytes, place: int, mark: bytes) -> tuple[list[memoryview], int, int]:
    """Bodies of whole frames; where the last of them ends; how often what lies between two cannot be read."""
    bodies: list[memoryview] = []
    damaged_count = 0
    while True:
        body = _whole_body(data, place, mark)
        if body is not None:
            bodies.append(body)
            place += len(mark) + _FRAME.size + len(body)
        elif (after := _next_whole(data, place, mark)) is not None:
            damaged_count += 1
            place = after
        else:
            return bodies, place, damaged_count


def _whole_body(data: bytes, place: int, mark: bytes) -> memoryview | None:
    """Of the frame at a place; null where there is none, or one that was cut or damaged."""
    start, end = place + len(mark) + _FRAME.size, _stated_end(data, place, mark)
    if end is None:
        return None
    body = memoryview(data)[start:end]
    _, checksum = _FRAME.unpack_from(data, start - _FRAME.size)
    return body if zlib.crc32(body) == checksum else None


def _stated_end(data: bytes, place: int, mark: bytes) -> int | None:
    """Where the frame says that it ends; null for none that could lie there."""
    start = place + len(mark) + _FRAME.size
    if start >= len(data) or not data.startswith(mark, place):
        return None
    length, _ = _FRAME.unpack_from(data, start - _FRAME.size)
    # A file that was enlarged and not filled reads as zeros: an empty body has the checksum 0.
    return start + length if length and start + length <= len(data) else None


def _next_whole(data: bytes, place: int, mark: bytes) -> int | None:
    """The first place behind this one at which a whole frame lies."""
    if not mark:
        after = _stated_end(data, place, mark)
        return None if after is None or _whole_body(data, after, mark) is None else after
    while (place := data.find(mark, place + 1)) >= 0:
        if _whole_body(data, place, mark) is not None:
            return place
    return None


def _head(body: memoryview) -> tuple[SegmentHead, bytes]:
    """With the mark of its frames."""
    try:
        version, *fields = orjson.loads(body)
        head = SegmentHead(*fields)
    except (ValueError, TypeError):
        version, head = None, SegmentHead("", "", 0)
    if version not in (_UNMARKED_VERSION, SEGMENT_VERSION):
        raise CorruptFileError(
            "a spool segment of a version that is not known here",
            got=f"version {version}",
            expected=f"{SEGMENT_VERSION} or less",
            cure="Open the lake once with the version of tracelake that wrote it, then with this one.",
        )
    return head, b"" if version == _UNMARKED_VERSION else _mark(body)


def _mark(head_body: Packed) -> bytes:
    return hashlib.sha256(head_body).digest()[: len(END)]


def _spooled(body: memoryview) -> SpooledEvent:
    head_size, text_size = _PARTS.unpack_from(body)
    at = _PARTS.size + head_size
    kind, event_id, key_hash, payload_hash, told, position, provenance, uri, source, redactions, sizes = (
        orjson.loads(body[_PARTS.size : at])
    )
    vectors: list[memoryview] = []
    place = at + text_size
    for size in sizes:
        vectors.append(body[place : place + size])
        place += size
    return SpooledEvent(
        kind,
        EventIdentity(event_id, key_hash, payload_hash),
        _START + told * _MICROSECOND,
        position,
        provenance,
        uri,
        source,
        redactions,
        body[at : at + text_size],
        tuple(vectors),
    )
