"""Search a text for any of many literals, at more than a gigabyte per second.

**A hit may have a check** of the text behind it, for literals that are frequent in clean text.
**No hit hides another**: the library reports hits without overlaps. Where a hit fails its check, literals
that could begin within it are compared one by one.

The library compares many bytes at once for up to 16 literals, if they differ in their rarest bytes: hence
groups, short literals, and an order by length that mixes their letters (decision 0007 has figures).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import ahocorasick_rs

GROUP_SIZE = 16
PIECE_LENGTH = 8
"""Known secrets are searched by so many first bytes; the whole value is the check."""


class _Group(NamedTuple):
    literals: tuple[bytes, ...]
    checks: tuple[re.Pattern[bytes] | None, ...]
    overlaps: tuple[tuple[tuple[int, int], ...], ...]
    """For each literal: (offset, other literal) of the literals that may begin within it."""
    automaton: ahocorasick_rs.BytesAhoCorasick

    def positions(self, data: bytes) -> Iterator[int]:
        for index, start, _ in self.automaton.find_matches_as_indexes(data):
            check = self.checks[index]
            if check is None or check.match(data, start):
                yield start
                continue
            for offset, other in self.overlaps[index]:
                if data.startswith(self.literals[other], start + offset):
                    check = self.checks[other]
                    if check is None or check.match(data, start + offset):
                        yield start + offset


class LiteralSearch:
    """Anchors with their checks, and values that must be there in full."""

    def __init__(
        self, anchors: Iterable[str], checks: Mapping[str, re.Pattern[bytes]], values: Iterable[str] = ()
    ) -> None:
        sought: dict[bytes, re.Pattern[bytes] | None] = {
            anchor.encode(): checks.get(anchor)
            for anchor in sorted(set(anchors), key=lambda text: (len(text), text))
        }
        pieces = _pieces(values)
        group_count = -(-len({**sought, **pieces}) // GROUP_SIZE)
        anchor_list = list(sought)
        size = -(-len(anchor_list) // group_count)
        blocks = [anchor_list[start : start + size] for start in range(0, len(anchor_list), size)]
        for index, piece in enumerate(sorted(pieces.keys() - sought.keys())):
            blocks[index % len(blocks)].append(piece)
        # An anchor without a check finds whatever an equal piece would.
        sought = pieces | sought
        for piece in pieces.keys() & sought.keys():
            if (own := sought[piece]) is not None and own is not pieces[piece]:
                sought[piece] = _either([own, pieces[piece]])
        self._groups = [_group(block, sought) for block in blocks]

    def positions(self, data: bytes) -> Iterator[int]:
        """Byte offsets of literals that pass their checks; unordered, and without some that overlap. Empty
        only if there are none."""
        for group in self._groups:
            yield from group.positions(data)

    def hits(self, data: bytes) -> bool:
        return next(self.positions(data), None) is not None


def _pieces(values: Iterable[str]) -> dict[bytes, re.Pattern[bytes]]:
    wholes: dict[bytes, list[re.Pattern[bytes]]] = {}
    for value in values:
        data = value.encode("utf-8", "surrogatepass")
        wholes.setdefault(data[:PIECE_LENGTH], []).append(re.compile(re.escape(data)))
    return {piece: _either(expressions) for piece, expressions in wholes.items()}


def _either(expressions: list[re.Pattern[bytes]]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(b"(?:" + expression.pattern + b")" for expression in expressions))


def _group(literals: list[bytes], sought: Mapping[bytes, re.Pattern[bytes] | None]) -> _Group:
    return _Group(
        tuple(literals),
        tuple(sought[literal] for literal in literals),
        tuple(tuple(_overlaps(literal, literals)) for literal in literals),
        # The library has its vectorised search only for this kind of match.
        ahocorasick_rs.BytesAhoCorasick(literals, matchkind=ahocorasick_rs.MATCHKIND_LEFTMOST_FIRST),
    )


def _overlaps(literal: bytes, literals: list[bytes]) -> Iterator[tuple[int, int]]:
    for offset in range(len(literal)):
        rest = literal[offset:]
        for index, other in enumerate(literals):
            if (rest.startswith(other) or other.startswith(rest)) and not (offset == 0 and other == literal):
                yield offset, index
