"""Upcasts: rows of an older schema version, read as rows of the current one.

**Landed files are never rewritten.** A change of a kind's schema raises its SCHEMA_VERSION and adds one
pure function here, from the version before it. Reading applies them in order.
**A new nullable field needs no function**: reading fills it with null.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.events.columns import arrow_schema
from tracelake.schemas.events.kinds import class_of_kind

Upcast = Callable[[pa.Table], pa.Table]

UPCASTS: dict[tuple[str, int], Upcast] = {}
"""(kind, version) to the function that lifts rows of that version to the next."""


def upcast(
    table: pa.Table, kind: str, version: int, upcasts: dict[tuple[str, int], Upcast] = UPCASTS
) -> pa.Table:
    """A landed table of one schema version, lifted to the current version. Raises EventInvalidError."""
    current = class_of_kind(kind).SCHEMA_VERSION
    if version > current:
        raise EventInvalidError(
            f"{kind} events of a newer schema",
            got=f"version {version}",
            expected=f"at most {current}",
            cure="Upgrade tracelake.",
        )
    for older in range(version, current):
        if (kind, older) not in upcasts:
            raise EventInvalidError(
                f"no upcast for {kind} events", got=f"version {older}", expected=f"one to {older + 1}"
            )
        table = upcasts[kind, older](table)
    return conformed(table, arrow_schema(kind))


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the schema's column order and types; absent nullable columns become null.

    Raises EventInvalidError for an unknown column, or a required one that is missing.
    """
    unknown = sorted(set(table.column_names) - set(schema.names))
    if unknown:
        raise EventInvalidError("unknown columns", got=", ".join(unknown), expected=", ".join(schema.names))
    columns: list[pa.ChunkedArray | pa.Array] = []
    for field in schema:
        if field.name in table.column_names:
            columns.append(table.column(field.name).cast(field.type))
        elif field.nullable:
            columns.append(pa.nulls(table.num_rows, field.type))
        else:
            raise EventInvalidError(
                "a required column is missing", got=", ".join(table.column_names), expected=field.name
            )
    return pa.Table.from_arrays(columns, schema=schema)
