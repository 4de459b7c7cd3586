"""Copies of a text in which hidden secrets can be read: without colour codes, percent- or base64-decoded.

**A place in a copy is a place in the text**: a secret is replaced where it stands, with all its codes.
**Work is bounded**: two levels of percent-encoding, one of base64, every letter decoded four times at most.
**Base64 counts from `BASE64_LENGTH_MIN` letters**, also in lines. Shorter ones look like names and
paths at the speed that clean text needs (decision 0007).
"""

from __future__ import annotations

import base64
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BLOCK = 192
BASE64_LENGTH_MIN = 2 * BLOCK
BLOCK_DISTINCT_MIN = 20
"""Rules, numbers and paths have fewer different letters."""
PERCENT_DEPTH_MAX = 2

COLOUR_START = "\x1b["
COLOUR_START_IN_JSON = "u001b["
_COLOUR = r"[0-9;:?]{0,40}[ -/]?[@-~]"
_COLOURS = re.compile(rf"\x1b\[{_COLOUR}")
_COLOURS_IN_JSON = re.compile(rb"\\{1,64}u001b\[" + _COLOUR.encode())
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})")
_LINE_END = re.compile(r"\r?\n|\\{1,4}[nr]")
_BASE64 = re.compile(
    rf"(?<![A-Za-z0-9+/_\\-])(?:[A-Za-z0-9+/_-]|\r?\n|\\{{1,4}}[nr]){{{BASE64_LENGTH_MIN},}}+"
)
_RUN = re.compile(rb"(?:[A-Za-z0-9+/_-]|\\+[nr]|\r?\n)*+")
_NOT_LETTERS = re.compile(rb"\\+[nr]|[^A-Za-z0-9+/_-]+")
_STANDARD = bytes.maketrans(b"-_", b"+/")

_LOW = np.uint64(0x2B2B2B2B2B2B2B2B)
_HIGH_BITS = np.uint64(0x8080808080808080)
_LETTERS = np.zeros(256, dtype=bool)
_LETTERS[np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_\\", np.uint8)] = (
    True
)


class _Piece(NamedTuple):
    copy_start: int
    start: int
    end: int
    """Of the original; for a decoded letter more than one character."""
    is_letter: bool


class TextCopy(NamedTuple):
    """A changed text and the places that its characters come from."""

    text: str
    pieces: list[_Piece]

    def place(self, start: int, end: int) -> tuple[int, int]:
        """The place in the original of a not empty stretch of the copy."""
        return self._piece_place(start)[0], self._piece_place(end - 1)[1]

    def _piece_place(self, index: int) -> tuple[int, int]:
        piece = self.pieces[bisect_right(self.pieces, index, key=lambda each: each.copy_start) - 1]
        if piece.is_letter:
            return piece.start, piece.end
        start = piece.start + index - piece.copy_start
        return start, start + 1


def whole_copy(text: str) -> TextCopy:
    return TextCopy(text, [_Piece(0, 0, len(text), is_letter=False)])


def copies(text: str) -> Iterator[TextCopy]:
    """Without colour codes, then percent-decoded; nothing for a text that has neither."""
    copy = whole_copy(text)
    if COLOUR_START in text:
        copy = replaced(copy, _COLOURS, lambda _: "")
        yield copy
    for _ in range(PERCENT_DEPTH_MAX):
        if not _PERCENT.search(copy.text):
            return
        copy = replaced(copy, _PERCENT, lambda match: chr(int(match[1], 16)))
        yield copy


def replaced(copy: TextCopy, expression: re.Pattern[str], by: Callable[[re.Match[str]], str]) -> TextCopy:
    """A copy of a copy in which each match is replaced by one character or none."""
    texts: list[str] = []
    pieces: list[_Piece] = []
    length = done = 0

    def keep(start: int, end: int) -> None:
        nonlocal length
        for piece in _pieces_between(copy, start, end):
            pieces.append(piece._replace(copy_start=length + piece.copy_start - start))
        texts.append(copy.text[start:end])
        length += end - start

    for match in expression.finditer(copy.text):
        keep(done, match.start())
        done = match.end()
        if letter := by(match):
            pieces.append(_Piece(length, *copy.place(*match.span()), is_letter=True))
            texts.append(letter)
            length += 1
    keep(done, len(copy.text))
    return TextCopy("".join(texts), pieces)


def _pieces_between(copy: TextCopy, start: int, end: int) -> Iterator[_Piece]:
    """The copy's pieces from `start` to `end`, the first one cut to begin there."""
    if start == end:
        return
    at = bisect_right(copy.pieces, start, key=lambda each: each.copy_start) - 1
    first = copy.pieces[at]
    if not first.is_letter:
        first = first._replace(copy_start=start, start=first.start + start - first.copy_start)
    yield first
    for piece in copy.pieces[at + 1 :]:
        if piece.copy_start >= end:
            return
        yield piece


class DecodedBase64(NamedTuple):
    """The bytes of a base64 text as characters, and where their letters are."""

    text: str
    letters: TextCopy
    start: int
    """Of the base64 text in the whole."""
    shift: int

    def place(self, start: int, end: int) -> tuple[int, int]:
        """The place of all letters that have a part in these bytes."""
        first = self.shift + start // 3 * 4
        last = min(self.shift + -(-end // 3) * 4, len(self.letters.text))
        placed = self.letters.place(first, last)
        return self.start + placed[0], self.start + placed[1]


def decoded_base64(text: str) -> Iterator[DecodedBase64]:
    """Each long base64 text, decoded from each of its first four letters."""
    for match in _BASE64.finditer(text):
        run = match[0]
        letters = replaced(whole_copy(run), _LINE_END, lambda _: "")
        data = letters.text.encode()
        for shift in range(4):
            yield DecodedBase64(_decoded(data[shift:]).decode("latin-1"), letters, match.start(), shift)


def base64_runs(data: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """The place of each long base64 text, and its bytes from each of its first four letters."""
    done = 0
    for position in _long_words(data):
        if position < done or len(set(data[position : position + BLOCK])) < BLOCK_DISTINCT_MIN:
            continue
        run = _RUN.match(data, position)
        done = position + BLOCK if run is None else run.end()
        # Whatever stands before the text shifts its letters: all four shifts are tried.
        letters = _NOT_LETTERS.sub(b"", data[max(0, position - BLOCK) : done])
        yield position, [_decoded(letters[shift:]) for shift in range(4)]


def without_colours_in_json(payload: bytes) -> bytes:
    return _COLOURS_IN_JSON.sub(b"", payload)


def without_colours(data: bytes) -> bytes:
    return _COLOURS.sub("", data.decode("utf-8", "surrogatepass")).encode("utf-8", "surrogatepass")


def _decoded(letters: bytes) -> bytes:
    return base64.b64decode(letters[: len(letters) // 4 * 4].translate(_STANDARD))


def _long_words(data: bytes) -> list[int]:
    """Places of blocks of base64 letters: eight bytes of each block first, the next for what is left."""
    if len(data) < BASE64_LENGTH_MIN:
        return []
    word_count = BLOCK // 8
    words = np.frombuffer(data, np.uint64, len(data) // BLOCK * word_count)
    blocks = np.flatnonzero(_without_marks(words[::word_count].copy())) * word_count
    for index in range(word_count // 2, 0, -2):
        if not blocks.size:
            return []
        blocks = blocks[_without_marks(words.take(blocks + index))]
    rows = np.frombuffer(data, np.uint8, len(words) * 8).reshape(-1, BLOCK)[blocks // word_count]
    places: list[int] = (blocks[_LETTERS[rows].all(axis=1)] * 8).tolist()
    return places


def _without_marks(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which words of eight bytes have none below `+` and none beyond ASCII."""
    marks = words - _LOW
    marks |= words
    marks &= _HIGH_BITS
    return marks == 0
