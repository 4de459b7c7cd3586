"""Student and teacher sequences of the hinted turns of one micro-batch.

Each hinted turn is a pair of rows that end with the same action tokens:

    student   context                  + action
    teacher   context, hint inserted   + action

**The student row contains no hint token.** It is cut from the rollout's own ids; only the teacher row gets
the hint.
**Nothing after the hinted turn is read**, and the context of one turn never contains the hint of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from tracelake.consumers.action_logits import PAD_ID, RightAligned, right_align
from tracelake.consumers.hints.hints import Hint, HintProvider
from tracelake.consumers.hints.turn_views import RolloutView, row_context
from tracelake.schemas.errors import TrainingError


@dataclass(frozen=True)
class HintedTurn:
    """A turn with a hint; `start` and `end` are positions in the completion."""

    turn_index: int
    start: int
    end: int
    hint_ids: Hint


class HintedBatch(NamedTuple):
    """Both sides of H hinted turns; their action ids and masks are equal."""

    student: RightAligned
    teacher: RightAligned


def hinted_turns(rollout: RolloutView, provider: HintProvider) -> tuple[HintedTurn, ...]:
    """The turns that the provider gives a hint for. Raises TrainingError unless it has an entry per turn."""
    hints = provider.hints(rollout)
    if len(hints) != len(rollout.turns):
        raise TrainingError(
            "a hint provider returned another number of entries",
            got=len(hints),
            expected=f"{len(rollout.turns)} entries, None for a turn without a hint",
        )
    return tuple(
        HintedTurn(turn.turn_index, turn.start, turn.end, tuple(hint))
        for turn, hint in zip(rollout.turns, hints, strict=True)
        if hint
    )


def hinted_token_count(turns_by_row: Sequence[Sequence[HintedTurn]]) -> int:
    """Action tokens of all hinted turns."""
    return sum(turn.end - turn.start for turns in turns_by_row for turn in turns)


def build_hinted_batch(
    batch: Mapping[str, torch.Tensor], turns_by_row: Sequence[Sequence[HintedTurn]], opening_ids: Hint = ()
) -> HintedBatch:
    """Rows in batch order, turns in order within a row; `batch` holds TRL's padded ids and masks.

    If a context ends with `opening_ids`, the template's opening of the policy's message, the hint goes before
    them. Without any hinted turn the result is one row of padding with an empty action mask: the forward
    passes still happen, because in a sharded job they are collective.
    """
    contexts: list[torch.Tensor] = []
    hinted_contexts: list[torch.Tensor] = []
    actions: list[torch.Tensor] = []
    for row, turns in enumerate(turns_by_row):
        for turn in turns:
            context = row_context(batch, row, turn.start)
            contexts.append(context)
            hinted_contexts.append(_with_hint(context, turn.hint_ids, opening_ids))
            actions.append(batch["completion_ids"][row, turn.start : turn.end])
    if not actions:
        return _empty(batch["completion_ids"])
    return HintedBatch(right_align(contexts, actions), right_align(hinted_contexts, actions))


def _with_hint(context: torch.Tensor, hint_ids: Hint, opening_ids: Hint) -> torch.Tensor:
    hint = context.new_tensor(hint_ids)
    opening = context.new_tensor(opening_ids)
    cut = context.numel() - opening.numel()
    if cut < 0 or not torch.equal(context[cut:], opening):
        cut = context.numel()
    return torch.cat([context[:cut], hint, context[cut:]])


def _empty(like: torch.Tensor) -> HintedBatch:
    padding = like.new_full((1,), PAD_ID)
    rows = right_align([padding], [padding])
    rows = rows._replace(action_mask=torch.zeros_like(rows.action_mask))
    return HintedBatch(rows, rows)
