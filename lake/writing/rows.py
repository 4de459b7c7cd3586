"""Events of one kind as the rows of a landed file, without the spool in between."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

import pyarrow as pa

from tracelake.lake.writing.columns import landed_table, packed_lists
from tracelake.schemas.events.columns import arrow_schema
from tracelake.schemas.events.event import Event, vector_fields
from tracelake.schemas.events.identity import EventIdentity
from tracelake.schemas.events.kinds import class_of_kind
from tracelake.schemas.events.vector import packed

ROWS_AT_ONCE = 80
"""Rows that are transposed at a time, few enough to stay in the processor's cache."""


class EventRow(NamedTuple):
    """An event with its identity and envelope. The payload's text is not needed any more."""

    event: Event
    identity: EventIdentity
    provenance: str
    source_uri: str | None
    source_hash: str | None
    redactions_json: str | None = None
    payload_byte_count: int | None = None


def event_rows_to_table(
    kind: str, rows: Sequence[EventRow], first_seq: int, *, run_id: str, epoch: str, recorded_at: datetime
) -> pa.Table:
    """Rows of one kind, numbered from `first_seq` in their order."""
    names = [name for name in class_of_kind(kind).model_fields if name != "kind"]
    values: dict[str, Any] = {name: [] for name in (*names, *EventIdentity._fields, *EventRow._fields[2:])}
    fields_of = itemgetter(*names)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        # One pass per column would fetch each row from memory again, one pass over all rows each value.
        events, identities, *envelope = zip(*rows[start : start + ROWS_AT_ONCE], strict=True)
        payloads = zip(*map(fields_of, [event.__dict__ for event in events]), strict=True)
        chunks = (*payloads, *zip(*identities, strict=True), *envelope)
        for column, chunk in zip(values.values(), chunks, strict=True):
            column.extend(chunk)
    for name, typecode in vector_fields(class_of_kind(kind)):
        values[name] = packed_lists(
            typecode, [None if vector is None else packed(typecode, vector) for vector in values[name]]
        )
    values["writer_seq"] = range(first_seq, first_seq + len(rows))
    constants = {"run_id": run_id, "writer_epoch": epoch, "recorded_at": recorded_at}
    return landed_table(arrow_schema(kind), values, constants, len(rows))
