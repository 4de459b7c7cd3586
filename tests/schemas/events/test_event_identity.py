"""Goal: an event has one identity wherever it is computed, and different events have different identities.

Method: events of every class are drawn, changed field by field, and written to Parquet and read back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.event_strategies import EVENTS, events_of
from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.events.columns import arrow_schema, payload_columns
from tracelake.schemas.events.event import Event, event_identity, row_identity
from tracelake.schemas.events.kinds import EVENT_CLASSES
from tracelake.schemas.events.rollout_events import RewardAssigned, TurnCompleted


def through_parquet(event: Event) -> dict[str, Any]:
    """The event's fields, written to Parquet and read back."""
    schema = pa.schema([arrow_schema(event.KIND).field(name) for name in payload_columns(type(event))])
    fields = {name: event.__dict__[name] for name in schema.names}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([fields], schema=schema), sink, compression="zstd")
    return pq.read_table(pa.BufferReader(sink.getvalue())).to_pylist()[0]


def turn(**fields: Any) -> TurnCompleted:
    required = {"rollout_id": "r", "turn_index": 0, "state_key": "s", "context_length": 1}
    return TurnCompleted(**required, new_messages_json="[]", action_json="{}", **fields)


def reward(**fields: Any) -> RewardAssigned:
    return RewardAssigned(**{"rollout_id": "r", "name": "reward", "score": 1.0, "grader": "g", **fields})


@given(EVENTS)
@settings(max_examples=250)
def test_the_identity_survives_arrow_and_parquet(event: Event) -> None:
    assert row_identity(type(event), through_parquet(event)) == event_identity(event)


@given(EVENTS, st.randoms(), st.integers(0, 10**6))
def test_field_order_and_source_position_do_not_change_the_identity(
    event: Event, random: Any, position: int
) -> None:
    fields = list(event.__dict__.items())
    random.shuffle(fields)
    moved = dict(fields) | {"source_position": position}
    assert row_identity(type(event), moved) == event_identity(event)


@pytest.mark.parametrize("cls", EVENT_CLASSES, ids=lambda cls: cls.KIND)
@given(data=st.data())
@settings(max_examples=15)
def test_every_payload_field_changes_the_identity(cls: type[Event], data: st.DataObject) -> None:
    event = data.draw(events_of(cls))
    identity = event_identity(event)
    for name in set(payload_columns(cls)) - cls.NOT_PAYLOAD:
        for after in changed_values(event, name):
            changed = event_identity(cls(**{**event.__dict__, name: after}))
            assert changed.payload_hash != identity.payload_hash, (name, after)
            assert changed.event_id != identity.event_id, (name, after)
            assert (changed.key_hash != identity.key_hash) == (name in cls.KEY), (name, after)


@given(EVENTS, EVENTS)
def test_two_kinds_never_share_an_identity_or_a_key(one: Event, other: Event) -> None:
    if one.KIND != other.KIND:
        assert event_identity(one).event_id != event_identity(other).event_id
        assert event_identity(one).key_hash != event_identity(other).key_hash


def changed_values(event: Event, name: str) -> Iterator[Any]:
    """Smallest changes of a field's value, and null if the field may be null."""
    value, field = getattr(event, name), arrow_schema(event.KIND).field(name)
    if field.nullable and value is not None:
        yield None
    annotation = type(event).model_fields[name].annotation
    if get_origin(annotation) is Literal or any(get_origin(part) is Literal for part in get_args(annotation)):
        choices = (
            get_args(annotation) if get_origin(annotation) is Literal else get_args(get_args(annotation)[0])
        )
        yield from (choice for choice in choices if choice != value)
    elif pa.types.is_list(field.type):
        yield [*(value or []), 0]
    elif pa.types.is_timestamp(field.type):
        yield (value or datetime(2026, 1, 1, tzinfo=UTC)) + timedelta(microseconds=1)
    elif pa.types.is_boolean(field.type):
        yield not value
    elif pa.types.is_integer(field.type):
        yield (value or 0) ^ 1
    elif pa.types.is_floating(field.type):
        yield math.nextafter(value or 0.0, 1e9)
    else:
        yield (value or "") + " "


VECTORS: dict[str, list[Any]] = {
    "completion_ids": [None, [], [0], [1], [0, 0], [-1]],
    "sampling_logprobs": [None, [], [0.0], [-0.0], [0.0, 0.0], [1.0], [-math.inf]],
    "completion_mask": [None, [], [True], [False], [True, True]],
}


@pytest.mark.parametrize("name", VECTORS)
def test_null_empty_zero_and_two_zeros_are_four_different_events(name: str) -> None:
    facts = [turn(**{name: value}) for value in VECTORS[name]]
    assert len({event_identity(fact).event_id for fact in facts}) == len(facts)
    for fact in facts:
        assert row_identity(TurnCompleted, through_parquet(fact)) == event_identity(fact)


MIXED_LOGPROBS = [[0, -1.5, True], [-1, 0], [math.nan, -1.0], [1e300, -1e-300, 0.1]]


@pytest.mark.parametrize("mixed", MIXED_LOGPROBS)
def test_the_declared_type_and_not_the_first_value_determines_how_a_vector_is_packed(
    mixed: list[Any],
) -> None:
    event = turn(sampling_logprobs=mixed)
    assert row_identity(TurnCompleted, through_parquet(event)) == event_identity(event)


@pytest.mark.parametrize(
    ("name", "values", "equal_values"),
    [("completion_ids", [True, 3], [1, 3]), ("completion_mask", [0, True], [False, True])],
)
def test_booleans_and_integers_of_the_same_value_are_equal(
    name: str, values: list[Any], equal_values: list[Any]
) -> None:
    assert event_identity(turn(**{name: values})) == event_identity(turn(**{name: equal_values}))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("completion_ids", [2.0]),
        ("completion_ids", ["2"]),
        ("completion_ids", [2**31]),
        ("completion_mask", [1.0]),
        ("sampling_logprobs", ["-0.5"]),
        ("sampling_logprobs", [None]),
    ],
)
def test_values_that_cannot_be_packed_are_refused_when_the_identity_is_computed(
    name: str, values: list[Any]
) -> None:
    with pytest.raises(EventInvalidError, match="no canonical form"):
        event_identity(turn(**{name: values}))


@pytest.mark.parametrize("mixed", MIXED_LOGPROBS)
def test_the_declared_type_also_applies_without_validation(mixed: list[Any]) -> None:
    event = TurnCompleted.model_construct(**{**turn().__dict__, "sampling_logprobs": mixed})
    assert row_identity(TurnCompleted, through_parquet(event)) == event_identity(event)


@given(st.lists(st.floats(), max_size=6))
def test_double_precision_logprobs_have_the_identity_of_the_stored_float32_values(
    values: list[float],
) -> None:
    event = turn(sampling_logprobs=values)
    assert row_identity(TurnCompleted, through_parquet(event)) == event_identity(event)


def test_a_time_has_one_identity_in_every_time_zone_and_microseconds_count() -> None:
    utc = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)
    elsewhere = utc.astimezone(timezone(timedelta(hours=5, minutes=45)))
    identity = event_identity(turn(occurred_at=utc))
    assert event_identity(turn(occurred_at=elsewhere)) == identity
    assert event_identity(turn(occurred_at=elsewhere.isoformat())) == identity
    assert event_identity(turn(occurred_at=utc + timedelta(microseconds=1))) != identity
    assert row_identity(TurnCompleted, {**turn().__dict__, "occurred_at": elsewhere}) == identity


def test_a_subclass_of_datetime_has_the_identity_of_a_plain_datetime() -> None:
    class Stamp(datetime):
        """Like the timestamps of pandas."""

    stamp = Stamp(2026, 3, 29, 1, 30, tzinfo=UTC)
    plain = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert event_identity(turn(occurred_at=stamp)) == event_identity(turn(occurred_at=plain))


@pytest.mark.parametrize(
    "moment",
    [datetime(2026, 1, 1), datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "yesterday"],  # noqa: DTZ001
)
def test_a_time_without_a_time_zone_or_outside_the_calendar_is_refused(moment: Any) -> None:
    with pytest.raises(ValidationError):
        turn(occurred_at=moment)


@pytest.mark.parametrize(
    "fields",
    [
        {"score": math.nan},
        {"score": math.inf},
        {"weight": -math.inf},
        {"turn_index": 2**63},
        {"turn_index": -(2**63) - 1},
    ],
    ids=str,
)
def test_a_value_that_cannot_be_stored_is_refused_when_the_identity_is_computed(
    fields: dict[str, Any],
) -> None:
    with pytest.raises(EventInvalidError):
        event_identity(reward(**fields))


@pytest.mark.parametrize("token_id", [2**31, -(2**31) - 1, 2**70])
def test_a_token_id_beyond_32_bits_is_refused(token_id: int) -> None:
    with pytest.raises(EventInvalidError):
        event_identity(turn(completion_ids=[1, token_id]))


def test_a_row_without_a_field_of_its_natural_key_is_refused() -> None:
    with pytest.raises(EventInvalidError):
        row_identity(TurnCompleted, {"rollout_id": "r"})


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_text_that_is_not_well_formed_is_refused(text: str) -> None:
    for fields in ({"name": text}, {"details_json": text}):
        with pytest.raises(EventInvalidError):
            event_identity(reward(**fields))


@pytest.mark.parametrize("position", [-1, 2**63])
def test_an_impossible_source_position_is_refused(position: int) -> None:
    with pytest.raises(ValidationError):
        reward(source_position=position)


def test_an_event_is_frozen_and_refuses_unknown_fields() -> None:
    with pytest.raises(ValidationError):
        reward().score = 2.0  # type: ignore[misc]
    with pytest.raises(ValidationError):
        reward(scoer=1.0)
