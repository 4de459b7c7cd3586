"""A spool segment: acknowledged events that have not landed, as frames with length and CRC in one file.

Flow: new events → frames → segment file → (tracelake.lake.writing.spool.sealing) one Parquet file per kind.

    head frame | mark, frame | mark, frame | ... | END | bytes of an older segment

**A file is overwritten by a later segment**, so the bytes behind a segment's end are an older one's. Each
frame begins with the mark of its own segment, and each batch ends with `END`, which the next batch
overwrites. Bytes behind `END` never belonged to the segment.
**A torn frame is never half read**: a wrong mark, length or checksum ends the segment, unless a whole frame
of the segment follows. Then the bad frame was whole once, and is damaged.
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
"""As long as a mark; no mark is all zeros."""
_FRAME_HEADER = Struct("<II")
"""Length of the body and its CRC-32."""
_BODY_HEADER = Struct("<II")
"""Lengths of head and payload text; the vectors are the rest of the body."""
_START = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


Frame = tuple[Packed, ...]
"""Consecutive byte strings. They are joined once, with those of other frames, when they are written."""


class SegmentHead(NamedTuple):
    """The first frame of a segment."""

    epoch: str
    run_id: str
    first_seq: int
    number: int
    """Of the segment's file. If the file's name has another number, the head is an older segment's and the
    new one was not begun."""


class SpooledEvent(NamedTuple):
    """One event of a segment, with its envelope."""

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
    """Views of the segment's bytes if it was read from one."""


class SegmentRead(NamedTuple):
    """The contents of a segment file; nothing if the file was cut within its head."""

    head: SegmentHead | None
    events: list[SpooledEvent]
    whole_byte_count: int
    torn_byte_count: int
    """Bytes of an unfinished write behind the last whole frame; without `END`, all bytes there."""
    damaged_count: int
    """Unreadable gaps with whole frames behind them. Their events had been acknowledged."""


def head_frame(head: SegmentHead) -> Frame:
    return _frame(orjson.dumps([SEGMENT_VERSION, *head]))


def segment_mark(head: SegmentHead) -> bytes:
    """The first bytes of the segment's frames, different from those of any other segment."""
    return _mark(orjson.dumps([SEGMENT_VERSION, *head]))


def mark_frames(mark: bytes, frames: Iterable[Frame]) -> list[Packed]:
    """Frames as they are written, each behind the mark. `END` is not included."""
    return [part for frame in frames for part in (mark, *frame)]


def event_frame(event: SpooledEvent) -> Frame:
    recorded_at_us = (event.recorded_at - _START) // _MICROSECOND
    sizes = [len(vector) for vector in event.vectors]
    head = orjson.dumps([event.kind, *event.identity, recorded_at_us, *event[3:8], sizes])
    return _frame(_BODY_HEADER.pack(len(head), len(event.text)), head, event.text, *event.vectors)


def read_segment(data: bytes, number: int | None = None) -> SegmentRead:
    """All whole frames of a segment file; no frames if the head's number is not the file's.

    Raises CorruptFileError for an unknown version.
    """
    head_body = _whole_body(data, 0, b"")
    if head_body is None:
        return SegmentRead(None, [], 0, len(data), 0)
    head, mark = _read_head(head_body)
    if number is not None and head.number != number:
        return SegmentRead(None, [], 0, 0, 0)
    bodies, whole, damaged_count = _whole_bodies(data, _FRAME_HEADER.size + len(head_body), mark)
    is_ended = not data[whole : whole + len(END)].strip(b"\0")
    torn = 0 if is_ended else len(data) - whole
    return SegmentRead(head, [_read_event(body) for body in bodies], whole, torn, damaged_count)


def _frame(*parts: Packed) -> Frame:
    checksum = length = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
        length += len(part)
    return (_FRAME_HEADER.pack(length, checksum), *parts)


def _whole_bodies(data: bytes, offset: int, mark: bytes) -> tuple[list[memoryview], int, int]:
    """The bodies of all whole frames, the end of the last, and the number of unreadable gaps."""
    bodies: list[memoryview] = []
    damaged_count = 0
    while True:
        body = _whole_body(data, offset, mark)
        if body is not None:
            bodies.append(body)
            offset += len(mark) + _FRAME_HEADER.size + len(body)
        elif (next_offset := _next_whole_frame(data, offset, mark)) is not None:
            damaged_count += 1
            offset = next_offset
        else:
            return bodies, offset, damaged_count


def _whole_body(data: bytes, offset: int, mark: bytes) -> memoryview | None:
    """The body of the frame at an offset; null if there is none or it is torn or damaged."""
    start, end = offset + len(mark) + _FRAME_HEADER.size, _stated_end(data, offset, mark)
    if end is None:
        return None
    body = memoryview(data)[start:end]
    _, checksum = _FRAME_HEADER.unpack_from(data, start - _FRAME_HEADER.size)
    return body if zlib.crc32(body) == checksum else None


def _stated_end(data: bytes, offset: int, mark: bytes) -> int | None:
    """The end of the frame according to its header; null if no frame can begin here."""
    start = offset + len(mark) + _FRAME_HEADER.size
    if start >= len(data) or not data.startswith(mark, offset):
        return None
    length, _ = _FRAME_HEADER.unpack_from(data, start - _FRAME_HEADER.size)
    # Zeros are no frame, though an empty body has the checksum 0: a file may be enlarged and not filled.
    return start + length if length and start + length <= len(data) else None


def _next_whole_frame(data: bytes, offset: int, mark: bytes) -> int | None:
    """The offset of the first whole frame behind this offset."""
    while (offset := data.find(mark, offset + 1)) >= 0:
        if _whole_body(data, offset, mark) is not None:
            return offset
    return None


def _read_head(body: memoryview) -> tuple[SegmentHead, bytes]:
    """The head, and the mark of the segment's frames."""
    try:
        version, *fields = orjson.loads(body)
        head = SegmentHead(*fields) if version == SEGMENT_VERSION else None
    except (ValueError, TypeError):
        version, head = None, None
    if head is None:
        raise CorruptFileError(
            "a spool segment has an unknown version",
            got=f"version {version}",
            expected=str(SEGMENT_VERSION),
            cure="Open the lake once with the version of tracelake that wrote it, then with this one.",
        )
    return head, _mark(body)


def _mark(head_body: Packed) -> bytes:
    return hashlib.sha256(head_body).digest()[: len(END)]


def _read_event(body: memoryview) -> SpooledEvent:
    head_size, text_size = _BODY_HEADER.unpack_from(body)
    text_start = _BODY_HEADER.size + head_size
    head = orjson.loads(body[_BODY_HEADER.size : text_start])
    kind, event_id, key_hash, payload_hash, recorded_at_us, *envelope, sizes = head
    source_position, provenance, source_uri, source_hash, redactions_json = envelope
    vectors: list[memoryview] = []
    offset = text_start + text_size
    for size in sizes:
        vectors.append(body[offset : offset + size])
        offset += size
    return SpooledEvent(
        kind,
        EventIdentity(event_id, key_hash, payload_hash),
        _START + recorded_at_us * _MICROSECOND,
        source_position,
        provenance,
        source_uri,
        source_hash,
        redactions_json,
        body[text_start : text_start + text_size],
        tuple(vectors),
    )
