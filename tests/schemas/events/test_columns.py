"""Goal: the class of a kind is the only source of its Arrow schema.

Method: each property of the rendered schemas is compared with the class.
"""

from __future__ import annotations

from types import NoneType
from typing import ClassVar, Literal, get_args

import pyarrow as pa
import pytest

from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.events.columns import (
    ENVELOPE_COLUMNS,
    Envelope,
    arrow_schema,
    arrow_schemas,
    model_fields,
    payload_columns,
)
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.kinds import CLASS_OF_KIND


@pytest.mark.parametrize("kind", CLASS_OF_KIND)
def test_the_envelope_comes_first_and_the_fields_follow_in_class_order(kind: str) -> None:
    schema = arrow_schema(kind)
    assert tuple(schema.names) == (*ENVELOPE_COLUMNS, *payload_columns(CLASS_OF_KIND[kind]))
    assert schema.names.count("kind") == 1
    assert schema.metadata[b"tracelake.kind"] == kind.encode()


@pytest.mark.parametrize("kind", CLASS_OF_KIND)
def test_a_column_is_nullable_if_its_field_may_be_none_and_carries_its_description(kind: str) -> None:
    models = {**CLASS_OF_KIND[kind].model_fields, **Envelope.model_fields}
    for field in arrow_schema(kind):
        model = models[field.name]
        assert field.nullable == (NoneType in get_args(model.annotation)), field.name
        description = (field.metadata or {}).get(b"description", b"").decode()
        assert description == (model.description or ""), field.name


def test_no_column_is_a_struct_a_duration_or_a_dictionary() -> None:
    allowed = {
        pa.string(),
        pa.large_string(),
        pa.int64(),
        pa.float64(),
        pa.bool_(),
        pa.timestamp("us", "UTC"),
    }
    lists = {pa.list_(pa.int32()), pa.list_(pa.float32()), pa.list_(pa.bool_())}
    for schema in arrow_schemas().values():
        assert set(schema.types) <= allowed | lists


def test_each_type_alias_has_its_storage() -> None:
    schema = arrow_schema("turn_completed")
    assert schema.field("completion_ids").type == pa.list_(pa.int32())
    assert schema.field("sampling_logprobs").type == pa.list_(pa.float32())
    assert schema.field("completion_mask").type == pa.list_(pa.bool_())
    assert schema.field("new_messages_json").type == pa.large_string()
    assert schema.field("new_messages_json").metadata[b"lance-encoding:compression"] == b"zstd"
    assert schema.field("finish_reason").type == pa.string()
    assert schema.field("logprob_source").type == pa.string()


def test_a_field_without_an_arrow_type_is_refused_by_name() -> None:
    class NestedEvent(Event):
        """An event with a nested field."""

        KEY: ClassVar[tuple[str, ...]] = ("nested",)
        kind: Literal["nested_event"] = "nested_event"
        nested: dict[str, int]

    with pytest.raises(EventInvalidError, match="nested"):
        model_fields(NestedEvent)


def test_an_unknown_kind_has_no_schema() -> None:
    with pytest.raises(EventInvalidError):
        arrow_schema("turn_finished")
