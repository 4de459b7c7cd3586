"""Logits of the tokens of an action, after contexts of any length.

**Everything is aligned on the end.** Rows are left-padded, so the last `A` positions are action tokens in
every row, and sequences whose contexts differ in length (student and hinted teacher, chosen and rejected)
still line up token by token.
**Plain logits, temperature 1.** The policy's fused head divides by the sampling temperature and returns no
logits; a call without its flag uses the model's own forward, and the caller divides if needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

PAD_ID = 0
"""Padding is masked out everywhere, so any id that exists in every vocabulary works."""


class RightAligned(NamedTuple):
    """Left-padded rows, each a context followed by an action."""

    input_ids: torch.Tensor
    """(N, L) int64."""
    attention_mask: torch.Tensor
    """(N, L) int64, 0 on padding."""
    action_ids: torch.Tensor
    """(N, A) int64, padded on the left: the last A positions of `input_ids`, column by column."""
    action_mask: torch.Tensor
    """(N, A) bool, true on the tokens of the row's own action."""


def left_pad(rows: Sequence[torch.Tensor], fill: int) -> torch.Tensor:
    """(N, L) from 1-D rows of at most L elements, filled on the left."""
    length = max(row.numel() for row in rows)
    out = rows[0].new_full((len(rows), length), fill)
    for index, row in enumerate(rows):
        out[index, length - row.numel() :] = row
    return out


def right_align(contexts: Sequence[torch.Tensor], actions: Sequence[torch.Tensor]) -> RightAligned:
    """Batch of context + action rows; a context holds one token at least: the first action token needs it."""
    rows = [torch.cat([context, action]) for context, action in zip(contexts, actions, strict=True)]
    return RightAligned(
        input_ids=left_pad(rows, PAD_ID),
        attention_mask=left_pad([torch.ones_like(row) for row in rows], 0),
        action_ids=left_pad(list(actions), PAD_ID),
        action_mask=left_pad([torch.ones_like(action) for action in actions], 0).bool(),
    )


def action_logits(model: nn.Module, batch: RightAligned) -> torch.Tensor:
    """(N, A, V) logits of `batch.action_ids`; the model must take `logits_to_keep` and `position_ids`."""
    action_length = batch.action_ids.size(1)
    outputs = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        # Padding on the left must not move the positions of models with absolute embeddings.
        position_ids=(batch.attention_mask.cumsum(dim=1) - 1).clamp(min=0),
        use_cache=False,
        logits_to_keep=action_length + 1,
    )
    return outputs.logits[:, :-1]


def token_logps(logits: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Log-probabilities in nats, float32, of `token_ids` (...) under `logits` (..., V)."""
    wide = logits.float()
    return wide.gather(-1, token_ids.unsqueeze(-1)).squeeze(-1) - wide.logsumexp(-1)
