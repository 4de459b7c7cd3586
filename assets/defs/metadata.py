"""Metadata that Dagster shows of a table: rows, schema, digest, inputs, a plot."""

from __future__ import annotations

import base64
from typing import Any

import altair as alt
import dagster as dg
import polars as pl
import vl_convert

from tracelake.schemas.pin import PinnedTable

PLOT_BYTES_MAX = 100_000
PLOT_CATEGORIES_MAX = 20


def table_metadata(
    name: str, uri: str, frame: pl.DataFrame, state: PinnedTable, plot_column: str | None
) -> dict[str, Any]:
    columns = [dg.TableColumn(column, str(kind)) for column, kind in frame.schema.items()]
    metadata: dict[str, Any] = {
        "dagster/row_count": state.row_count,
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/table_name": name,
        "dagster/uri": f"{uri}/tables/{name}.lance",
        "dagster/storage_kind": "lance",
        "lance_version": state.version,
        "digest": state.digest,
        "inputs": dg.MetadataValue.json(state.inputs),
        "parameters": dg.MetadataValue.json(state.parameters),
    }
    if plot_column is not None and frame.height:
        metadata["plot"] = dg.MetadataValue.md(f"![]({distribution_png(frame, plot_column)})")
    return metadata


def distribution_png(frame: pl.DataFrame, column: str) -> str:
    """Data URL of a small chart: a histogram of numbers, or bars for the most frequent texts."""
    values = frame.select(column).drop_nulls()
    base = alt.Chart(width=320, height=160)
    if values.schema[column].is_numeric():
        counts = values.to_series().hist(bin_count=20).select(pl.col("breakpoint").alias(column), "count")
        chart = base.mark_bar().encode(
            x=alt.X(column, type="quantitative"), y=alt.Y("count", type="quantitative")
        )
    else:
        counts = values.group_by(column).len("count").sort("count", column, descending=[True, False])
        counts = counts.head(PLOT_CATEGORIES_MAX)
        chart = base.mark_bar().encode(
            x=alt.X("count", type="quantitative"), y=alt.Y(column, type="nominal", sort="-x")
        )
    data = chart.properties(data=alt.Data(values=counts.to_dicts()))
    png = vl_convert.vegalite_to_png(data.to_dict(), scale=1)
    return f"data:image/png;base64,{base64.b64encode(png).decode()}" if len(png) <= PLOT_BYTES_MAX else ""
