"""The base class of events, and the identity of an event: hashes of its natural key and its payload.

Flow: a producer creates an event → a writer adds the envelope → the event lands → folds read it.

**The payload hash covers every field of the class, and nothing of the envelope**: the same event from two
writers, or from two copies of a file, has one `event_id`.
**The natural key identifies the fact that an event records.** The same key with another payload is a
conflict, never an overwrite.
**Vectors are hashed as little-endian bytes**, so that a float32 read from disk hashes as it did when it was
written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from struct import error as StructError
from typing import Annotated, Any, ClassVar, NamedTuple, get_args, get_origin

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

from tracelake.schemas.canonical import INT_64_MAX, number_json
from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.events.identity import EventIdentity
from tracelake.schemas.events.vector import pack_or_list, packed, values_of


class StoredAs(NamedTuple):
    """Annotation: how a field is stored, where its Python type alone does not determine it."""

    storage: str
    """`text`: long text, compressed on its own; `int32`, `float32`, `bool`: a vector of this element type."""


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone; give it UTC or an offset")
    try:
        utc = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time outside the years 1 to 9999") from error
    return utc if type(utc) is datetime else datetime.combine(utc.date(), utc.time(), UTC)


Text = Annotated[str, StoredAs("text")]
"""Long text."""
JsonText = Annotated[str, StoredAs("text")]
"""Canonical JSON text of a nested value (`tracelake.schemas.canonical.canonical_text`)."""
Moment = Annotated[datetime, AfterValidator(_utc)]
"""A point in time, UTC, microseconds."""
_AS_LIST = PlainSerializer(values_of, return_type=list[Any])
TokenIds = Annotated[
    Sequence[int],
    StoredAs("int32"),
    PlainValidator(partial(pack_or_list, "i"), json_schema_input_type=list[int]),
    _AS_LIST,
]
"""Token ids of 32 bits: a list, or a buffer such as a NumPy array. The event stores a packed copy."""
Logprobs = Annotated[
    Sequence[float],
    StoredAs("float32"),
    PlainValidator(partial(pack_or_list, "f"), json_schema_input_type=list[float]),
    _AS_LIST,
]
"""Log-probabilities in nats. If the source lacks one value, the whole field is null; a gap is never 0.0."""
TokenMask = Annotated[
    Sequence[bool],
    StoredAs("bool"),
    PlainValidator(partial(pack_or_list, "b"), json_schema_input_type=list[bool]),
    _AS_LIST,
]
_SCALAR_KINDS = {datetime: "moment", float: "float", int: "int"}
_ARRAY_TYPECODE = {"int32": "i", "float32": "f", "bool": "b"}


class Event(BaseModel):
    """Base class of all events."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="null"
    )

    KIND: ClassVar[str] = ""
    """The default of the subclass's `kind` field, the discriminator of the union."""
    KEY: ClassVar[tuple[str, ...]]
    SCHEMA_VERSION: ClassVar[int] = 1
    NOT_PAYLOAD: ClassVar[frozenset[str]] = frozenset({"kind", "source_position"})
    TOKEN_DIGESTS: ClassVar[tuple[str, ...]] = ()
    """Fields that are hashes of token ids; they are removed together with the ids."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls.KIND = cls.model_fields["kind"].default

    occurred_at: Moment | None = None
    """When it happened, by the source's clock; null where the source has no time."""
    source_position: Annotated[int, Field(ge=0, le=INT_64_MAX)] | None = None
    """Line or message number in the source; not part of the payload."""


class CanonicalEvent(NamedTuple):
    """An event's identity and the bytes that it was hashed from. The spool stores these bytes."""

    identity: EventIdentity
    text: bytes
    """Canonical JSON of the payload; each vector is replaced by its digest."""
    vectors: tuple[bytes, ...]
    """Packed little-endian, in the order of the class's fields, without those that are null."""
    byte_count: int
    """Length of text and vectors together."""


def event_identity(event: Event) -> EventIdentity:
    """Raises EventInvalidError if a field has no canonical form."""
    return row_identity(type(event), event.__dict__)


def row_identity(cls: type[Event], row: Mapping[str, Any]) -> EventIdentity:
    """The identity of an event given as its fields, such as a row of a landed file."""
    return canonical_event(cls, row).identity


def storage_of(annotation: Any, metadata: Sequence[Any] = ()) -> str | None:
    """The storage that a field's annotation declares with `StoredAs`, whether it is nullable or not."""
    parts = [part for part in (annotation, *get_args(annotation)) if get_origin(part) is Annotated]
    declared = [*metadata, *(item for part in parts for item in get_args(part)[1:])]
    return next((item.storage for item in declared if isinstance(item, StoredAs)), None)


def canonical_event(cls: type[Event], row: Mapping[str, Any]) -> CanonicalEvent:
    """The canonical form of an event given as its fields. Raises EventInvalidError if a field has none."""
    try:
        key = orjson.dumps([cls.KIND, *map(row.__getitem__, cls.KEY)])
        vectors = _packed(cls, row)
        text = orjson.dumps(_payload(cls, row, vectors), option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError, KeyError, OverflowError, StructError) as error:
        raise EventInvalidError(
            f"a {cls.KIND} event has no canonical form",
            got=str(error),
            expected="well-formed text, finite numbers, integers within 64 bits, token ids within 32 bits",
            cure="Refuse the record, or repair it in its importer.",
        ) from error
    key_digest = hashlib.sha256(key)
    payload_digest = hashlib.sha256(text)
    both = hashlib.sha256(key_digest.digest() + payload_digest.digest())
    identity = EventIdentity(both.hexdigest(), key_digest.hexdigest(), payload_digest.hexdigest())
    if not vectors:
        return CanonicalEvent(identity, text, (), len(text))
    packed_values = tuple(vectors.values())
    return CanonicalEvent(identity, text, packed_values, len(text) + sum(map(len, packed_values)))


class _PayloadPlan(NamedTuple):
    """Payload fields of a class, by the way their values are encoded."""

    plain: tuple[str, ...]
    integers: tuple[str, ...]
    numbers: tuple[str, ...]
    moments: tuple[str, ...]
    vectors: tuple[tuple[str, str], ...]
    """Name and `array` type code of each vector; an empty list would not show its type."""
    typecodes: dict[str, str]


def vector_fields(cls: type[Event]) -> tuple[tuple[str, str], ...]:
    """Vectors of a class in the order of its fields, each with the `array` type code that packs it."""
    return _plan(cls).vectors


def _packed(cls: type[Event], row: Mapping[str, Any]) -> dict[str, bytes]:
    """The bytes of each vector that is not null. Raises StructError, TypeError."""
    return {
        name: packed(typecode, row[name]) for name, typecode in _plan(cls).vectors if row[name] is not None
    }


def _payload(cls: type[Event], row: Mapping[str, Any], vectors: Mapping[str, bytes]) -> dict[str, Any]:
    """Fields in the form that canonical JSON needs.

    Nulls are left out, so that adding a nullable field does not change the identity of older events.
    Raises TypeError, ValueError, OverflowError for values that have no such form.
    """
    plan = _plan(cls)
    payload = {name: value for name in plan.plain if (value := row[name]) is not None}
    # orjson itself refuses integers below -2^63 and from 2^64 on.
    for name in plan.integers:
        if (value := row[name]) is not None:
            if value > INT_64_MAX:
                raise OverflowError(f"{value} does not fit into 64 bits")
            payload[name] = value
    for name in plan.numbers:
        if (value := row[name]) is not None:
            payload[name] = number_json(value)
    for name in plan.moments:
        if (value := row[name]) is not None:
            moment = value if value.tzinfo is UTC else value.astimezone(UTC)
            # orjson writes the same text, but leaves microseconds out where they are zero.
            payload[name] = moment if moment.microsecond else moment.isoformat(timespec="microseconds")
    for name, data in vectors.items():
        payload[name] = f"{plan.typecodes[name]}{len(row[name])}:{hashlib.sha256(data).hexdigest()}"
    return payload


@cache
def _plan(cls: type[Event]) -> _PayloadPlan:
    kinds: dict[str, list[str]] = {"plain": [], "int": [], "float": [], "moment": []}
    vectors: list[tuple[str, str]] = []
    for name, info in cls.model_fields.items():
        if name in cls.NOT_PAYLOAD:
            continue
        storage = storage_of(info.annotation, info.metadata)
        if storage in _ARRAY_TYPECODE:
            vectors.append((name, _ARRAY_TYPECODE[storage]))
        else:
            kinds[_scalar_kind(info.annotation)].append(name)
    plain, integers, numbers, moments = (tuple(names) for names in kinds.values())
    return _PayloadPlan(plain, integers, numbers, moments, tuple(vectors), dict(vectors))


def _scalar_kind(annotation: Any) -> str:
    direct = [annotation, *get_args(annotation)]
    parts = direct + [argument for part in direct for argument in get_args(part)]
    return next((kind for base, kind in _SCALAR_KINDS.items() if base in parts), "plain")
