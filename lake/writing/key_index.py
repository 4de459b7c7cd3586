"""An immutable index from key hashes to event ids, at 64 bytes of memory per event.

**Exact**: the first bytes of a key's hash find candidate rows, the other bytes decide.
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
"""[rows, 32]"""


class KeyIndex:
    """Rows of (key hash, event id), sorted by the key's first bytes."""

    def __init__(self, keys: Digests, events: Digests) -> None:
        """Rows of one key stay in their order."""
        prefixes = _prefixes(keys)
        order = np.argsort(prefixes, kind="stable")
        self._prefixes = prefixes[order]
        self._rests = keys[order, PREFIX_BYTES:]
        self._events = events[order]

    @classmethod
    def of(cls, rows: dict[str, str]) -> Self:
        """From key hash to event id, in hexadecimal. Raises ValueError for a malformed hash."""
        return cls(_digests(rows), _digests(rows.values()))

    @classmethod
    def of_table(cls, rows: pa.Table) -> Self:
        """From the columns `key_hash` and `event_id`. Raises ValueError for a malformed hash."""
        return cls(_column(rows["key_hash"]), _column(rows["event_id"]))

    def with_rows_of(self, other: KeyIndex) -> KeyIndex:
        """An index of both; under one key, this one's rows come first."""
        return KeyIndex(
            np.concatenate([self._keys(), other._keys()]), np.concatenate([self._events, other._events])
        )

    def __len__(self) -> int:
        return len(self._prefixes)

    def rows_of(self, key_hashes: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(key hash, event id) of each row with one of the keys; rows of one key in their order."""
        sought = _digests(key_hashes)
        prefixes = _prefixes(sought)
        starts = np.searchsorted(self._prefixes, prefixes, "left")
        ends = np.searchsorted(self._prefixes, prefixes, "right")
        for number in np.flatnonzero(ends > starts).tolist():
            rest = sought[number, PREFIX_BYTES:].tobytes()
            for row in range(starts[number], ends[number]):
                if self._rests[row].tobytes() == rest:
                    yield key_hashes[number], self._events[row].tobytes().hex()

    def rows(self) -> Iterator[tuple[str, str]]:
        """(key hash, event id) of all rows; rows of one key in their order."""
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
    """Straight from the column's text buffers: a table may have many millions of rows."""
    chunks = [_rows(b"")]
    for chunk in column.chunks:
        if len(chunk):
            _, offsets, text = chunk.buffers()
            width = np.int64 if pa.types.is_large_string(chunk.type) else np.int32
            bounds = np.frombuffer(offsets, width)[chunk.offset : chunk.offset + len(chunk) + 1]
            if chunk.null_count or not (np.diff(bounds) == 2 * HASH_BYTES).all():
                raise ValueError("a hash of another length")
            chunks.append(_rows(unhexlify(text[int(bounds[0]) : int(bounds[-1])])))
    return np.concatenate(chunks)


def _rows(data: bytes) -> Digests:
    return np.frombuffer(data, np.uint8).reshape(-1, HASH_BYTES)
