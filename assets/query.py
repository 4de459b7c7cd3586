"""SQL over the lake's tables, through Polars."""

from __future__ import annotations

from typing import Any

import polars as pl

from tracelake.lake import Lake
from tracelake.lake.pins.pins import OpenPin
from tracelake.schemas.errors import QueryError


def run_query(lake: Lake, sql: str, at: str | None = None) -> pl.DataFrame:
    """Rows of a SELECT over the newest versions, or over a pin `name@N`. Raises QueryError.

    Events are projected first, so that a query sees all events acknowledged before it.
    """
    context = pl.SQLContext()
    for name, table in _tables(lake, at).items():
        context.register(name, table)
    try:
        return context.execute(sql, eager=True)
    except pl.exceptions.PolarsError as error:
        raise QueryError(
            "the query cannot be run",
            got=str(error).splitlines()[0],
            expected=f"SQL over {', '.join(context.tables())}",
            cure="`tracelake query` without an argument lists tables and columns.",
        ) from error


def list_tables(lake: Lake, at: str | None = None) -> list[dict[str, Any]]:
    """Name, rows, version and columns of each table."""
    opened = None if at is None else lake.open_pin(at)
    if opened is None:
        lake.project()
    names = lake.tables() if opened is None else list(opened.pin.tables)
    rows: list[dict[str, Any]] = []
    for name in names:
        state = lake.state(name) if opened is None else opened.pin.tables[name]
        columns = (lake.scan(name) if opened is None else opened.scan(name)).collect_schema().names()
        rows.append(
            {"table": name, "rows": state.row_count, "version": state.version, "columns": ", ".join(columns)}
        )
    return rows


def _tables(lake: Lake, at: str | None) -> dict[str, pl.LazyFrame]:
    if at is not None:
        opened: OpenPin = lake.open_pin(at)
        return {name: opened.scan(name) for name in opened.pin.tables}
    lake.project()
    return {name: lake.scan(name) for name in lake.tables()}
