"""Goal: which events count depends on the conflicts and decisions in a lake, never on their order.

Method: the same events land in drawn orders, by several writers and with repeats; the selection must be the
same.
"""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lake.curation.curated_lake import ROLLOUT, decided, id_of, land, retracted, turn_of, version
from tests.traces import rollout
from tracelake.lake import Lake
from tracelake.lake.curation.selection import EVERYTHING, Selection
from tracelake.schemas.events.event import Event, event_identity


def selection_of(lake: Lake, events: list[Event], *, at_once: int = 1) -> Selection:
    for start in range(0, len(events), at_once):
        land(lake, events[start : start + at_once])
    lake.project()
    return lake.selection()


def in_memory() -> Lake:
    return Lake.create(f"memory://{uuid.uuid4().hex}")


def test_a_lake_without_conflicts_uses_everything(fresh_lake: Lake) -> None:
    assert selection_of(fresh_lake, version("a")) == EVERYTHING


def test_an_open_conflict_leaves_the_rollout_out_and_says_why(fresh_lake: Lake) -> None:
    found = selection_of(fresh_lake, [*version("a"), turn_of("b")])
    [left_out] = found.left_out.values()
    assert (left_out.rollout_id, left_out.why) == (ROLLOUT, "conflict")
    assert left_out.detail == "open conflicts: 1 of turn_completed"
    assert found.discarded_ids == {id_of("a"), id_of("b")}


def test_the_latest_decision_counts(fresh_lake: Lake) -> None:
    events = [*version("a"), turn_of("b")]
    found = selection_of(
        fresh_lake, [*events, decided("b", "a", "b", minutes=2), decided("a", "a", "b", minutes=1)]
    )
    assert found.discarded_ids == {id_of("a")}
    assert found.rollout_ids == frozenset()


def test_the_first_choice_can_be_chosen_again(fresh_lake: Lake) -> None:
    decisions = [decided(name, "a", "b", minutes=minute) for minute, name in enumerate("aba")]
    found = selection_of(fresh_lake, [*version("a"), turn_of("b"), *decisions])
    assert found.discarded_ids == {id_of("b")}


def test_neither_leaves_the_rollout_out_on_purpose(fresh_lake: Lake) -> None:
    found = selection_of(fresh_lake, [*version("a"), turn_of("b"), decided(None, "a", "b", reason="broken")])
    assert (found.left_out[ROLLOUT].why, found.left_out[ROLLOUT].detail) == ("decision", "broken")


def test_a_payload_that_the_decision_did_not_see_opens_the_conflict_again(fresh_lake: Lake) -> None:
    events = [*version("a"), turn_of("b"), decided("b", "a", "b"), turn_of("c")]
    assert selection_of(fresh_lake, events).left_out[ROLLOUT].why == "conflict"
    land(fresh_lake, [decided("b", "a", "b", "c", minutes=1)])
    fresh_lake.project()
    assert fresh_lake.selection().discarded_ids == {id_of("a"), id_of("c")}


def test_a_decision_for_an_event_that_is_not_there_decides_nothing(fresh_lake: Lake) -> None:
    found = selection_of(fresh_lake, [*version("a"), turn_of("b"), decided("c", "a", "b", "c")])
    assert found.left_out[ROLLOUT].why == "conflict"


def test_a_retracted_run_includes_rollouts_that_land_later(fresh_lake: Lake) -> None:
    [started, *rest] = version("a")
    found = selection_of(
        fresh_lake,
        [retracted("run-7", minutes=0, run=True), started.model_copy(update={"source_run": "run-7"}), *rest],
    )
    assert (found.left_out[ROLLOUT].why, found.left_out[ROLLOUT].detail) == (
        "retracted",
        "run run-7: because",
    )


@pytest.mark.parametrize(("run_minute", "is_out"), [(1, False), (3, True)])
def test_of_decisions_on_a_rollout_and_its_run_the_latest_counts(
    fresh_lake: Lake, run_minute: int, is_out: bool
) -> None:
    [started, *rest] = version("a")
    found = selection_of(
        fresh_lake,
        [
            started.model_copy(update={"source_run": "run-7"}),
            *rest,
            retracted("run-7", minutes=run_minute, run=True),
            retracted(ROLLOUT, minutes=2, gone=False),
        ],
    )
    assert (ROLLOUT in found.left_out) is is_out


EVENTS: list[Event] = [
    *version("a"),
    turn_of("b"),
    decided("a", "a", "b", minutes=1),
    decided("b", "a", "b", minutes=2),
    *rollout("teacher-b", "q1", "x"),
    retracted("teacher-b/q1", minutes=1),
    retracted("teacher-b/q1", minutes=2, gone=False),
    retracted("teacher-b/q1", minutes=3),
    *rollout("teacher-c", "q1", "x"),
    retracted("teacher-c/q1", minutes=2, gone=False),
    retracted("teacher-c/q1", minutes=1),
]


@settings(max_examples=12)
@given(order=st.permutations(EVENTS), repeated=st.lists(st.sampled_from(EVENTS), max_size=5))
def test_the_order_of_events_and_repeats_do_not_matter(order: list[Event], repeated: list[Event]) -> None:
    found = selection_of(in_memory(), [*order, *repeated], at_once=5)
    assert found.chosen_of_key == {event_identity(turn_of("a")).key_hash: id_of("b")}
    assert found.discarded_ids == {id_of("a")}
    assert {name: each.why for name, each in found.left_out.items()} == {"teacher-b/q1": "retracted"}
