"""The bytes of an answer, read as server-sent events or as one JSON text.

**The bytes decide, not the request**: endpoints answer a request for a stream with one JSON text, label a
stream as plain text, or send an error in place of events.
**A line is one event.** No endpoint of this interface breaks its JSON over several lines.
"""

from __future__ import annotations

from tracelake.producers.calling.answer_parts import AnswerParts
from tracelake.producers.calling.answer_shape import AnswerShapeError, decoded

_FIELDS = (b"data:", b":", b"event:", b"id:", b"retry:")
_BEGINNING_BYTES = 2000
_BOM = b"\xef\xbb\xbf"


class BodyTooLargeError(Exception):
    """An answer has more bytes than allowed."""


class AnswerReader:
    """Collects `parts` from the bytes of one answer."""

    def __init__(self, byte_max: int) -> None:
        self.parts = AnswerParts()
        self.is_done = False
        """Whether the stream said `[DONE]`."""
        self._byte_max = byte_max
        self._byte_count = 0
        self._event_count = 0
        # Not lists of pieces: two bytes as an object of their own take 28 times their size.
        self._rest = bytearray()
        self._unread = bytearray()
        """Lines that are no events, or the event that could not be read."""

    @property
    def is_stream(self) -> bool:
        return self._event_count > 0

    @property
    def is_whole(self) -> bool:
        """Whether a stream has said that its answer is complete."""
        return self.is_stream and (self.is_done or self.parts.finish_reason is not None)

    def feed(self, piece: bytes, *, is_event_stream: bool) -> None:
        """Take the next bytes; `is_event_stream` comes from the headers.

        Raises BodyTooLargeError; AnswerShapeError for an event that is no part of an answer.
        """
        self._byte_count += len(piece)
        if self._byte_count > self._byte_max:
            raise BodyTooLargeError
        self._rest += piece
        if is_event_stream and (b"\n" in piece or b"\r" in piece):
            lines = bytes(self._rest).splitlines(keepends=True)
            self._rest = bytearray() if lines[-1].endswith((b"\n", b"\r")) else bytearray(lines.pop())
            self._take(lines)

    def end(self) -> None:
        """Take the rest after the last byte. Raises AnswerShapeError."""
        rest = bytes(self._rest)
        self._rest = bytearray()
        if self.is_stream or rest.lstrip().removeprefix(_BOM).startswith(_FIELDS):
            lines = rest.splitlines(keepends=True)
            self._take(lines[:-1])
            self._take_last(lines[-1:])
        elif text := bytes(self._unread + rest).strip().removeprefix(_BOM):
            self._unread = bytearray(text[:_BEGINNING_BYTES])
            self.parts.add(decoded(text))

    def beginning(self) -> str:
        """The first bytes that could not be read, for the detail of a failure."""
        return (self._unread + self._rest)[:_BEGINNING_BYTES].decode("utf-8", "backslashreplace")

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            if line.startswith(b"data:"):
                self._take_event(line[5:].strip())
            elif not self._event_count and not line.startswith(_FIELDS) and line.strip():
                self._unread += line

    def _take_last(self, lines: list[bytes]) -> None:
        """A last line without an end may be cut: it counts if it can be read."""
        try:
            self._take(lines)
        except AnswerShapeError:
            if lines[0].endswith((b"\n", b"\r")):
                raise

    def _take_event(self, data: bytes) -> None:
        self._event_count += 1
        if self.is_done or not data:
            return
        if data == b"[DONE]":
            self.is_done = True
            return
        try:
            self.parts.add(decoded(data))
        except AnswerShapeError:
            self._unread = bytearray(data[:_BEGINNING_BYTES])
            raise
