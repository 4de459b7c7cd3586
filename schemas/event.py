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

_SCALAR_KINDS: dict[Any, str] = {datetime: "moment", float: "float", int: "int"}
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
        key = orjson.dumps([cls.KIND, *[row[name] for name in cls.KEY]])
        text = orjson.dumps(_payload(cls, row), option=orjson.OPT_SORT_KEYS)
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


class _Plan(NamedTuple):
    """Payload fields of a class, by what becomes of their values."""

    plain: tuple[str, ...]
    """Text and truth values: as they are."""
    integers: tuple[str, ...]
    numbers: tuple[str, ...]
    moments: tuple[str, ...]
    vectors: tuple[tuple[str, str], ...]
    """With the array type code of each: a value does not tell it, an empty one least."""


def _payload(cls: type[Event], row: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as canonical JSON says them. Nulls are left out, so that adding a nullable field does not
    change the identity of older facts. Raises TypeError, ValueError, OverflowError for what it cannot say.
    """
    plan = _plan(cls)
    payload = {name: value for name in plan.plain if (value := row[name]) is not None}
    # orjson itself refuses all that is beyond: below the least of 64 bits, above the most without a sign.
    for name in plan.integers:
        if (value := row[name]) is not None:
            if value > INT_64_MAX:
                raise OverflowError(f"{value} does not fit into 64 bits")
            payload[name] = value
    for name in plan.numbers:
        if (value := row[name]) is not None:
            payload[name] = orjson.Fragment(number_text(value))
    for name in plan.moments:
        if (value := row[name]) is not None:
            moment = value if value.tzinfo is UTC else value.astimezone(UTC)
            # The same text as with timespec="microseconds", which is slower to ask for.
            payload[name] = (
                moment.isoformat() if moment.microsecond else moment.isoformat(timespec="microseconds")
            )
    for name, typecode in plan.vectors:
        if (value := row[name]) is not None:
            payload[name] = vector_digest(value, typecode)
    return payload


@cache
def _plan(cls: type[Event]) -> _Plan:
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
    return _Plan(plain, integers, numbers, moments, tuple(vectors))


def _scalar_kind(annotation: Any) -> str:
    parts = [annotation, *get_args(annotation)]
    parts += [argument for part in parts for argument in get_args(part)]
    return next((kind for base, kind in _SCALAR_KINDS.items() if base in parts), "plain")


def vector_digest(values: list[Any], typecode: str) -> str:
    """SHA-256 of a vector's bytes as `array` of the type code packs them, marked with it."""
    packed = array(typecode, values)
    return f"{typecode}{len(values)}:{hashlib.sha256(packed.tobytes()).hexdigest()}"
