"""Keys and event ids of many rows in memory, at 160 bytes a row, and the rows of some keys among them.

**Exact**: a fingerprint finds the rows, their texts decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import polars as pl
import pyarrow as pa


class KeyIndex:
    """Never changes."""

    def __init__(self, rows: pa.Table) -> None:
        self._keys = cast("pl.Series", pl.from_arrow(rows["key_hash"]))
        self._events = cast("pl.Series", pl.from_arrow(rows["event_id"]))
        fingerprints = self._keys.hash().to_numpy()
        # Stable: rows of one key stay in the order of the table.
        self._order = np.argsort(fingerprints, kind="stable")
        self._fingerprints = fingerprints[self._order]

    def rows_of(self, key_hashes: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(key hash, event id) of each row under one of the keys, in the order of the table for each key."""
        sought = pl.Series(key_hashes, dtype=pl.String).hash().to_numpy()
        begins = np.searchsorted(self._fingerprints, sought, "left")
        ends = np.searchsorted(self._fingerprints, sought, "right")
        for place in np.flatnonzero(ends > begins).tolist():
            key_hash = key_hashes[place]
            for row in self._order[begins[place] : ends[place]].tolist():
                if self._keys[row] == key_hash:
                    yield key_hash, self._events[row]
