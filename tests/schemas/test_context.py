"""Goal: the context of a turn is exactly the messages before its action, along its parents."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.schemas.context import ContextFold, TurnRow
from tracelake.schemas.errors import EventInvalidError


def row(index: int, parent: int | None, *, rollout_id: str = "r") -> TurnRow:
    new = [{"role": "user", "content": f"before {index}"}]
    return (
        rollout_id,
        index,
        parent,
        json.dumps(new),
        json.dumps({"role": "assistant", "content": f"act {index}"}),
    )


@st.composite
def trees(draw: st.DrawFn) -> list[TurnRow]:
    """Turns of one rollout; each continues any earlier turn, or none."""
    count = draw(st.integers(1, 8))
    return [row(i, draw(st.none() | st.integers(0, i - 1)) if i else None) for i in range(count)]


@given(trees(), st.randoms())
def test_a_context_is_the_parents_context_its_action_and_the_new_messages(
    turns: list[TurnRow], random: object
) -> None:
    random.shuffle(turns)  # type: ignore[attr-defined]
    fold = ContextFold(turns)
    for rollout_id, index, parent, new, _ in turns:
        before = []
        if parent is not None:
            before = [*fold.context(rollout_id, parent), {"role": "assistant", "content": f"act {parent}"}]
        assert fold.context(rollout_id, index) == [*before, *json.loads(new)]


def test_rollouts_do_not_mix() -> None:
    fold = ContextFold([row(0, None), row(0, None, rollout_id="s"), row(1, 0, rollout_id="s")])
    assert len(fold.context("s", 1)) == 3
    assert len(fold.context("r", 0)) == 1


@pytest.mark.parametrize("parent", [1, 2], ids=["itself", "a later turn"])
def test_a_turn_that_does_not_come_after_its_parent_is_refused(parent: int) -> None:
    fold = ContextFold([row(0, None), row(1, parent), row(2, 1)])
    with pytest.raises(EventInvalidError, match="turn 1 of rollout r"):
        fold.context("r", 1)


def test_an_unknown_turn_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        ContextFold([row(1, 0)]).context("r", 1)
