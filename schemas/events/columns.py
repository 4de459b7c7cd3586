"""Arrow schemas rendered from the pydantic events: one source for names, types, nullability and descriptions.

**The envelope comes first**, the same columns for every kind; then the fields of the class, in their order.
**A field's attribute docstring becomes its metadata `description`.**
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.events.event import Event, Moment, storage_of
from tracelake.schemas.events.kinds import CLASS_OF_KIND, class_of_kind

MICROSECONDS_UTC = pa.timestamp("us", tz="UTC")


class Envelope(BaseModel):
    """The columns that a writer adds to an event when it accepts it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    event_id: str
    """SHA-256 over key hash and payload hash: the identity of the event."""
    kind: str
    """The type of event; each kind has one table."""
    schema_version: int
    """Version of the kind's schema when it was written; reading lifts older versions to the current one."""
    key_hash: str
    """SHA-256 over kind and natural key."""
    payload_hash: str
    """SHA-256 over the canonical payload."""
    recorded_at: Moment
    """When the writer accepted it, UTC."""
    run_id: str
    """The run that wrote it."""
    writer_epoch: str
    """Identifies one opening of one writer; sorts by start time."""
    writer_seq: int
    """Sequence number, contiguous from 0 within the epoch, over all kinds."""
    provenance: Literal["live", "imported", "derived"]
    """`live`: recorded as it happened; `imported`: read from a file; `derived`: from other events, by the
    lake or a fold."""
    source_uri: str | None = None
    """Where an imported event was read from."""
    source_hash: str | None = None
    """SHA-256 of the source file."""
    redactions_json: str | None = None
    """How many secrets of each type redaction removed before anything was written; null if none."""
    payload_byte_count: int | None = None
    """Bytes of the canonical payload, vectors included."""


ENVELOPE_COLUMNS: tuple[str, ...] = tuple(Envelope.model_fields)

_SCALARS: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: MICROSECONDS_UTC,
}
_STORAGE: dict[str, pa.DataType] = {
    "text": pa.large_string(),
    "int32": pa.list_(pa.int32()),
    "float32": pa.list_(pa.float32()),
    "bool": pa.list_(pa.bool_()),
}
# Lance compresses small values only when asked; Parquet ignores the key.
COMPRESSED = {b"lance-encoding:compression": b"zstd"}


@cache
def arrow_schema(kind: str) -> pa.Schema:
    """Envelope columns, then the fields of the kind's class. Raises EventInvalidError for an unknown kind."""
    cls = class_of_kind(kind)
    fields = model_fields(Envelope) + [field for field in model_fields(cls) if field.name != "kind"]
    metadata = {"tracelake.kind": kind, "tracelake.schema_version": str(cls.SCHEMA_VERSION)}
    return pa.schema(fields, metadata=metadata)


@cache
def arrow_schemas() -> dict[str, pa.Schema]:
    return {kind: arrow_schema(kind) for kind in CLASS_OF_KIND}


def model_fields(model: type[BaseModel]) -> list[pa.Field]:
    """The Arrow fields of a pydantic model, in its order."""
    return [
        _field(name, info.annotation, list(info.metadata), info.description)
        for name, info in model.model_fields.items()
    ]


def payload_columns(cls: type[Event]) -> list[str]:
    return [name for name in cls.model_fields if name != "kind"]


def _field(name: str, annotation: Any, metadata: list[Any], description: str | None) -> pa.Field:
    nullable = NoneType in get_args(annotation)
    if nullable:
        annotation = next(member for member in get_args(annotation) if member is not NoneType)
    storage = storage_of(annotation, metadata)
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        annotation = type(get_args(annotation)[0])
    arrow_type = _STORAGE[storage] if storage else _SCALARS.get(annotation)
    if arrow_type is None:
        raise EventInvalidError(
            f"field {name!r} has no Arrow type",
            got=repr(annotation),
            expected="str, int, float, bool, datetime, or one of the aliases of schemas/events/event.py",
        )
    notes = {b"description": description.encode()} if description else {}
    compressed = COMPRESSED if storage else {}
    return pa.field(name, arrow_type, nullable=nullable, metadata={**notes, **compressed} or None)
