"""From bytes to JSON values: exact, bounded, and with a reason for what is not JSON.

Flow: `utf8` or `Utf8Reader` → `parse_json` of a document or a line → where a list is damaged, `list_elements`
finds the elements that are whole.

**No digit is lost**: an integer beyond 64 bits stays an integer.
**No value is repaired**: NaN, infinities, lone surrogates, control characters and torn text are refused, and
the message names the value, its place and a cure.
**Memory is bounded before it is used**: text whose values would take too much is refused by name.
"""

from __future__ import annotations

import codecs
import io
import json
import math
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import orjson

from tracelake.schemas.errors import SourceFormatError

DOCUMENT_BYTES_MAX = 200 * 10**6
"""Of one JSON value: a document, or a line of JSON lines."""
PARSED_BYTES_MAX = 10**9
UNCHECKED_BYTES = 24 * 10**6
"""Values of less text than this stay below the bound, whatever the text is."""
CHUNK_BYTES = 2**20

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The longer mark first: that of UTF-32 begins like that of UTF-16.
_ENCODINGS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"{\x00", "utf-16-le"),
    (b"[\x00", "utf-16-le"),
    (b"\x00{", "utf-16-be"),
    (b"\x00[", "utf-16-be"),
)
_DIGITS_AS_ZERO = bytes(48 if 48 <= code <= 57 else 32 for code in range(256))
_LONG_INTEGER = re.compile(rb"(?<![\w.+])-?[0-9]{19,}(?![0-9.eE])")
_NOT_A_NUMBER = re.compile(r"-?Infinity|NaN|-?inf\b|nan\b")
_LONE_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
# UTF-8 of U+D800 to U+DFFF would begin with this byte, where the decoder finds an error.
_SURROGATE_LEAD = 0xED
_BLANK = re.compile(r"[ \t\r\n]*")
_STANDARD_CURE = "Write each value as RFC 8259 says."
_TORN_CURE = "The file was cut off while it was written or copied: copy it again."
_DECODER = json.JSONDecoder(strict=False, parse_int=lambda _: 0, parse_float=lambda _: 0.0)


class Element(NamedTuple):
    """One element of a damaged list: its text, and its value or what is wrong with it."""

    data: bytes
    value: Any
    error: SourceFormatError | None


def parse_json(data: bytes) -> Any:
    """The value of UTF-8 text. Raises SourceFormatError."""
    require_bounded(data)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if data.startswith(_BYTE_ORDER_MARK):
            return parse_json(data.removeprefix(_BYTE_ORDER_MARK))
        if "infinity" in error.msg:
            # It may be an integer, which has no limit.
            return _parse_exactly(data, error)
        raise _reason(data, error) from error
    except (MemoryError, SystemError) as error:
        raise _too_large(f"{len(data)} bytes of JSON", "less than the free memory") from error
    return _parse_exactly(data) if _has_long_integer(data) else value


def list_elements(data: bytes) -> Iterator[Element]:
    """The elements of a list that cannot be parsed as a whole. What follows a place where the next element
    cannot be found is one last element with its error."""
    text = data.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "surrogateescape")
    place = _after_blank(text, 0)
    if text[place : place + 1] != "[":
        return
    while True:
        start = place = _after_blank(text, place + 1)
        if text[place : place + 1] == "]":
            return
        try:
            _, place = _DECODER.raw_decode(text, start)
            place = _after_blank(text, place)
            whole = text[place : place + 1] in (",", "]")
        except (ValueError, RecursionError):
            whole = False
        element = text[start : place if whole else None].encode("utf-8", "surrogateescape")
        try:
            value = parse_json(element)
            if not whole:
                raise SourceFormatError("a torn list", got="no `,` or `]` after it", cure=_TORN_CURE)
            yield Element(element, value, None)
        except SourceFormatError as error:
            yield Element(element, None, error)
        if not whole or text[place : place + 1] == "]":
            return


def encoding_of(head: bytes) -> str | None:
    """The encoding if it is a known one other than UTF-8."""
    return next((name for mark, name in _ENCODINGS if head.startswith(mark)), None)


def utf8(data: bytes) -> bytes:
    """The text as UTF-8 without its byte order mark. Lone surrogates stay, to be refused where they are."""
    encoding = encoding_of(data[:4])
    if encoding is None:
        return data.removeprefix(_BYTE_ORDER_MARK)
    return io.BufferedReader(Utf8Reader(io.BytesIO(data), encoding)).read()


class Utf8Reader(io.RawIOBase):
    """Text of another encoding as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._pending = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self._pending and not self._ended:
            self._pending = self._next()
        data = self._pending[: len(buffer)]
        self._pending = self._pending[len(data) :]
        buffer[: len(data)] = data
        return len(data)

    def _next(self) -> bytes:
        chunk = self._file.read(CHUNK_BYTES)
        self._ended = not chunk
        try:
            text = self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError:
            self._ended = True
            # No UTF-8: the line that contains it is refused.
            return b"\xff"
        return text.removeprefix("\ufeff").encode("utf-8", "surrogatepass")


def parsed_bytes(data: bytes) -> int:
    """About how much memory the values of JSON text take, from above."""
    return len(data) + 200 * data.count(b"{") + 64 * data.count(b"[") + 36 * data.count(b",")


def require_bounded(data: bytes) -> None:
    """Raises SourceFormatError if the values of the text would take too much memory."""
    if len(data) <= UNCHECKED_BYTES:
        return
    if len(data) > DOCUMENT_BYTES_MAX:
        raise _too_large(f"{len(data)} bytes", f"{DOCUMENT_BYTES_MAX} at most")
    needed = parsed_bytes(data)
    if needed > PARSED_BYTES_MAX:
        raise _too_large(f"values of about {needed // 10**6} MB", f"{PARSED_BYTES_MAX // 10**6} MB at most")


def _too_large(got: str, expected: str) -> SourceFormatError:
    cure = "Write its records as JSON lines, one record on each line; those are read one after the other."
    return SourceFormatError("a JSON value too large to read whole", got=got, expected=expected, cure=cure)


def _has_long_integer(data: bytes) -> bool:
    """Whether an integer may have 19 digits or more. 19 digits cover three of the places 0, 6, 12, …, and to
    look at a sixth of the text first takes a quarter of the time."""
    if len(data) < 256:
        return _LONG_INTEGER.search(data) is not None
    sample = data[::6].translate(_DIGITS_AS_ZERO)
    place = sample.find(b"000")
    while place >= 0:
        start = max(0, place * 6 - 24)
        if _LONG_INTEGER.search(data, start, place * 6 + 64):
            return True
        place = sample.find(b"000", place + 1)
    return False


def _parse_exactly(data: bytes, infinite: orjson.JSONDecodeError | None = None) -> Any:
    """By the standard parser, which keeps integers of any size. `infinite` is the error of a parser that
    found a number too large for it, and no other error before."""

    def finite(digits: str) -> float:
        number = float(digits)
        if infinite is not None and math.isinf(number):
            raise _reason(data, infinite) from infinite
        return number

    def no_number(name: str) -> float:
        raise _not_json(name, "Write null where there is no number.")

    try:
        return json.loads(data, parse_float=finite, parse_constant=no_number)
    except SourceFormatError:
        raise
    except json.JSONDecodeError as error:
        raise _not_json(f"{error.msg} at character {error.pos + 1}", _STANDARD_CURE) from error
    except (ValueError, RecursionError) as error:
        raise SourceFormatError(
            "JSON with an integer that cannot be read exactly",
            got=type(error).__name__,
            expected="integers of 4,300 digits at most, and lists and objects nested less than 1,000 deep",
            cure="Write the number as text.",
        ) from error


def _reason(data: bytes, error: orjson.JSONDecodeError) -> SourceFormatError:
    """What is wrong, with the value that is wrong and a cure; never with the text around it."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as wrong:
        if data[wrong.start] == _SURROGATE_LEAD:
            return _lone_surrogate("", wrong.start)
        return _not_json(
            f"no UTF-8 at byte {wrong.start + 1} of {len(data)}",
            "Convert the text to UTF-8, or the record to JSON if it is no text.",
        )
    place = error.pos
    if found := _NOT_A_NUMBER.search(text, max(0, place - 1), place + 10):
        return _not_json(
            f"{found[0]} at character {found.start() + 1}", "Write null where there is no number."
        )
    if "surrogate" in error.msg:
        # The parser names the start of the string.
        lone = _LONE_SURROGATE.search(text, place)
        return _lone_surrogate(lone[0] if lone else "", lone.start() if lone else place)
    if "end of data" in error.msg or place >= len(text.rstrip()):
        return _not_json(f"text that ends at character {len(text)}, before its value does", _TORN_CURE)
    if "control character" in error.msg:
        code = f"U+{ord(text[place]):04X}"
        return _not_json(f"the control character {code} at character {place + 1}", "Escape it, as \\u00XX.")
    if "infinity" in error.msg:
        return _not_json(f"a number beyond 1.8e308 at character {place + 1}", "Write null in its place.")
    if "depth" in error.msg:
        return _not_json(f"more than 1,024 levels at character {place + 1}", "Write it less nested.")
    return _not_json(f"{error.msg} at character {place + 1}", _STANDARD_CURE)


def _lone_surrogate(escape: str, place: int) -> SourceFormatError:
    name = f"the lone surrogate {escape}".rstrip()
    return _not_json(
        f"{name} at character {place + 1}", "Write the whole character, or \\ufffd in its place."
    )


def _not_json(got: str, cure: str) -> SourceFormatError:
    return SourceFormatError("not JSON text", got=got, expected="well-formed JSON", cure=cure)


def _after_blank(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    return found.end() if found else place
