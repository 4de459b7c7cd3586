"""Pairs of a pin whose teacher's answer may be exported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from tracelake.consumers.exports.pinned_tables import batches_by
from tracelake.consumers.exports.teacher_terms import PAIR_TABLE, Terms
from tracelake.lake.pins.pins import OpenPin

PAIRS_PER_BATCH = 1000
TRAINING_LEVEL = "L1"
"""Level of the pairs that `tracelake train` reads by default."""


def levels(pin: OpenPin, terms: Terms) -> list[str]:
    """Levels of the pairs that may be exported, that of training first."""
    found = _allowed(pin, terms).select(pl.col("level").unique()).collect()["level"]
    return sorted(found, key=lambda level: (level != TRAINING_LEVEL, level))


def pair_batches(pin: OpenPin, terms: Terms, level: str | None = None) -> Iterator[list[dict[str, Any]]]:
    """Rows of `training_rows` that may be exported, of one level or of all, ordered by pair."""
    rows = _allowed(pin, terms)
    if level is not None:
        rows = rows.filter(pl.col("level") == level)
    for pair_ids in batches_by(rows, "pair_id", PAIRS_PER_BATCH):
        yield rows.filter(pl.col("pair_id").is_in(pair_ids)).collect().sort("pair_id").to_dicts()


def _allowed(pin: OpenPin, terms: Terms) -> pl.LazyFrame:
    return pin.scan(PAIR_TABLE).filter(terms.allowed())
