"""Hints reach the teacher's context and nothing else; the teacher's weights never change."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast
from trl import GRPOTrainer

from tracelake.consumers.action_logits import action_logits, right_align
from tracelake.consumers.hints.frozen_teacher import frozen_teacher, weights_fingerprint
from tracelake.consumers.hints.hinted_batch import (
    HintedTurn,
    build_hinted_batch,
    hinted_token_count,
    hinted_turns,
)
from tracelake.consumers.hints.hints import ToolErrorHints, generation_prompt_ids
from tracelake.consumers.hints.turn_views import RolloutView, policy_spans, rollout_views
from tracelake.schemas.errors import TrainingError

HINT = (70, 71, 72)
OPENING = (60, 61)


class EveryTurn:
    """Hints each turn with the same tokens."""

    def hints(self, rollout: RolloutView) -> list[tuple[int, ...] | None]:
        return [HINT for _ in rollout.turns]


def padded_batch() -> dict[str, torch.Tensor]:
    """Two rollouts: prompt of 2 and turns 3+3 around a tool turn of 4; prompt of 4 and one turn of 2."""
    return {
        "prompt_ids": torch.tensor([[0, 0, 10, 11], [12, 13, 14, 15]]),
        "prompt_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]),
        "completion_ids": torch.tensor(
            [[20, 21, 22, 30, 31, *OPENING, 23, 24, 1], [25, 1, 0, 0, 0, 0, 0, 0, 0, 0]]
        ),
        "completion_mask": torch.tensor([[1] * 10, [1] * 2 + [0] * 8]),
        "tool_mask": torch.tensor([[1, 1, 1, 0, 0, 0, 0, 1, 1, 1], [1] * 10]),
        "advantages": torch.tensor([0.5, -0.5]),
    }


class SpaceDecoder:
    """Writes token ids as numbers."""

    def decode(self, token_ids: list[int], skip_special_tokens: bool = False) -> str:
        return " ".join(str(token) for token in token_ids)


@given(st.lists(st.integers(0, 1), max_size=40))
def test_spans_are_the_maximal_runs_of_policy_tokens(mask: list[int]) -> None:
    spans = policy_spans(tuple(mask))
    rebuilt = [0] * len(mask)
    for start, end in spans:
        assert start < end
        rebuilt[start:end] = [1] * (end - start)
    assert rebuilt == mask
    assert all(before[1] < after[0] for before, after in pairwise(spans))


def test_views_have_turns_without_padding_and_the_tool_output_between_them() -> None:
    first, second = rollout_views(padded_batch(), [41, 42], SpaceDecoder())
    assert [(turn.start, turn.end) for turn in first.turns] == [(0, 3), (7, 10)]
    assert [turn.preceding_tool_text for turn in first.turns] == ["", "30 31 60 61"]
    assert (first.rollout_uid, first.prompt_ids, first.advantage) == (41, (10, 11), 0.5)
    assert [(turn.start, turn.end) for turn in second.turns] == [(0, 2)]
    assert second.completion_ids == (25, 1)


def test_a_rollout_that_is_masked_out_has_no_turns_to_hint() -> None:
    batch = padded_batch()
    batch["completion_mask"][0] = 0
    batch["tool_mask"][0] = 0
    first, _ = rollout_views(batch, [1, 2], SpaceDecoder())
    assert hinted_turns(first, EveryTurn()) == ()


def test_student_rows_contain_no_hint_and_the_mask_covers_exactly_the_hinted_turn() -> None:
    batch = padded_batch()
    views = rollout_views(batch, [1, 2], SpaceDecoder())
    turns = [hinted_turns(view, EveryTurn()) for view in views]
    assert hinted_token_count(turns) == 8
    student, teacher = build_hinted_batch(batch, turns)
    context = [10, 11, 20, 21, 22, 30, 31, *OPENING]
    expected = [
        ([10, 11], [20, 21, 22], [10, 11, *HINT]),
        (context, [23, 24, 1], [*context, *HINT]),
        ([12, 13, 14, 15], [25, 1], [12, 13, 14, 15, *HINT]),
    ]
    assert torch.equal(student.action_ids, teacher.action_ids)
    assert torch.equal(student.action_mask, teacher.action_mask)
    for row, (student_context, action, teacher_context) in enumerate(expected):
        assert unpadded(student, row) == student_context + action
        assert unpadded(teacher, row) == teacher_context + action
        assert student.action_ids[row][student.action_mask[row]].tolist() == action
    assert not set(student.input_ids.flatten().tolist()) & set(HINT)


def test_the_hint_goes_before_the_opening_of_the_policys_message() -> None:
    batch = padded_batch()
    turns = [(HintedTurn(1, 7, 10, HINT),), ()]
    _, teacher = build_hinted_batch(batch, turns, OPENING)
    assert unpadded(teacher, 0) == [10, 11, 20, 21, 22, 30, 31, *HINT, *OPENING, 23, 24, 1]
    _, elsewhere = build_hinted_batch(batch, turns, (99,))
    assert unpadded(elsewhere, 0) == [10, 11, 20, 21, 22, 30, 31, *OPENING, *HINT, 23, 24, 1]


def unpadded(rows: Any, row: int) -> list[int]:
    return rows.input_ids[row][rows.attention_mask[row].bool()].tolist()


def test_no_hints_still_give_one_row_to_run() -> None:
    student, teacher = build_hinted_batch(padded_batch(), [(), ()])
    assert student.input_ids.shape[0] == teacher.input_ids.shape[0] == 1
    assert not student.action_mask.any()


def test_a_provider_that_skips_a_turn_is_refused() -> None:
    class Forgetful:
        def hints(self, rollout: RolloutView) -> list[None]:
            return []

    view, _ = rollout_views(padded_batch(), [1, 2], SpaceDecoder())
    with pytest.raises(TrainingError, match="another number of entries"):
        hinted_turns(view, Forgetful())


def rollout_after(tokenizer: PreTrainedTokenizerFast, *tool_texts: str) -> RolloutView:
    completion, mask = [5, 6], [1, 1]
    for text in tool_texts:
        tool = tokenizer(text, add_special_tokens=False)["input_ids"]
        completion += [*tool, 5, 6]
        mask += [0] * len(tool) + [1, 1]
    batch = {
        "prompt_ids": torch.tensor([[9]]),
        "prompt_mask": torch.tensor([[1]]),
        "completion_ids": torch.tensor([completion]),
        "completion_mask": torch.ones(1, len(completion), dtype=torch.long),
        "tool_mask": torch.tensor([mask]),
        "advantages": torch.zeros(1),
    }
    return rollout_views(batch, [0], tokenizer)[0]


def test_tool_errors_are_hinted_with_their_last_matching_line(tokenizer) -> None:
    trace = "Traceback (most recent call)\n  line 3\nKeyError: {name}\n"
    provider = ToolErrorHints(tokenizer, template="[see {error}]")
    hints = provider.hints(rollout_after(tokenizer, "all good\n", trace))
    assert hints[:2] == [None, None]
    assert tokenizer.decode(hints[2]) == "[see KeyError: {name}]"


def test_excerpt_length_and_hints_per_rollout_are_bounded(tokenizer) -> None:
    provider = ToolErrorHints(tokenizer, template="{error}", excerpt_length_max=9, hints_per_rollout_max=2)
    hints = provider.hints(
        rollout_after(tokenizer, "error: aaaa\n", "ok\n", "error: bbbb\n", "error: cccc\n")
    )
    texts = [hint and tokenizer.decode(hint) for hint in hints]
    assert texts == [None, "error: aa", None, "error: bb", None]


def test_the_opening_is_the_generation_prompt_of_the_chat_template(tokenizer) -> None:
    template = (
        "{% for m in messages %}<{{ m.content }}>{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
    )
    assert tokenizer.decode(list(generation_prompt_ids(tokenizer, template, {}))) == "[a]"
    assert generation_prompt_ids(tokenizer, None, {}) == ()


def probe(model: torch.nn.Module) -> torch.Tensor:
    rows = right_align([torch.arange(3, 8)], [torch.arange(8, 12)])
    with torch.no_grad():
        return action_logits(model, rows)


def test_a_copy_of_a_policy_that_trl_has_patched_is_frozen_too(
    new_policy, tokenizer, prompts, reward, new_args
) -> None:
    policy = new_policy(3)
    GRPOTrainer(policy, reward, new_args(), train_dataset=prompts, processing_class=tokenizer)
    before = probe(policy)
    teacher = frozen_teacher(policy, None, None)
    given_copy = frozen_teacher(policy, copy.deepcopy(policy), None)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.5)
    assert not torch.allclose(probe(policy), before)
    assert torch.equal(probe(teacher), before)
    assert torch.equal(probe(given_copy), before)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_policy_cannot_be_its_own_teacher(new_policy) -> None:
    policy = new_policy(3)
    with pytest.raises(TrainingError, match="teacher is the policy"):
        frozen_teacher(policy, policy, None)


def test_trained_and_initial_weights_have_different_fingerprints(new_policy) -> None:
    policy = new_policy(3)
    before = weights_fingerprint(policy)
    assert before == weights_fingerprint(new_policy(3)) != weights_fingerprint(new_policy(4))
    with torch.no_grad():
        policy.lm_head.weight.add_(1e-3)
    assert weights_fingerprint(policy) != before
