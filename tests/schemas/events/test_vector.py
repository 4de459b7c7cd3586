"""Goal: a vector equals the numbers that it was created from, in any container, and never changes.

Method: round trips of drawn values, buffers of every width, and a caller that changes its list afterwards.
"""

from __future__ import annotations

import pickle
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tracelake.schemas.events.event import event_identity
from tracelake.schemas.events.rollout_events import TurnCompleted
from tracelake.schemas.events.vector import Vector, packed

INT_32 = st.integers(-(2**31), 2**31 - 1)


def turn(**fields: Any) -> TurnCompleted:
    required = {"rollout_id": "r", "turn_index": 0, "state_key": "s", "context_length": 1}
    return TurnCompleted(**required, new_messages_json="[]", action_json="{}", **fields)


@given(st.lists(INT_32))
def test_ids_survive_packing(values: list[int]) -> None:
    vector = Vector("i", packed("i", values))
    assert vector == values
    assert (len(vector), list(vector), vector[1:]) == (len(values), values, values[1:])
    assert pickle.loads(pickle.dumps(vector)) == vector  # noqa: S301 - our own bytes
    assert hash(vector) == hash(Vector("i", packed("i", tuple(values))))


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_logprobs_survive_packing_as_float32(values: list[float]) -> None:
    assert turn(sampling_logprobs=values).sampling_logprobs == values


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int32", "uint32", "int64"])
def test_a_buffer_of_any_width_has_the_identity_of_its_list(kind: str) -> None:
    values = np.array([1, 2, 127], kind)
    assert event_identity(turn(completion_ids=values)) == event_identity(turn(completion_ids=[1, 2, 127]))
    assert turn(completion_ids=values[::2]).completion_ids == [1, 127]
    assert turn(completion_ids=array("i", [5, 6])).completion_ids == [5, 6]


def test_buffers_of_floats_and_booleans_are_accepted() -> None:
    event = turn(sampling_logprobs=np.array([-0.5, -1.25]), completion_mask=np.array([True, False]))
    assert (event.sampling_logprobs, event.completion_mask) == ([-0.5, -1.25], [True, False])


@pytest.mark.parametrize(
    "values",
    [np.zeros((2, 2), "int32"), np.array([1.5]), np.array([2**40]), b"ab", "ab", 7, {1: 2}, {1, 2}],
    ids=repr,
)
def test_a_value_that_is_not_a_list_of_ids_is_refused_on_creation(values: Any) -> None:
    with pytest.raises(ValidationError):
        turn(completion_ids=values)


def test_later_changes_of_the_callers_list_do_not_reach_the_event() -> None:
    running = [1, 2]
    event = turn(new_prompt_ids=running)
    running.append(3)
    assert event.new_prompt_ids == [1, 2]


def test_an_event_is_serialized_to_json_with_plain_lists() -> None:
    event = turn(completion_ids=[1, 2], completion_mask=[True, False])
    assert '"completion_ids":[1,2],"completion_mask":[true,false]' in event.model_dump_json()
    assert TurnCompleted.model_validate_json(event.model_dump_json()) == event


def test_vectors_of_different_types_are_not_equal() -> None:
    assert Vector("i", b"") != Vector("f", b"")
    assert Vector("i", packed("i", [1])) != "\x01"
    with pytest.raises(TypeError):
        packed("f", Vector("i", packed("i", [1])))
