"""Supervised warm start: a small policy learns to imitate demonstrations, mistakes included.

Flow: demonstrations (message lists) → tokenizer → ids and masks → AdamW on next-token loss → a policy in a folder.

**Demonstrations decide how good the policy is**: from an expert that blunders comes a mediocre policy with something left to learn.
**Deterministic**: same demonstrations, settings and thread count give the same weights.
**Trained once**: `warm_policy` keeps the result in a folder named by everything that went into it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from consumers.policy import ModelShape, TinyPolicy, new_policy
from consumers.rollout import RolloutRecord
from consumers.tokens import assistant_mask, render, text_ids
from schemas.canonical import hash_of
from schemas.environment import ToolDefinition
from schemas.message import Message

IGNORED = -100
DONE_MARK = "warm_start.done"


class WarmStartSettings(NamedTuple):
    """How long and how hard to imitate."""

    seed: int = 0
    update_count: int = 400
    batch_size: int = 32
    learning_rate: float = 3e-3
    warm_up_updates: int = 20
    context_weight: float = 0.1
    """Weight of the loss on what the policy reads, beside 1.0 on what it writes."""
    shape: ModelShape = ModelShape()


class _Example(NamedTuple):
    ids: list[int]
    weights: list[float]
    """Loss weight of predicting each id."""


def demonstration(record: RolloutRecord) -> list[Message]:
    """The whole conversation of a rollout up to its last action."""
    return [message for turn in record.turns for message in (*turn.new_messages, turn.action.message)]


def warm_policy(
    demonstrations: Sequence[Sequence[Message]],
    tools: Sequence[ToolDefinition],
    settings: WarmStartSettings,
    cache_folder: Path,
) -> TinyPolicy:
    """`warm_start`, or what an earlier call with the same arguments left in the folder."""
    name = hash_of([list(map(list, demonstrations)), list(tools), [list(settings[:-1]), list(settings.shape)]])
    folder = cache_folder / f"warm-{name[:16]}"
    if not (folder / DONE_MARK).exists():
        warm_start(demonstrations, tools, settings).save(folder)
        (folder / DONE_MARK).touch()
    return TinyPolicy.load(folder)


def warm_start(
    demonstrations: Sequence[Sequence[Message]],
    tools: Sequence[ToolDefinition],
    settings: WarmStartSettings,
) -> TinyPolicy:
    """A policy trained from scratch to imitate the demonstrations."""
    policy = _fitted_policy(demonstrations, tools, settings)
    examples = [_example(policy, messages, tools, settings) for messages in demonstrations]
    model = policy.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    for update, batch in enumerate(_batches(examples, settings)):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _rate_factor(update, settings)
        loss = _loss(policy, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    return policy


def _fitted_policy(
    demonstrations: Sequence[Sequence[Message]], tools: Sequence[ToolDefinition], settings: WarmStartSettings
) -> TinyPolicy:
    # The template is the same for every vocabulary, so an empty one can render the texts that the real one is fitted to.
    template = new_policy((), ModelShape(8, 1, 1, 8)).tokenizer
    texts = [render(template, messages, tools, answer_next=False) for messages in demonstrations]
    return new_policy(texts, settings.shape, seed=settings.seed)


def _example(
    policy: TinyPolicy, messages: Sequence[Message], tools: Sequence[ToolDefinition], settings: WarmStartSettings
) -> _Example:
    ids = text_ids(policy.tokenizer, render(policy.tokenizer, messages, tools, answer_next=False))
    mask = assistant_mask(policy.tokenizer, ids)
    return _Example(ids, [1.0 if written else settings.context_weight for written in mask])


def _batches(examples: Sequence[_Example], settings: WarmStartSettings) -> Iterator[list[_Example]]:
    """`update_count` batches of examples of like length, in passes over all of them."""
    generator = torch.Generator().manual_seed(settings.seed)
    batches: list[list[_Example]] = []
    for _ in range(settings.update_count):
        if not batches:
            batches = _pass_over(examples, settings.batch_size, generator)
        yield batches.pop()


def _pass_over(
    examples: Sequence[_Example], batch_size: int, generator: torch.Generator
) -> list[list[_Example]]:
    """Random batches; sorting within stretches of sixteen batches keeps padding short."""
    order = torch.randperm(len(examples), generator=generator).tolist()
    stretch = batch_size * 16
    batches: list[list[_Example]] = []
    for start in range(0, len(order), stretch):
        indices = sorted(order[start : start + stretch], key=lambda index: len(examples[index].ids))
        batches += [
            [examples[index] for index in indices[low : low + batch_size]]
            for low in range(0, len(indices), batch_size)
        ]
    return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]


def _loss(policy: TinyPolicy, batch: Sequence[_Example]) -> Tensor:
    """Weighted mean over the ids after the first."""
    longest = max(len(example.ids) for example in batch)
    pad_id = int(policy.tokenizer.pad_token_id)
    ids = torch.tensor([example.ids + [pad_id] * (longest - len(example.ids)) for example in batch])
    weights = torch.tensor([example.weights + [0.0] * (longest - len(example.ids)) for example in batch])
    # Padding is on the right and attention looks left, so no mask is needed.
    logits = policy.model(input_ids=ids, use_cache=False).logits[:, :-1]
    losses = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    flat_weights = weights[:, 1:].flatten()
    return (losses * flat_weights).sum() / flat_weights.sum()


def _rate_factor(update: int, settings: WarmStartSettings) -> float:
    """Linear rise, then a half cosine down to a twentieth."""
    if update < settings.warm_up_updates:
        return (update + 1) / settings.warm_up_updates
    rest = max(1, settings.update_count - settings.warm_up_updates)
    progress = (update - settings.warm_up_updates) / rest
    return 0.05 + 0.475 * (1 + math.cos(math.pi * progress))
