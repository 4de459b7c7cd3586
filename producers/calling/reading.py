"""The bytes of an answer, read as server-sent events or as one JSON text, whichever came.

**What came decides, not what was asked for**: endpoints answer a request for a stream with one JSON text,
name a stream plain text, or put an error where events should be.
**A line is one event.** No endpoint of this interface breaks its JSON over several lines.
"""

from __future__ import annotations

from tracelake.producers.calling.answer_json import decoded
from tracelake.producers.calling.answer_parts import AnswerParts

_FIELDS = (b"data:", b":", b"event:", b"id:", b"retry:")
_BEGINNING_BYTES = 2000
_BOM = b"\xef\xbb\xbf"


class BodyTooLargeError(Exception):
    """An answer has more bytes than it may; inside of this package only."""


class Reading:
    """An answer as far as it has been read."""

    def __init__(self, byte_max: int) -> None:
        self.parts = AnswerParts()
        self.is_done = False
        """Nothing of the answer is to come any more."""
        self._byte_max = byte_max
        self._byte_count = 0
        self._is_stream: bool | None = None
        self._event_count = 0
        self._rest: list[bytes] = []
        self._stray: list[bytes] = []
        """Lines that are no events, or the event that could not be read."""

    @property
    def is_stream(self) -> bool:
        return self._event_count > 0

    @property
    def is_whole(self) -> bool:
        """Whether a stream said that its answer had ended."""
        return self.is_stream and (self.is_done or self.parts.finish_reason is not None)

    def feed(self, piece: bytes, *, is_event_stream: bool) -> None:
        """Take the next bytes; `is_event_stream` says what the headers say.

        Raises BodyTooLargeError; ValueError for an event that is no part of an answer.
        """
        self._byte_count += len(piece)
        if self._byte_count > self._byte_max:
            raise BodyTooLargeError
        self._rest.append(piece)
        if is_event_stream and (b"\n" in piece or b"\r" in piece):
            lines = b"".join(self._rest).splitlines(keepends=True)
            self._rest = [] if lines[-1].endswith((b"\n", b"\r")) else [lines.pop()]
            self._take(lines)

    def end(self) -> None:
        """Take what is left after the last byte. Raises ValueError, as `feed`."""
        rest = b"".join(self._rest)
        self._rest = []
        if self.is_stream or rest.lstrip().removeprefix(_BOM).startswith(_FIELDS):
            lines = rest.splitlines(keepends=True)
            self._take(lines[:-1])
            self._take_last(lines[-1:])
        elif text := b"".join([*self._stray, rest]).strip().removeprefix(_BOM):
            self._stray = [text[:_BEGINNING_BYTES]]
            self.parts.add(decoded(text))

    def beginning(self) -> str:
        """The first of what could not be read, for a reader of failures."""
        return b"".join([*self._stray, *self._rest])[:_BEGINNING_BYTES].decode("utf-8", "backslashreplace")

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            if line.startswith(b"data:"):
                self._take_event(line[5:].strip())
            elif not self._event_count and not line.startswith(_FIELDS) and line.strip():
                self._stray.append(line)

    def _take_last(self, lines: list[bytes]) -> None:
        """A last line without an end may be cut: it counts if it can be read."""
        try:
            self._take(lines)
        except ValueError:
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
        except ValueError:
            self._stray = [data[:_BEGINNING_BYTES]]
            raise
