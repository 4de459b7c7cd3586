"""A resumed run is the uninterrupted one: weights, pairs, rollout ids; a launch that differs is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOTrainer

from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig
from tracelake.consumers.hints.turn_views import RolloutView
from tracelake.consumers.pairs.dpo_loss import reference_logprobs
from tracelake.consumers.pairs.pair_batches import PairDataset
from tracelake.consumers.trainer.auxiliary_grpo import STATE_NAME, AuxiliaryGRPOTrainer
from tracelake.schemas.errors import TrainingError

CONFIG = AuxiliaryLossConfig(sdpo_weight=0.5, pair_weight=0.5, sdpo_top_k=10, pairs_per_micro_batch=4)
HINT = (9, 10, 11)


class LastTurn:
    """Hints the last turn, so that generated text needs no error in it."""

    def hints(self, rollout: RolloutView) -> list[tuple[int, ...] | None]:
        return [None] * (len(rollout.turns) - 1) + [HINT]


class PairLog:
    """Keeps what was consumed."""

    def __init__(self) -> None:
        self.consumed: list[tuple[int, Any]] = []

    def on_rollouts_scored(self, policy_version: int, rollouts: Any, hinted: Any) -> None:
        pass

    def on_batch_consumed(self, train_step: int, rollout_uids: tuple[int, ...], policy_version: int) -> None:
        self.consumed.append((train_step, rollout_uids))

    def on_pairs_consumed(self, train_step: int, pair_ids: tuple[str, ...], weight: float) -> None:
        self.consumed.append((train_step, pair_ids))


@pytest.fixture
def new_trainer(
    new_policy, tokenizer, prompts, reward, new_args, pair_rows
) -> Callable[..., AuxiliaryGRPOTrainer]:
    """Samples its rollouts, so that resuming has to restore the random state too."""

    def build(
        log: PairLog | None = None, *, policy_seed: int = 3, pair_count: int = 6
    ) -> AuxiliaryGRPOTrainer:
        pairs = reference_logprobs(new_policy(2), PairDataset.from_rows(pair_rows[:pair_count]), CONFIG)
        return AuxiliaryGRPOTrainer(
            new_policy(policy_seed),
            reward,
            new_args(max_steps=4, gradient_accumulation_steps=2, save_strategy="steps", save_steps=2),
            train_dataset=prompts,
            processing_class=tokenizer,
            auxiliary=CONFIG,
            pairs=pairs,
            hint_provider=LastTurn(),
            hooks=log,
        )

    return build


@pytest.fixture
def checkpoint(new_trainer, tmp_path) -> str:
    new_trainer().train()
    return str(tmp_path / "run" / "checkpoint-2")


def test_a_resumed_run_equals_an_uninterrupted_one(new_trainer, tmp_path) -> None:
    whole_log, resumed_log = PairLog(), PairLog()
    whole = new_trainer(whole_log)
    whole.train()
    resumed = new_trainer(resumed_log)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert whole.state.global_step == resumed.state.global_step == 4
    assert resumed_log.consumed == [entry for entry in whole_log.consumed if entry[0] > 2]
    assert len(resumed_log.consumed) == 8
    for mine, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert resumed.pair_channel.cursor.state_dict() == whole.pair_channel.cursor.state_dict()


def test_a_checkpoint_without_auxiliary_state_is_refused(new_trainer, checkpoint: str) -> None:
    os.remove(Path(checkpoint) / STATE_NAME)
    with pytest.raises(TrainingError, match="no auxiliary state"):
        new_trainer().train(resume_from_checkpoint=checkpoint)


def test_resuming_with_other_pairs_is_refused(new_trainer, checkpoint: str) -> None:
    with pytest.raises(TrainingError, match="pair_ids_digest"):
        new_trainer(pair_count=5).train(resume_from_checkpoint=checkpoint)


def test_resuming_with_another_teacher_is_refused(new_trainer, checkpoint: str) -> None:
    with pytest.raises(TrainingError, match="teacher differs"):
        new_trainer(policy_seed=4).train(resume_from_checkpoint=checkpoint)


def test_at_zero_weights_a_stock_checkpoint_can_be_resumed(
    new_policy, tokenizer, prompts, reward, new_args, tmp_path
) -> None:
    def build(trainer_class: type[GRPOTrainer], max_steps: int) -> GRPOTrainer:
        args = new_args(max_steps=max_steps, save_strategy="steps", save_steps=2)
        return trainer_class(new_policy(3), reward, args, train_dataset=prompts, processing_class=tokenizer)

    whole = build(GRPOTrainer, 3)
    whole.train()
    resumed = build(AuxiliaryGRPOTrainer, 3)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    for mine, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
