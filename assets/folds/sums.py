"""Sums over values that may be unknown."""

from __future__ import annotations

import polars as pl


def known_sum(values: pl.Expr) -> pl.Expr:
    """The sum of the values that are known; null if none is. Polars sums nothing to 0, which would be a
    claim."""
    return pl.when(values.count() > 0).then(values.sum())
