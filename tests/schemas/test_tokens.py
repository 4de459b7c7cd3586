"""Goal: a rollout's prompts are stored in linear space, and fold to what the engine saw or to nothing.

Method: random trees of turns, with re-tokenised prompts and missing ids, encoded and folded in any order.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.events.event import canonical_event
from tracelake.schemas.events.rollout_events import TurnCompleted
from tracelake.schemas.tokens import TOKEN_COLUMNS, PromptDelta, PromptEncoder, PromptFold, TokenRow

IDS = st.lists(st.integers(0, 3) | st.integers(-(2**31), 2**31 - 1), max_size=4)
TURN_COUNT, NEW_PER_TURN = 100, 300
BYTES_MAX = 200_000


class Turn(NamedTuple):
    """What an engine saw and sampled."""

    parent: int | None
    prompt: list[int] | None
    completion: list[int] | None


def encoded(turns: list[Turn]) -> list[TokenRow]:
    encoder = PromptEncoder()
    return [
        row_of(index, turn.parent, encoder.add(index, *turn), turn.completion)
        for index, turn in enumerate(turns)
    ]


def row_of(index: int, parent: int | None, delta: PromptDelta, completion: list[int] | None) -> TokenRow:
    return ("r", index, parent, delta[0], delta[1], delta[2], completion)


def whole(fold: PromptFold, index: int) -> list[int] | None:
    ids = fold.prompt("r", index).ids
    return None if ids is None else ids.to_list()


@st.composite
def trees(draw: st.DrawFn) -> list[Turn]:
    """Turns that continue an earlier one, re-tokenise or compact its prompt, begin anew, or lack ids."""
    turns: list[Turn] = []
    for index in range(draw(st.integers(1, 9))):
        parent = draw(st.none() | st.integers(0, index - 1)) if index else None
        before: list[int] = []
        if parent is not None:
            before = [*(turns[parent].prompt or ()), *(turns[parent].completion or ())]
        prompt: list[int] | None = [*before, *draw(IDS)]
        change = draw(st.sampled_from(["none"] * 4 + ["one id", "compacted", "anew", "no ids"]))
        if change == "one id" and before:
            before[draw(st.integers(0, len(before) - 1))] += 0 if draw(st.booleans()) else -1
            prompt = [max(value, -(2**31)) for value in before]
        elif change == "compacted":
            prompt = before[: draw(st.integers(0, len(before)))]
        elif change == "anew":
            prompt = draw(IDS)
        elif change == "no ids":
            prompt = None
        turns.append(Turn(parent, prompt, draw(st.none() | IDS)))
    return turns


@given(trees(), st.randoms(use_true_random=False))
def test_what_was_encoded_folds_to_itself(turns: list[Turn], order: random.Random) -> None:
    rows = encoded(turns)
    order.shuffle(rows)
    fold = PromptFold(rows)
    indices = list(range(len(turns)))
    order.shuffle(indices)
    for index in indices:
        prompt, reason = fold.prompt("r", index)
        assert (None if prompt is None else prompt.to_list()) == turns[index].prompt
        assert reason == (
            f"turn {index} was recorded without token ids" if turns[index].prompt is None else None
        )


@given(trees())
def test_only_a_prompt_that_continues_its_parents_ids_is_stored_as_a_delta(turns: list[Turn]) -> None:
    for turn, (_, _, parent, new_ids, prefix_hash, retokenised, _) in zip(turns, encoded(turns), strict=True):
        before = None if parent is None else turns[parent]
        if turn.prompt is None:
            assert (new_ids, prefix_hash, retokenised) == (None, None, None)
        elif before is None or before.prompt is None:
            assert (new_ids, prefix_hash, retokenised) == (turn.prompt, None, None if before else False)
        else:
            prefix = [*before.prompt, *(before.completion or ())]
            if turn.prompt[: len(prefix)] == prefix:
                digest = hashlib.sha256(np.array(prefix, "<i4").tobytes()).hexdigest()
                assert (new_ids, prefix_hash, retokenised) == (turn.prompt[len(prefix) :], digest, False)
            else:
                assert (new_ids, prefix_hash, retokenised) == (turn.prompt, None, True)


@given(trees(), st.data())
def test_a_fold_after_a_loss_is_the_truth_or_null_or_an_error(turns: list[Turn], data: st.DataObject) -> None:
    """A turn is removed, its ids are removed, or one of its ids is changed."""
    rows = encoded(turns)
    index = data.draw(st.integers(0, len(rows) - 1))
    loss = data.draw(st.sampled_from(["row", "ids", "id"]))
    if loss == "row":
        del rows[index]
    elif loss == "ids":
        rows[index] = with_columns(
            rows[index], new_prompt_ids=None, prompt_prefix_hash=None, completion_ids=None
        )
    elif rows[index][3]:
        rows[index] = with_columns(
            rows[index], new_prompt_ids=[value ^ 1 for value in list(rows[index][3] or ())]
        )
    fold = PromptFold(rows)
    for turn_index in range(len(turns)):
        if turn_index == index:
            continue
        try:
            found, reason = fold.prompt("r", turn_index)
        except EventInvalidError:
            assert loss in ("row", "id")
            continue
        assert (found is None) == (reason is not None)
        assert found is None or found.to_list() == turns[turn_index].prompt


def with_columns(row: TokenRow, **columns: Any) -> TokenRow:
    return tuple({**dict(zip(TOKEN_COLUMNS, row, strict=True)), **columns}.values())  # type: ignore[return-value]


def chain(count: int, new_count: int = 4) -> list[Turn]:
    """Each turn continues the one before by `new_count` ids, half of them sampled."""
    turns: list[Turn] = []
    ids = iter(range(count * new_count))
    context: list[int] = []
    for index in range(count):
        context = [*context, *(next(ids) for _ in range(new_count // 2))]
        completion = [next(ids) for _ in range(new_count // 2)]
        turns.append(Turn(index - 1 if index else None, context, completion))
        context = [*context, *completion]
    return turns


def test_ids_of_a_long_rollout_take_linear_space() -> None:
    stored = prefix_bytes = 0
    turns = chain(TURN_COUNT, NEW_PER_TURN)
    encoder = PromptEncoder()
    for index, turn in enumerate(turns):
        delta = encoder.add(index, *turn)
        event = TurnCompleted(
            rollout_id="r",
            turn_index=index,
            parent_turn_index=turn.parent,
            state_key="s",
            context_length=1,
            new_messages_json="[]",
            action_json="{}",
            completion_ids=turn.completion,
            **delta._asdict(),
        )
        vectors = canonical_event(TurnCompleted, event.__dict__).vectors
        stored += sum(map(len, vectors)) + len(delta.prompt_prefix_hash or "")
        prefix_bytes += 4 * (len(turn.prompt or ()) + len(turn.completion or ()))
    assert stored <= BYTES_MAX
    assert prefix_bytes > 6_000_000


def test_removed_ids_fold_to_null_with_the_turn_that_lost_them() -> None:
    rows = encoded(chain(4))
    rows[1] = with_columns(rows[1], new_prompt_ids=None, prompt_prefix_hash=None, completion_ids=None)
    fold = PromptFold(rows)
    reason = "redaction removed the token ids of turn 1"
    assert whole(fold, 0) == [0, 1]
    assert [fold.prompt("r", index) for index in (1, 2, 3)] == [(None, reason)] * 3


def test_several_children_share_the_ids_of_their_parent() -> None:
    turns = [Turn(None, [1, 2], [3]), Turn(0, [1, 2, 3, 4], [5]), Turn(0, [1, 2, 3, 6], None)]
    rows = encoded(turns)
    assert [row[3] for row in rows] == [[1, 2], [4], [6]]
    assert rows[1][4] == rows[2][4]
    assert whole(PromptFold(rows), 2) == [1, 2, 3, 6]


def test_a_parent_without_ids_lets_a_child_store_the_whole() -> None:
    rows = encoded(
        [Turn(None, [1], [2]), Turn(0, None, [3]), Turn(1, [1, 2, 3], [4]), Turn(2, [1, 2, 3, 4], [])]
    )
    assert [row[3] for row in rows] == [[1], None, [1, 2, 3], []]
    assert whole(PromptFold(rows), 3) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "given",
    [(1, 2, 3), np.array([1, 2, 3]), np.array([1, 2, 3], np.int32)],
    ids=["tuple", "64 bits", "32 bits"],
)
def test_ids_may_come_in_a_tuple_or_a_buffer(given: Any) -> None:
    encoder = PromptEncoder()
    encoder.add(0, None, [1, 2], np.array([3], np.int32))
    assert encoder.add(1, 0, given, None).new_prompt_ids == []


@pytest.mark.parametrize(
    "wrong", [[2**31], ["1"], [1.5], [None], 3, "12", b"12"], ids=lambda value: repr(value)
)
def test_ids_that_are_not_32_bit_integers_are_refused(wrong: Any) -> None:
    with pytest.raises(EventInvalidError, match="token ids of turn 0"):
        PromptEncoder().add(0, None, wrong, None)
    with pytest.raises(EventInvalidError, match="token ids of turn 0"):
        PromptEncoder().add(0, None, [1], wrong)
    with pytest.raises(EventInvalidError, match="token ids of turn 0"):
        PromptFold([("r", 0, None, wrong, None, False, None)])


def test_an_encoder_needs_each_turn_once_and_its_parent_first() -> None:
    encoder = PromptEncoder()
    encoder.add(1, None, [1], None)
    with pytest.raises(EventInvalidError, match="same index"):
        encoder.add(1, None, [1], None)
    for turn_index, parent in ((2, 0), (2, 2), (0, 1)):
        with pytest.raises(EventInvalidError, match=f"turn {turn_index} does not come after its parent"):
            encoder.add(turn_index, parent, [1], None)


@pytest.mark.parametrize("parent", [None, 1, 2], ids=["no parent", "itself", "a circle"])
def test_a_delta_without_an_earlier_parent_is_refused(parent: int | None) -> None:
    rows: list[TokenRow] = [
        ("r", 1, parent, [1], "0" * 64, False, None),
        ("r", 2, 1, [1], "0" * 64, False, None),
    ]
    with pytest.raises(EventInvalidError, match="turn 1 of rollout r does not come after its parent"):
        PromptFold(rows).prompt("r", 2)


def test_lost_foreign_and_contradictory_turns_are_refused() -> None:
    rows = encoded(chain(3))
    with pytest.raises(EventInvalidError, match="no turn 1"):
        PromptFold([rows[0], rows[2]]).prompt("r", 2)
    with pytest.raises(EventInvalidError, match="turn 2 of rollout r does not continue the token ids"):
        PromptFold([rows[0], with_columns(rows[1], completion_ids=[9, 9]), rows[2]]).prompt("r", 2)
    with pytest.raises(EventInvalidError, match="two different rows of turn 1"):
        PromptFold([*rows, with_columns(rows[1], completion_ids=[9, 9])])
    with pytest.raises(KeyError):
        PromptFold(rows).prompt("s", 0)
    assert whole(PromptFold([*rows, *rows]), 2) == chain(3)[2].prompt


def test_rollouts_do_not_mix() -> None:
    other: TokenRow = ("s", 0, None, [7], None, False, [8])
    fold = PromptFold([*encoded(chain(2)), other])
    assert whole(fold, 1) == chain(2)[1].prompt
    assert fold.prompt("s", 0).ids == [7]


def test_a_rollout_of_many_turns_folds_without_recursion() -> None:
    encoder = PromptEncoder()
    context = np.arange(6_000, dtype=np.int32)
    rows: list[TokenRow] = []
    for index in range(3_000):
        parent = index - 1 if index else None
        delta = encoder.add(index, parent, context[: 2 * index + 1], context[2 * index + 1 : 2 * index + 2])
        rows.append(row_of(index, parent, delta, [2 * index + 1]))
    assert PromptFold(rows).prompt("r", 2_999).ids == context[:5_999].tolist()
