"""The tables of a pin that an export reads: all there, and all of one build.

**Tables of one pin may come from different times**: a derived table names the digests of its inputs, and an
export refuses events that are not those inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from tracelake.lake.pins.pins import OpenPin
from tracelake.schemas.errors import BadInputError, PinMissingError
from tracelake.schemas.events.columns import arrow_schema
from tracelake.schemas.pin import NEVER_LANDED


def check_tables(pin: OpenPin, target: str, tables: Sequence[str]) -> None:
    """Raises PinMissingError for a pin without these tables, BadInputError for tables of several builds."""
    names = ", ".join(tables)
    missing = [table for table in tables if not is_pinned(pin, table) and not _is_without_events(pin, table)]
    if missing:
        flags = " ".join(f"--table {table}" for table in tables)
        raise PinMissingError(
            f"pin {pin.pin.reference} lacks tables that an export to {target} reads",
            got=f"no {', '.join(missing)}",
            expected=names,
            cure=f"Run `tracelake build`, then `tracelake pin {pin.pin.name} {flags}`, without the tables "
            "of events that the lake does not have.",
        )
    for table in tables:
        if not is_pinned(pin, table):
            continue
        for name, digest in pin.pin.tables[table].inputs.items():
            if name in tables and is_pinned(pin, name) and pin.pin.tables[name].digest != digest:
                raise BadInputError(
                    f"table {table} of pin {pin.pin.reference} was derived from another version of {name}",
                    got=f"digest {pin.pin.tables[name].digest[:16]}",
                    expected=f"digest {digest[:16]}",
                    cure="Run `tracelake build`, pin the tables again, and export the new pin.",
                )


def is_pinned(pin: OpenPin, table: str) -> bool:
    return table in pin.pin.tables


def scan_or_empty(pin: OpenPin, table: str) -> pl.LazyFrame:
    """Rows of a table; of an event table that no event has landed in, none."""
    return pin.scan(table) if is_pinned(pin, table) else pl.LazyFrame(arrow_schema(table).empty_table())


def batches_by(frame: pl.LazyFrame, key: str, size: int) -> Iterator[list[str]]:
    """Distinct values of a text column in order, at most `size` at a time."""
    values = frame.select(pl.col(key).unique()).collect()[key].sort().to_list()
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _is_without_events(pin: OpenPin, table: str) -> bool:
    return any(pinned.inputs.get(table) == NEVER_LANDED for pinned in pin.pin.tables.values())
