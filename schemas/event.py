"""What every event is: a frozen fact with a natural key and a payload hash.

Flow: producer builds an event → the writer stamps it with an envelope → it lands → folds read it.

**The payload is the fact.** Its hash covers every field of the class, and nothing of the envelope: the same fact told
twice, by two writers or from two copies of a file, has one `event_id`.
**The natural key says which fact it is.** Same key and other payload is a conflict, never an overwrite.
**Vectors are hashed as little-endian bytes**, so that a float32 read back from disk hashes as it did when it was written.
"""

from __future__ import annotations

import hashlib
from array import array
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, NamedTuple

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict

from schemas.canonical import number_text
from schemas.errors import EventInvalidError


class Column(NamedTuple):
    """How a field is stored, where its Python type does not say it."""

    storage: str
    """`text` long text, compressed on its own; `int32`, `float32`, `bool`: element type of a vector."""


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time without a zone; give it UTC or an offset")
    return moment.astimezone(UTC)


Text = Annotated[str, Column("text")]
"""Long text."""
JsonText = Annotated[str, Column("text")]
"""Canonical JSON text of a nested value (`schemas.canonical.canonical_text`)."""
Moment = Annotated[datetime, AfterValidator(_utc)]
"""A point in time, UTC, microseconds."""
TokenIds = Annotated[list[int], Column("int32")]
Logprobs = Annotated[list[float], Column("float32")]
"""Natural-log probabilities in nats; a value that the source lacks makes the whole field null, never 0.0."""
TokenMask = Annotated[list[bool], Column("bool")]

_ARRAY_TYPECODE = {"int32": "i", "float32": "f", "bool": "b"}


class Event(BaseModel):
    """Base of every fact."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="null")

    KIND: ClassVar[str] = ""
    """The default of the subclass's `kind` field, which tells the union apart."""
    KEY: ClassVar[tuple[str, ...]]
    SCHEMA_VERSION: ClassVar[int] = 1
    NOT_PAYLOAD: ClassVar[frozenset[str]] = frozenset({"kind", "source_position"})

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls.KIND = cls.model_fields["kind"].default

    occurred_at: Moment | None = None
    """When it happened, by the source's clock; null when the source does not say."""
    source_position: int | None = None
    """Line or message number in the source; not part of the payload."""


class EventIdentity(NamedTuple):
    """The three hashes that name a fact, hexadecimal SHA-256."""

    event_id: str
    key_hash: str
    payload_hash: str


def event_identity(event: Event) -> EventIdentity:
    """Raises EventInvalidError if a field has no canonical form."""
    cls = type(event)
    return row_identity(cls, event.__dict__)


def row_identity(cls: type[Event], row: dict[str, Any]) -> EventIdentity:
    """The identity of a fact given as its fields, as read back from a landed file."""
    try:
        key = orjson.dumps([cls.KIND, *(row[name] for name in cls.KEY)])
        payload = {
            name: _payload_value(value)
            for name, value in row.items()
            if value is not None and name not in cls.NOT_PAYLOAD
        }
        text = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError, OverflowError) as error:
        raise EventInvalidError(
            f"a {cls.KIND} event has no canonical form",
            got=str(error),
            expected="well-formed text, finite numbers, token ids within 32 bits",
            cure="Refuse the record, or repair it in its importer.",
        ) from error
    key_digest = hashlib.sha256(key)
    payload_digest = hashlib.sha256(text)
    both = hashlib.sha256(key_digest.digest() + payload_digest.digest())
    return EventIdentity(both.hexdigest(), key_digest.hexdigest(), payload_digest.hexdigest())


def _payload_value(value: Any) -> Any:
    """Scalars as canonical JSON prints them, vectors as the hash of their bytes. Nulls are left out, so that
    adding a nullable field does not change the identity of older facts."""
    kind = type(value)
    if kind is str or kind is int or kind is bool:
        return value
    if kind is float:
        return orjson.Fragment(number_text(value))
    if kind is datetime:
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if kind is list:
        return vector_digest(value)
    raise TypeError(f"{kind.__name__} is not a payload value")


def vector_digest(values: list[Any]) -> str:
    """SHA-256 of a vector's little-endian bytes, marked with its element type."""
    typecode = "b" if values and type(values[0]) is bool else "f" if values and type(values[0]) is float else "i"
    packed = array(typecode, values)
    return f"{typecode}{len(values)}:{hashlib.sha256(packed.tobytes()).hexdigest()}"
