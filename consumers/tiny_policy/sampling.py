"""Batched sampling from a small causal language model, with a key-value cache and exact logprobs.

**The logprobs are those of the distribution that was sampled from**: softmax of the logits over the
temperature, without truncation.
**A row's draws do not depend on its batch**: each row has its own seed.
Measured with the default shape on one core: 32 rollouts of 3 to 6 turns take about a second, tests included.

Shapes: B rows, P longest prompt, N new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


class Sampled(NamedTuple):
    """One row's new tokens; if the end id is missing, it was cut."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """float32, nats."""


class _Draw(NamedTuple):
    ids: Tensor
    """int64 [B]."""
    logprobs: Tensor
    """float32 [B]."""


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    seeds: Sequence[int],
    token_count_max: int,
    temperature: float,
    end_id: int,
    pad_id: int,
) -> list[Sampled]:
    """Continue each prompt until its end id or `token_count_max`. Prompts must not be empty."""
    ids, mask = _left_padded(prompts, pad_id)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    drawn = _Drawn(len(prompts), end_id)
    for uniforms_b in _uniforms(seeds, token_count_max).unbind(1):
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        output = model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        draw = _draw(output.logits[:, -1].float() / temperature, uniforms_b[drawn.rows])
        rows = drawn.add(draw)
        if rows is not None:
            if not len(rows):
                break
            cache.batch_select_indices(rows)
            mask, positions, draw = mask[rows], positions[rows], _Draw(draw.ids[rows], draw.logprobs[rows])
        ids, positions = draw.ids[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
    return drawn.sampled()


class _Drawn:
    """Tokens drawn for each prompt, and the rows still in the batch."""

    def __init__(self, prompt_count: int, end_id: int) -> None:
        self._ids: list[list[int]] = [[] for _ in range(prompt_count)]
        self._logprobs: list[list[float]] = [[] for _ in range(prompt_count)]
        self._end_id = end_id
        self.rows = torch.arange(prompt_count)
        """int64 [B]: the prompt index of each row of the batch."""

    def add(self, draw: _Draw) -> Tensor | None:
        """Append a draw. Returns the unfinished rows, int64, once a smaller batch pays; None before."""
        rows = zip(self.rows.tolist(), draw.ids.tolist(), draw.logprobs.tolist(), strict=True)
        for prompt, token, logprob in rows:
            if not self._ended(prompt):
                self._ids[prompt].append(token)
                self._logprobs[prompt].append(logprob)
        unfinished = [row for row, prompt in enumerate(self.rows.tolist()) if not self._ended(prompt)]
        if len(unfinished) > len(self.rows) // 2:
            return None
        remaining = torch.tensor(unfinished, dtype=torch.long)
        self.rows = self.rows[remaining]
        return remaining

    def sampled(self) -> list[Sampled]:
        """Each row up to and including its end id."""
        rows = zip(self._ids, self._logprobs, strict=True)
        return [Sampled(tuple(ids), tuple(logprobs)) for ids, logprobs in rows]

    def _ended(self, prompt: int) -> bool:
        ids = self._ids[prompt]
        return bool(ids) and ids[-1] == self._end_id


def _left_padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids and mask, int64 [B, P]."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    mask = (torch.arange(longest)[None, :] >= longest - lengths[:, None]).long()
    return ids, mask


def _uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """float64 [B, count] in [0, 1), each row from its own seed."""
    rows = [
        torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in seeds
    ]
    return torch.stack(rows)


def _draw(logits: Tensor, uniforms: Tensor) -> _Draw:
    """Invert the cumulative distribution. logits float32 [B, V], uniforms float64 [B]."""
    logprobs = logits.log_softmax(-1)
    cumulative = logprobs.double().exp().cumsum(-1)
    # Scaling by the last sum keeps a draw near 1 inside the vocabulary despite rounding.
    targets = uniforms[:, None] * cumulative[:, -1:]
    ids = torch.searchsorted(cumulative, targets, right=True).clamp(max=logits.shape[-1] - 1)
    return _Draw(ids[:, 0], logprobs.gather(1, ids)[:, 0])
