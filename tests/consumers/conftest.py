"""A policy of a few thousand float32 parameters, a character tokenizer and scripted rollouts.

TRL itself is the real one; nothing is downloaded.
"""

from __future__ import annotations

import os
import string
from collections.abc import Callable
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig

from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig
from tracelake.consumers.pairs.dpo_loss import reference_logprobs
from tracelake.consumers.pairs.pair_batches import PairDataset
from tracelake.consumers.trainer.auxiliary_grpo import AuxiliaryGRPOTrainer

# Rollout functions are experimental in TRL, which warns at each construction unless this is set.
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

CHARACTERS = string.ascii_letters + string.digits + " \n.,:;[]{}()<>/_-'\"!?=$#"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2}
    vocabulary |= {character: index for index, character in enumerate(CHARACTERS, start=3)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )


@pytest.fixture(scope="session")
def new_policy(tokenizer: PreTrainedTokenizerFast) -> Callable[[int], LlamaForCausalLM]:
    """The same seed gives the same weights."""

    def build(seed: int = 0) -> LlamaForCausalLM:
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=512,
            initializer_range=0.3,
            tie_word_embeddings=True,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
            attention_dropout=0.0,
        )
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)

    return build


@pytest.fixture(scope="session")
def prompts() -> Dataset:
    return Dataset.from_dict({"prompt": [f"$ run {name}\n" for name in "abcdefgh"]})


@pytest.fixture
def new_args(tmp_path: Any) -> Callable[..., GRPOConfig]:
    """Sampling temperature 0.8, so that a term scored at the wrong temperature shows."""

    def build(**changes: Any) -> GRPOConfig:
        settings: dict[str, Any] = {
            "output_dir": str(tmp_path / "run"),
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "report_to": "none",
            "disable_tqdm": True,
            "save_strategy": "no",
            "logging_steps": 1,
            "max_steps": 3,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "max_completion_length": 8,
            "temperature": 0.8,
            "seed": 7,
        }
        return GRPOConfig(**(settings | changes))

    return build


def letter_reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """Varies within each group, so that the policy gradient is not zero."""
    return [sum(token % 7 for token in ids) / 10.0 for ids in completion_ids]


@pytest.fixture(scope="session")
def reward() -> Callable[..., list[float]]:
    return letter_reward


@pytest.fixture(scope="session")
def scripted_rollouts(tokenizer: PreTrainedTokenizerFast) -> Callable[..., dict[str, Any]]:
    """A rollout_func: model, tool, model; of every four rollouts two hit an error and one has one turn."""

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def rollouts(prompts: list[str], trainer: Any) -> dict[str, Any]:
        prompt_ids, completion_ids, masks = [], [], []
        for index, prompt in enumerate(prompts):
            first, last = encode(f"cat f{index % 4}"), [*encode(f"ls {index % 3}"), 1]
            tool = encode(["\nError: no such file\n", "\nok\n", "\nTypeError: f\n", "\nfine\n"][index % 4])
            parts = [(first, 1), (tool, 0), (last, 1)] if index % 4 != 3 else [(last, 1)]
            prompt_ids.append(encode(prompt))
            completion_ids.append([token for ids, _ in parts for token in ids])
            masks.append([value for ids, value in parts for _ in ids])
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": completion_ids,
            "logprobs": None,
            "env_mask": masks,
        }

    return rollouts


@pytest.fixture(scope="session")
def pair_rows(tokenizer: PreTrainedTokenizerFast) -> list[dict[str, Any]]:
    """Six pairs whose prompts and actions all differ in length."""

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    return [
        {
            "pair_id": f"pair-{index}",
            "prompt_ids": encode(f"$ see {'x' * index}\n"),
            "chosen_ids": [*encode(f"cat {'a' * index}"), 1],
            "rejected_ids": [*encode(f"rm {'b' * (5 - index)}"), 1],
            "vote_margin": (index + 1) / 6,
        }
        for index in range(6)
    ]


@pytest.fixture
def new_channel_trainer(
    new_policy, tokenizer, prompts, reward, new_args, scripted_rollouts, pair_rows
) -> Callable[..., AuxiliaryGRPOTrainer]:
    """Scripted rollouts, six pairs, a teacher with weights of its own; the two weights come first."""

    def build(sdpo_weight: float, pair_weight: float, own: dict[str, Any] | None = None, **changes: Any):
        keys = AuxiliaryLossConfig.model_fields.keys() & changes.keys()
        settings = {"sdpo_top_k": 10, "pairs_per_micro_batch": 6} | {key: changes.pop(key) for key in keys}
        config = AuxiliaryLossConfig(sdpo_weight=sdpo_weight, pair_weight=pair_weight, **settings)
        arguments = {
            "auxiliary": config,
            "pairs": reference_logprobs(new_policy(2), PairDataset.from_rows(pair_rows), config),
            "teacher_model": new_policy(4),
            "rollout_func": scripted_rollouts,
        }
        return AuxiliaryGRPOTrainer(
            new_policy(3),
            reward,
            new_args(**changes),
            train_dataset=prompts,
            processing_class=tokenizer,
            **(arguments | (own or {})),
        )

    return build
