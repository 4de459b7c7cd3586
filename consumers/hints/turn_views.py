"""A rollout as its turns, found in the token mask without tokenising again.

In the completion, each maximal run of policy tokens (mask 1) is one turn's model output; the tokens between
two of them (mask 0) are the environment's output, template included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import torch


class Decoder(Protocol):
    """The part of a tokenizer that turns token ids into text."""

    def decode(self, token_ids: list[int], skip_special_tokens: bool = False) -> str:
        """Text of some token ids."""
        ...


@dataclass(frozen=True)
class TurnView:
    """One model output within a completion."""

    turn_index: int
    start: int
    """First token, counted in the completion."""
    end: int
    """One past the last token."""
    preceding_tool_text: str
    """The environment's output since the turn before, without special tokens; may be empty."""


@dataclass(frozen=True)
class RolloutView:
    """One rollout without padding. If TRL masks it out (truncated), it has no completion and no turns."""

    rollout_uid: int
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    policy_mask: tuple[int, ...]
    """1 where the policy chose the token, same length as `completion_ids`."""
    turns: tuple[TurnView, ...]
    advantage: float | None
    """None where the trainer computes one advantage per token."""


def policy_spans(policy_mask: tuple[int, ...]) -> list[tuple[int, int]]:
    """Half-open spans of the maximal runs of ones."""
    spans = []
    position = 0
    for value, run in groupby(policy_mask):
        length = sum(1 for _ in run)
        if value:
            spans.append((position, position + length))
        position += length
    return spans


def rollout_views(
    output: Mapping[str, Any], rollout_uids: list[int], decoder: Decoder
) -> tuple[RolloutView, ...]:
    """Views of TRL's padded generation batch, in its row order."""
    mask = output["completion_mask"]
    policy_mask = mask * output["tool_mask"] if "tool_mask" in output else mask
    advantages = output["advantages"]
    scalars = advantages.tolist() if advantages.dim() == 1 else [None] * len(rollout_uids)
    views = []
    for row, rollout_uid in enumerate(rollout_uids):
        length = int(mask[row].sum())
        completion_ids = tuple(output["completion_ids"][row, :length].tolist())
        row_mask = tuple(policy_mask[row, :length].tolist())
        views.append(
            RolloutView(
                rollout_uid=rollout_uid,
                prompt_ids=tuple(output["prompt_ids"][row][output["prompt_mask"][row].bool()].tolist()),
                completion_ids=completion_ids,
                policy_mask=row_mask,
                turns=_turns(completion_ids, row_mask, decoder),
                advantage=scalars[row],
            )
        )
    return tuple(views)


def _turns(
    completion_ids: tuple[int, ...], policy_mask: tuple[int, ...], decoder: Decoder
) -> tuple[TurnView, ...]:
    turns = []
    previous_end = 0
    for turn_index, (start, end) in enumerate(policy_spans(policy_mask)):
        between = list(completion_ids[previous_end:start])
        text = decoder.decode(between, skip_special_tokens=True) if between else ""
        turns.append(TurnView(turn_index, start, end, text))
        previous_end = end
    return tuple(turns)


def row_context(batch: Mapping[str, torch.Tensor], row: int, end: int) -> torch.Tensor:
    """(n,) prompt and completion tokens of one row up to completion position `end`, without padding."""
    prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
    return torch.cat([prompt, batch["completion_ids"][row, :end]])
