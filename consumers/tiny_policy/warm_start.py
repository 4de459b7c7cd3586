"""Supervised warm start: a small policy learns to imitate demonstrations, mistakes included.

Flow: demonstrations (message lists) → tokenizer → ids and masks → Muon and AdamW on next-token loss → a
policy in a folder.

**Demonstrations decide how good the policy is**: an expert that blunders gives a mediocre policy that can
still learn.
**Deterministic**: same demonstrations, settings, machine and thread count give the same weights.
**Muon trains the hidden matrices**: measured at equal cost, 6400 demonstrations without blunders gave 51 %
held-out pass@1, against 9 % with AdamW.
**Trained once**: `warm_folder` caches the result in a folder named by the hash of its inputs.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from tracelake.consumers.tiny_policy.muon import float32_muon
from tracelake.consumers.tiny_policy.policy import ModelShape, TinyPolicy, new_policy
from tracelake.consumers.tiny_policy.tokenizer import PAD, assistant_mask, piece_id, render, text_ids
from tracelake.schemas.canonical import hash_of
from tracelake.schemas.environment import RolloutRecord, ToolDefinition
from tracelake.schemas.message import Message

IGNORED = -100


class WarmStartSettings(NamedTuple):
    """How long and how hard to imitate."""

    seed: int = 0
    update_count: int = 250
    batch_size: int = 16
    adam_rate: float = 6e-3
    """Embeddings and norms."""
    muon_rate: float = 0.02
    """Hidden matrices."""
    warm_up_updates: int = 20
    shape: ModelShape = ModelShape()


class _Example(NamedTuple):
    ids: list[int]
    written: list[bool]
    """True on the assistant's tokens: only these are imitated."""


def demonstration(record: RolloutRecord) -> list[Message]:
    """The whole conversation of a rollout up to its last action."""
    return [message for turn in record.turns for message in (*turn.new_messages, turn.action.message)]


def warm_folder(
    demonstrations: Sequence[Sequence[Message]],
    tools: Sequence[ToolDefinition],
    settings: WarmStartSettings,
    cache_folder: Path,
) -> Path:
    """Folder of a warm-started policy (`TinyPolicy.load`), trained unless an earlier call left it there."""
    content = [list(map(list, demonstrations)), list(tools), [list(settings[:-1]), list(settings.shape)]]
    folder = cache_folder / f"warm-{hash_of(content)[:16]}"
    if not folder.is_dir():
        cache_folder.mkdir(parents=True, exist_ok=True)
        # Saved elsewhere and renamed, so that a folder of this name is always complete.
        with tempfile.TemporaryDirectory(dir=cache_folder) as scratch:
            unnamed = Path(scratch) / folder.name
            warm_start(demonstrations, tools, settings).save(unnamed)
            unnamed.rename(folder)
    return folder


def warm_policy(
    demonstrations: Sequence[Sequence[Message]],
    tools: Sequence[ToolDefinition],
    settings: WarmStartSettings,
    cache_folder: Path,
) -> TinyPolicy:
    """`warm_start`, or the cached policy of an earlier call with the same arguments."""
    return TinyPolicy.load(warm_folder(demonstrations, tools, settings, cache_folder))


def warm_start(
    demonstrations: Sequence[Sequence[Message]],
    tools: Sequence[ToolDefinition],
    settings: WarmStartSettings,
) -> TinyPolicy:
    """A policy trained from scratch to imitate the demonstrations."""
    policy = _fitted_policy(demonstrations, tools, settings)
    examples = [_example(policy, messages, tools) for messages in demonstrations]
    model = policy.model.train()
    optimizers = _optimizers(model, settings)
    schedules = [
        LambdaLR(optimizer, lambda update: _rate_factor(update, settings)) for optimizer in optimizers
    ]
    for batch in _batches(examples, settings):
        model.zero_grad(set_to_none=True)
        _loss(policy, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
    model.eval()
    return policy


def _optimizers(model: PreTrainedModel, settings: WarmStartSettings) -> list[Optimizer]:
    embeddings = model.get_input_embeddings().weight
    hidden = [weight for weight in model.parameters() if weight.ndim == 2 and weight is not embeddings]
    others = [weight for weight in model.parameters() if weight.ndim != 2 or weight is embeddings]
    return [
        float32_muon(hidden, lr=settings.muon_rate),
        torch.optim.AdamW(others, lr=settings.adam_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def _fitted_policy(
    demonstrations: Sequence[Sequence[Message]], tools: Sequence[ToolDefinition], settings: WarmStartSettings
) -> TinyPolicy:
    # The template is the same for every vocabulary, so an empty one can render the texts to fit the real one
    # to.
    template = new_policy((), ModelShape(8, 1, 1, 8)).tokenizer
    texts = [render(template, messages, tools, answer_next=False) for messages in demonstrations]
    return new_policy(texts, settings.shape, seed=settings.seed)


def _example(policy: TinyPolicy, messages: Sequence[Message], tools: Sequence[ToolDefinition]) -> _Example:
    ids = text_ids(policy.tokenizer, render(policy.tokenizer, messages, tools, answer_next=False))
    return _Example(ids, assistant_mask(policy.tokenizer, ids))


def _batches(examples: Sequence[_Example], settings: WarmStartSettings) -> Iterator[list[_Example]]:
    """`update_count` batches of examples of similar length, in passes over all of them."""
    generator = torch.Generator().manual_seed(settings.seed)
    batches: list[list[_Example]] = []
    for _ in range(settings.update_count):
        if not batches:
            batches = _pass_over(examples, settings.batch_size, generator)
        yield batches.pop()


def _pass_over(
    examples: Sequence[_Example], batch_size: int, generator: torch.Generator
) -> list[list[_Example]]:
    """Random batches; sorting within stretches of sixteen batches saves padding."""
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
    """Mean over the assistants' tokens. Padding is on the right and attention looks left, so no mask is
    needed.
    """
    longest = max(len(example.ids) for example in batch)
    pad_id = piece_id(policy.tokenizer, PAD)
    ids = torch.full((len(batch), longest), pad_id)
    labels = torch.full((len(batch), longest), IGNORED)
    for row, example in enumerate(batch):
        tokens = torch.tensor(example.ids)
        ids[row, : len(tokens)] = tokens
        labels[row, : len(tokens)] = tokens.where(torch.tensor(example.written), torch.tensor(IGNORED))
    logits = policy.model(input_ids=ids, use_cache=False).logits[:, :-1]
    return functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def _rate_factor(update: int, settings: WarmStartSettings) -> float:
    """Linear rise, then a half cosine down to a twentieth."""
    if update < settings.warm_up_updates:
        return (update + 1) / settings.warm_up_updates
    rest = max(1, settings.update_count - settings.warm_up_updates)
    progress = (update - settings.warm_up_updates) / rest
    return 0.05 + 0.475 * (1 + math.cos(math.pi * progress))
