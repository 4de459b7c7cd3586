"""Goal: every kind has one name and one class; foreign fields become an event or a typed error."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from pydantic import BaseModel

from tests.event_strategies import EVENTS
from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.events import kinds as events
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.kinds import CLASS_OF_KIND, EVENT_CLASSES, AnyEvent, class_of_kind, parse_event

ENVELOPE_NAMES = {
    "event_id",
    "key_hash",
    "payload_hash",
    "recorded_at",
    "run_id",
    "writer_epoch",
    "writer_seq",
}


def test_the_union_contains_every_imported_event_class_once() -> None:
    defined = {
        item
        for item in vars(events).values()
        if isinstance(item, type) and issubclass(item, Event) and item is not Event
    }
    assert set(get_args(get_args(AnyEvent)[0])) == set(EVENT_CLASSES) == defined
    assert set(Event.__subclasses__()) >= defined
    assert len(EVENT_CLASSES) == len(defined)


def test_kinds_are_distinct_and_match_the_class_name() -> None:
    assert len(CLASS_OF_KIND) == len(EVENT_CLASSES)
    for kind, cls in CLASS_OF_KIND.items():
        assert "".join(word.capitalize() for word in kind.split("_")) == cls.__name__
        assert class_of_kind(kind) is cls
        assert kind == cls.KIND


@pytest.mark.parametrize("cls", EVENT_CLASSES, ids=lambda cls: cls.KIND)
def test_every_class_has_a_docstring_and_a_key_of_its_own_fields(cls: type[Event]) -> None:
    assert cls.__doc__
    assert cls.KEY
    assert set(cls.KEY) <= set(cls.model_fields) - cls.NOT_PAYLOAD
    assert not set(cls.model_fields) & ENVELOPE_NAMES
    assert not any("step" in name and name != "train_step" for name in cls.model_fields)
    assert cls.SCHEMA_VERSION >= 1


@given(EVENTS)
def test_an_event_is_parsed_from_its_own_fields(event: Event) -> None:
    assert parse_event(event.model_dump()) == event
    assert parse_event(dict(event.__dict__)) == event


@pytest.mark.parametrize(
    ("fields", "name_in_error"),
    [
        ({}, "kind"),
        ({"kind": "turn_finished"}, "turn_finished"),
        ({"kind": None}, "kind"),
        ({"kind": "rollout_ended", "rollout_id": "r"}, "rollout_ended.stop_reason"),
        (
            {"kind": "rollout_ended", "rollout_id": "r", "stop_reason": "bored", "turn_count": 1},
            "stop_reason",
        ),
        ({"kind": "checkpoint_saved", "extra": 1}, "checkpoint_saved"),
        (
            {"kind": "hint_given", "rollout_id": "r", "turn_index": "one", "hint": "", "author": ""},
            "turn_index",
        ),
        (
            {
                "kind": "hint_given",
                "occurred_at": "0001-01-01T00:00:00+14:00",
                "rollout_id": "r",
                "turn_index": 1,
            }
            | {"hint": "", "author": ""},
            "occurred_at",
        ),
    ],
    ids=str,
)
def test_fields_that_are_no_valid_event_are_refused_by_name(
    fields: dict[str, Any], name_in_error: str
) -> None:
    with pytest.raises(EventInvalidError, match=name_in_error):
        parse_event(fields)


def test_an_unknown_kind_is_refused_and_the_error_lists_the_known_ones() -> None:
    with pytest.raises(EventInvalidError, match=r"turn_finished.*rollout_started.*Upgrade"):
        class_of_kind("turn_finished")


@pytest.mark.parametrize("cls", EVENT_CLASSES, ids=lambda cls: cls.KIND)
def test_every_event_class_is_frozen_and_forbids_extra_fields(cls: type[BaseModel]) -> None:
    assert cls.model_config.get("frozen") is True
    assert cls.model_config.get("extra") == "forbid"
