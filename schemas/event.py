"""What every event is: a frozen fact with a natural key and a payload hash.

Flow: producer builds an event → the writer stamps it with an envelope → it lands → folds read it.

**The payload is the fact.** Its hash covers every field of the class, and nothing of the envelope: the same
fact told twice, by two writers or from two copies of a file, has one `event_id`.
**The natural key says which fact it is.** Same key and other payload is a conflict, never an overwrite.
**Vectors are hashed as little-endian bytes**, so that a float32 read back from disk hashes as it did when
it was written.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple, get_args, get_origin

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.canonical import INT_64_MAX, number_text
from schemas.errors import EventInvalidError


class Column(NamedTuple):
    """How a field is stored, where its Python type does not say it."""

    storage: str
    """`text` long text, compressed on its own; `int32`, `float32`, `bool`: element type of a vector."""


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time without a zone; give it UTC or an offset")
    try:
        utc = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time outside of the years 1 to 9999") from error
    return utc if type(utc) is datetime else datetime.combine(utc.date(), utc.time(), UTC)


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

INT_64_MIN = -(2**63)
_ARRAY_TYPECODE = {"int32": "i", "float32": "f", "bool": "b"}


class Event(BaseModel):
    """Base of every fact."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="null"
    )

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
    source_position: Annotated[int, Field(ge=0, le=INT_64_MAX)] | None = None
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


def storage_of(annotation: Any, metadata: Sequence[Any] = ()) -> str | None:
    """The storage that a field's annotation declares by `Column`, be it nullable or not."""
    parts = [part for part in (annotation, *get_args(annotation)) if get_origin(part) is Annotated]
    declared = [*metadata, *(item for part in parts for item in get_args(part)[1:])]
    return next((item.storage for item in declared if isinstance(item, Column)), None)


def row_identity(cls: type[Event], row: Mapping[str, Any]) -> EventIdentity:
    """The identity of a fact given as its fields, as read back from a landed file."""
    try:
        key = orjson.dumps([cls.KIND, *(row[name] for name in cls.KEY)])
        payload: dict[str, Any] = {}
        for name, typecode in _payload_plan(cls):
            value = row[name]
            # Most fields are text or null: they are let through here, without a call.
            if value is not None:
                payload[name] = value if type(value) is str else _payload_value(value, typecode)
        text = orjson.dumps(payload)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise EventInvalidError(
            f"a {cls.KIND} event has no canonical form",
            got=str(error),
            expected="well-formed text, finite numbers, integers within 64 bits, token ids within 32 bits",
            cure="Refuse the record, or repair it in its importer.",
        ) from error
    key_digest = hashlib.sha256(key)
    payload_digest = hashlib.sha256(text)
    both = hashlib.sha256(key_digest.digest() + payload_digest.digest())
    return EventIdentity(both.hexdigest(), key_digest.hexdigest(), payload_digest.hexdigest())


def _payload_value(value: Any, typecode: str | None) -> Any:
    """Scalars as canonical JSON prints them; vectors have a digest of their own. Nulls are left out, so that
    adding a nullable field does not change the identity of older facts."""
    kind = type(value)
    if kind is str or kind is bool:
        return value
    if kind is int:
        if not INT_64_MIN <= value <= INT_64_MAX:
            raise OverflowError(f"{value} does not fit into 64 bits")
        return value
    if kind is float:
        return orjson.Fragment(number_text(value))
    if kind is datetime:
        moment = value if value.tzinfo is UTC else value.astimezone(UTC)
        return moment.isoformat(timespec="microseconds")
    if kind is list and typecode is not None:
        return vector_digest(value, typecode)
    raise TypeError(f"{kind.__name__} is not a payload value")


@cache
def _payload_plan(cls: type[Event]) -> tuple[tuple[str, str | None], ...]:
    """Payload fields in canonical order, with the array type code of each vector: a value does not tell it,
    an empty one least.
    """
    storages = {name: storage_of(info.annotation, info.metadata) for name, info in cls.model_fields.items()}
    names = sorted(name for name in cls.model_fields if name not in cls.NOT_PAYLOAD)
    return tuple((name, _ARRAY_TYPECODE.get(storages[name] or "")) for name in names)


def vector_digest(values: list[Any], typecode: str) -> str:
    """SHA-256 of a vector's bytes as `array` of the type code packs them, marked with it."""
    packed = array(typecode, values)
    return f"{typecode}{len(values)}:{hashlib.sha256(packed.tobytes()).hexdigest()}"
