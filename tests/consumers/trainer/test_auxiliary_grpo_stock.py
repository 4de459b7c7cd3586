"""With both weights zero the trainer is TRL's, bit for bit; and TRL has the seams that it needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import trl
from trl import GRPOTrainer

from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig
from tracelake.consumers.pairs.pair_batches import PairDataset
from tracelake.consumers.trainer.auxiliary_grpo import AuxiliaryGRPOTrainer, TrainingHooks


class CountingHooks:
    """Counts what the trainer reports."""

    def __init__(self) -> None:
        self.rollout_uids: list[int] = []
        self.generated_count = 0

    def on_rollouts_scored(self, policy_version: int, rollouts: Any, hinted: Any) -> None:
        self.generated_count += len(rollouts)

    def on_batch_consumed(self, train_step: int, rollout_uids: tuple[int, ...], policy_version: int) -> None:
        self.rollout_uids += rollout_uids

    def on_pairs_consumed(self, train_step: int, pair_ids: tuple[str, ...], weight: float) -> None:
        raise AssertionError("no pairs are consumed at weight zero")


@pytest.fixture
def train(new_policy, tokenizer, prompts, reward, new_args) -> Callable[..., Any]:
    def run(trainer_class: type[GRPOTrainer], own: dict[str, Any], **changes: Any) -> Any:
        args = new_args(**changes)
        trainer = trainer_class(
            new_policy(3), reward, args, train_dataset=prompts, processing_class=tokenizer, **own
        )
        trainer.train()
        return trainer

    return run


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "bnpo"])
def test_zero_weights_leave_every_parameter_and_random_number_as_stock_grpo(
    train, new_policy, pair_rows, loss_type: str, accumulation: int
) -> None:
    changes = {"loss_type": loss_type, "gradient_accumulation_steps": accumulation}
    hooks: TrainingHooks = CountingHooks()
    own = {"auxiliary": AuxiliaryLossConfig(), "pairs": PairDataset.from_rows(pair_rows), "hooks": hooks}
    stock = train(GRPOTrainer, {}, **changes)
    stock_random = torch.get_rng_state()
    ours = train(AuxiliaryGRPOTrainer, {**own, "teacher_model": new_policy(9)}, **changes)

    assert stock.state.global_step == ours.state.global_step == 3
    assert torch.equal(stock_random, torch.get_rng_state())
    initial = dict(new_policy(3).named_parameters())
    for (name, theirs), mine in zip(stock.model.named_parameters(), ours.model.parameters(), strict=True):
        assert torch.equal(theirs, mine), name
        assert not torch.equal(initial[name], mine), f"{name} never moved"
    assert (ours.hint_channel, ours.pair_channel) == (None, None)
    assert sorted(hooks.rollout_uids) == list(range(hooks.generated_count))
    assert not [
        name for entry in ours.state.log_history for name in entry if name.startswith(("sdpo", "pair"))
    ]


def test_every_rollout_has_the_same_uid_after_shuffle_and_split(train) -> None:
    hooks = CountingHooks()
    train(AuxiliaryGRPOTrainer, {"hooks": hooks}, gradient_accumulation_steps=2, max_steps=2)
    assert hooks.rollout_uids != sorted(hooks.rollout_uids)
    assert sorted(hooks.rollout_uids) == list(range(16))


def test_trl_is_the_version_that_the_overrides_were_written_for() -> None:
    assert trl.__version__.split(".")[:2] == ["1", "16"]
    assert GRPOTrainer.loss_is_scaled_for_ga is True


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("_compute_loss", ["self", "model", "inputs"]),
        ("_generate_and_score_completions", ["self", "inputs"]),
        ("_save_checkpoint", ["self", "model", "trial"]),
        ("_load_optimizer_and_scheduler", ["self", "checkpoint"]),
    ],
)
def test_overridden_methods_exist_with_their_signatures(method: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(GRPOTrainer, method)).parameters) == parameters
    assert list(inspect.signature(getattr(AuxiliaryGRPOTrainer, method)).parameters) == parameters


def test_generation_output_has_the_keys_that_the_channels_read(
    new_policy, tokenizer, prompts, reward, new_args, scripted_rollouts
) -> None:
    trainer = AuxiliaryGRPOTrainer(
        new_policy(3),
        reward,
        new_args(),
        train_dataset=prompts,
        processing_class=tokenizer,
        rollout_func=scripted_rollouts,
        auxiliary=AuxiliaryLossConfig(sdpo_weight=1.0),
    )
    trainer.model.train()
    output = trainer._generate_and_score_completions([{"prompt": "$ run a\n"} for _ in range(4)])
    stock_keys = {
        "prompt_ids",
        "prompt_mask",
        "completion_ids",
        "completion_mask",
        "advantages",
        "num_items_in_batch",
        "tool_mask",
    }
    assert set(output) == stock_keys | {"rollout_uid", "hinted_turns", "hinted_token_count"}
    assert output["rollout_uid"].dtype == torch.int64
    assert output["rollout_uid"].shape == (4,)
    assert output["hinted_token_count"].ndim == 0
    assert len(output["hinted_turns"]) == 4
    trainer.model.eval()
    evaluated = trainer._generate_and_score_completions([{"prompt": "$ run a\n"} for _ in range(4)])
    assert set(evaluated) == stock_keys
