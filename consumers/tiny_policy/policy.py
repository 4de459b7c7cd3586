"""A policy small enough to learn on a CPU: a tiny Llama, its tokenizer and its sampler.

Flow: new_policy(texts, shape, seed) → TinyPolicy.act(contexts) ⇄ training of `.model` → save / load
(save_pretrained).

**Sampling is recomputable**: a forward pass over `prompt_ids + completion_ids` gives the recorded logprobs
to 1e-4.
**Every sample becomes a message**, well-formed or not; the environment reports errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from tracelake.consumers.tiny_policy.sampling import Sampled, sample
from tracelake.consumers.tiny_policy.tokenizer import (
    END,
    PAD,
    completion_message,
    context_ids,
    fit_tokenizer,
    piece_id,
)
from tracelake.schemas.environment import FinishReason, PolicyAction, ToolDefinition
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.message import Message

CONTEXT_TOKENS_MAX = 1024
ACTION_TOKENS_MAX = 40
SPACED_WORD_NOISE = 0.3


class ModelShape(NamedTuple):
    """Size of a tiny policy; the default has 2.2 million parameters.

    Two layers learn the small world faster than three or four, and as well.
    """

    hidden: int = 256
    layers: int = 2
    heads: int = 4
    feed_forward: int = 1024


class TinyPolicy:
    """`TrainablePolicy` over a causal language model on this process's CPU."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        temperature: float = 1.0,
        action_tokens_max: int = ACTION_TOKENS_MAX,
    ) -> None:
        if temperature <= 0:
            raise BadInputError("a policy samples", got=temperature, expected="temperature above 0")
        self.model = model
        self.tokenizer = tokenizer
        self.temperature = temperature
        self.action_tokens_max = action_tokens_max

    @classmethod
    def load(cls, folder: Path, *, temperature: float = 1.0) -> Self:
        """Load a folder that `save` wrote."""
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return cls(model, PreTrainedTokenizerFast.from_pretrained(folder), temperature=temperature)

    def save(self, folder: Path) -> None:
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def act(
        self,
        contexts: Sequence[Sequence[Message]],
        tools: Sequence[ToolDefinition],
        *,
        seeds: Sequence[int],
        prefix_ids: Sequence[Sequence[int] | None] | None = None,
    ) -> list[PolicyAction]:
        """One action per context; a context that fills the window gets an empty action, `length`."""
        prefixes = prefix_ids or [None] * len(contexts)
        prompts = [
            context_ids(self.tokenizer, context, tools, prefix)
            for context, prefix in zip(contexts, prefixes, strict=True)
        ]
        fits = [len(prompt) + self.action_tokens_max <= CONTEXT_TOKENS_MAX for prompt in prompts]
        fitting = [prompt for prompt, fit in zip(prompts, fits, strict=True) if fit]
        rows = iter(self._sample(fitting, [seed for seed, fit in zip(seeds, fits, strict=True) if fit]))
        sampled = [next(rows) if fit else Sampled((), ()) for fit in fits]
        return [
            self._action(prompt, row, f"call_{len(context)}")
            for prompt, row, context in zip(prompts, sampled, contexts, strict=True)
        ]

    def _sample(self, prompts: list[list[int]], seeds: list[int]) -> list[Sampled]:
        if not prompts:
            return []
        return sample(
            self.model,
            prompts,
            seeds=seeds,
            token_count_max=self.action_tokens_max,
            temperature=self.temperature,
            end_id=piece_id(self.tokenizer, END),
            pad_id=piece_id(self.tokenizer, PAD),
        )

    def _action(self, prompt: list[int], row: Sampled, call_id_prefix: str) -> PolicyAction:
        message = completion_message(self.tokenizer, row.ids, call_id_prefix=call_id_prefix)
        ended = bool(row.ids) and row.ids[-1] == piece_id(self.tokenizer, END)
        reason: FinishReason = "length" if not ended else "tool_calls" if "tool_calls" in message else "stop"
        return PolicyAction(message, tuple(prompt), row.ids, row.logprobs, reason)


def new_policy(texts: Iterable[str], shape: ModelShape | None = None, *, seed: int = 0) -> TinyPolicy:
    """An untrained policy whose tokenizer is fitted to the texts. Same arguments, same weights."""
    tokenizer = fit_tokenizer(texts)
    shape = shape or ModelShape()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=CONTEXT_TOKENS_MAX,
        tie_word_embeddings=True,
        pad_token_id=piece_id(tokenizer, PAD),
        eos_token_id=piece_id(tokenizer, END),
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).eval()
    _share_word_embeddings(model, tokenizer)
    return TinyPolicy(model.float(), tokenizer)


def _share_word_embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Start ` word` close to `word`, so that copying a name is not learned once per spelling."""
    vocabulary = tokenizer.get_vocab()
    spaced = [piece for piece in vocabulary if piece.startswith(" ") and piece[1:] in vocabulary]
    to_ids = [vocabulary[piece] for piece in spaced]
    from_ids = [vocabulary[piece[1:]] for piece in spaced]
    with torch.no_grad():
        weight = cast("Tensor", model.get_input_embeddings().weight)
        weight[to_ids] = weight[from_ids] + SPACED_WORD_NOISE * weight[to_ids]
