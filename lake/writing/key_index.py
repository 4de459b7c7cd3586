"""Key hashes and event ids of many facts in memory, at 64 bytes a fact, and those under some keys among them.

**Exact**: the first bytes of a key's hash find its rows, the others decide.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa

HASH_BYTES = 32
PREFIX_BYTES = 8

Digests = np.ndarray[Any, np.dtype[np.uint8]]
"""Of shape (rows, 32)."""


class KeyIndex:
    """Never changes."""

    def __init__(self, keys: Digests, events: Digests) -> None:
        """Row by row; those of one key stay in their order."""
        prefixes = _prefixes(keys)
        order = np.argsort(prefixes, kind="stable")
        self._prefixes = prefixes[order]
        self._rests = keys[order, PREFIX_BYTES:]
        self._events = events[order]

    @classmethod
    def of(cls, rows: dict[str, str]) -> Self:
        """Key hash to event id, hexadecimal. Raises ValueError for what is no hash."""
        return cls(_digests(rows), _digests(rows.values()))

    @classmethod
    def of_table(cls, rows: pa.Table) -> Self:
        """Of the columns `key_hash` and `event_id`. Raises ValueError for what is no hash."""
        return cls(_column(rows["key_hash"]), _column(rows["event_id"]))

    def with_rows_of(self, other: KeyIndex) -> KeyIndex:
        """Both; this one's rows come first."""
        return KeyIndex(
            np.concatenate([self._keys(), other._keys()]), np.concatenate([self._events, other._events])
        )

    def __len__(self) -> int:
        return len(self._prefixes)

    def rows_of(self, key_hashes: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(key hash, event id) of each row under one of the keys, each key's rows in their order."""
        sought = _digests(key_hashes)
        prefixes = _prefixes(sought)
        begins = np.searchsorted(self._prefixes, prefixes, "left")
        ends = np.searchsorted(self._prefixes, prefixes, "right")
        for place in np.flatnonzero(ends > begins).tolist():
            rest = sought[place, PREFIX_BYTES:].tobytes()
            for row in range(begins[place], ends[place]):
                if self._rests[row].tobytes() == rest:
                    yield key_hashes[place], self._events[row].tobytes().hex()

    def rows(self) -> Iterator[tuple[str, str]]:
        """(key hash, event id) of all, in no order but that of one key's."""
        for key, event in zip(self._keys(), self._events, strict=True):
            yield key.tobytes().hex(), event.tobytes().hex()

    def _keys(self) -> Digests:
        prefixes = self._prefixes.view(np.uint8).reshape(-1, PREFIX_BYTES)
        return np.concatenate([prefixes, self._rests], axis=1)


def _prefixes(digests: Digests) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.ascontiguousarray(digests[:, :PREFIX_BYTES]).view(np.uint64).reshape(-1)


def _digests(hexadecimal: Iterable[str]) -> Digests:
    return _rows(bytes.fromhex("".join(hexadecimal)))


def _column(column: pa.ChunkedArray) -> Digests:
    """Straight from the text of a column, chunk by chunk: a table may have many millions of rows."""
    parts = [_rows(b"")]
    for chunk in column.chunks:
        if len(chunk):
            _, offsets, text = chunk.buffers()
            width = np.int64 if pa.types.is_large_string(chunk.type) else np.int32
            places = np.frombuffer(offsets, width)[chunk.offset : chunk.offset + len(chunk) + 1]
            if chunk.null_count or not (np.diff(places) == 2 * HASH_BYTES).all():
                raise ValueError("a hash of another length")
            parts.append(_rows(unhexlify(text[int(places[0]) : int(places[-1])])))
    return np.concatenate(parts)


def _rows(data: bytes) -> Digests:
    return np.frombuffer(data, np.uint8).reshape(-1, HASH_BYTES)
