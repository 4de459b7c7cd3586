"""A spool segment: what was acknowledged and has not landed yet, as length + CRC frames in one file.

Flow: accepted events → frames → segment file → (lake.writing.sealing) one Parquet file per kind.

**A frame that was cut is never half read**: a length or a checksum that does not fit ends the segment, unless
a whole frame follows where it says that it ends. Then it was whole once, and is damaged.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import NamedTuple

import orjson

from lake.writing.columns import Packed
from schemas.identity import EventIdentity

SEGMENT_VERSION = 1
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


class Spooled(NamedTuple):
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
    events: list[Spooled]
    whole_byte_count: int
    torn_byte_count: int
    damaged_count: int
    """Frames with whole ones behind them that do not fit their checksums: they had been acknowledged."""


def head_frame(head: SegmentHead) -> Frame:
    return _framed(orjson.dumps([SEGMENT_VERSION, *head]))


def event_frame(event: Spooled) -> Frame:
    told = (event.recorded_at - _START) // _MICROSECOND
    sizes = [len(vector) for vector in event.vectors]
    head = orjson.dumps([event.kind, *event.identity, told, *event[3:8], sizes])
    return _framed(_PARTS.pack(len(head), len(event.text)), head, event.text, *event.vectors)


def read_segment(data: bytes) -> SegmentRead:
    """All whole frames from the beginning."""
    bodies, place, damaged_count = _bodies(data)
    head = _head(bodies[0]) if bodies and bodies[0] is not None else None
    events = [] if head is None else [_spooled(body) for body in bodies[1:] if body is not None]
    whole = place if head is not None else 0
    return SegmentRead(head, events, whole, len(data) - whole, damaged_count)


def _framed(*parts: Packed) -> Frame:
    checksum = length = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
        length += len(part)
    return (_FRAME.pack(length, checksum), *parts)


def _bodies(data: bytes) -> tuple[list[memoryview | None], int, int]:
    """Bodies of whole frames, null for a damaged one; where the last of them ends; how many are damaged."""
    bodies: list[memoryview | None] = []
    view = memoryview(data)
    place = damaged_count = 0
    while (end := _stated_end(data, place)) is not None:
        whole = _is_whole(data, place, end)
        if not whole and not ((after := _stated_end(data, end)) and _is_whole(data, end, after)):
            break
        bodies.append(view[place + _FRAME.size : end] if whole else None)
        damaged_count += not whole
        place = end
    return bodies, place, damaged_count


def _stated_end(data: bytes, place: int) -> int | None:
    """Where the frame says that it ends; null for none that could lie there."""
    if len(data) - place <= _FRAME.size:
        return None
    length, _ = _FRAME.unpack_from(data, place)
    end = place + _FRAME.size + length
    # A file that was enlarged and not filled reads as zeros: an empty body has the checksum 0.
    return end if length and end <= len(data) else None


def _is_whole(data: bytes, place: int, end: int) -> bool:
    _, checksum = _FRAME.unpack_from(data, place)
    return zlib.crc32(memoryview(data)[place + _FRAME.size : end]) == checksum


def _head(body: memoryview) -> SegmentHead | None:
    try:
        version, *fields = orjson.loads(body)
        return SegmentHead(*fields) if version == SEGMENT_VERSION else None
    except (ValueError, TypeError):
        return None


def _spooled(body: memoryview) -> Spooled:
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
    return Spooled(
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
