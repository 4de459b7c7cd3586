"""Runs with the channels on: losses go down, metrics are logged, and consumed rows are reported."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from trl import GRPOTrainer

from tests.consumers.fixed_batch import first_batch, loss_and_gradient
from tracelake.consumers.hints.hinted_batch import HintedTurn
from tracelake.consumers.hints.turn_views import RolloutView
from tracelake.consumers.pairs.pair_batches import PairDataset
from tracelake.consumers.trainer.auxiliary_grpo import AuxiliaryGRPOTrainer
from tracelake.schemas.errors import TrainingError


class RecordingHooks:
    """Keeps what the trainer reports."""

    def __init__(self) -> None:
        self.rollouts: dict[int, RolloutView] = {}
        self.hinted: dict[int, tuple[HintedTurn, ...]] = {}
        self.batches: list[tuple[int, tuple[int, ...], int]] = []
        self.pairs: list[tuple[int, tuple[str, ...], float]] = []

    def on_rollouts_scored(
        self,
        policy_version: int,
        rollouts: tuple[RolloutView, ...],
        hinted: tuple[tuple[HintedTurn, ...], ...],
    ) -> None:
        for rollout, turns in zip(rollouts, hinted, strict=True):
            self.rollouts[rollout.rollout_uid] = rollout
            self.hinted[rollout.rollout_uid] = turns

    def on_batch_consumed(self, train_step: int, rollout_uids: tuple[int, ...], policy_version: int) -> None:
        self.batches.append((train_step, rollout_uids, policy_version))

    def on_pairs_consumed(self, train_step: int, pair_ids: tuple[str, ...], weight: float) -> None:
        self.pairs.append((train_step, pair_ids, weight))


def channel_values(trainer: AuxiliaryGRPOTrainer, batch: dict[str, Any]) -> dict[str, float]:
    trainer._metrics["train"].clear()
    total, _ = loss_and_gradient(trainer, batch)
    trainer.model.zero_grad()
    named = {name: trainer._metrics["train"][f"{name}/loss"][-1] for name in ("grpo", "sdpo", "pair")}
    return {"total": total, **named}


def five_updates(trainer: AuxiliaryGRPOTrainer) -> tuple[dict[str, float], dict[str, float]]:
    """Losses on a batch that stays the same, before and after training on fresh ones."""
    batch = first_batch(trainer)
    with torch.no_grad():
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        length = batch["completion_ids"].size(1)
        # The policy loss of a fixed batch is measured against the policy that is being improved upon.
        scores = trainer._get_per_token_logps_and_entropies(trainer.model, ids, attention, length)
        batch["old_per_token_logps"] = scores[0]
    before = channel_values(trainer, batch)
    trainer.train()
    trainer.current_gradient_accumulation_steps = 1
    assert trainer.state.global_step == 5
    return before, channel_values(trainer, batch)


def test_five_updates_with_all_channels_lower_the_total_and_each_channel_on_a_fixed_batch(
    new_channel_trainer,
) -> None:
    # Ratios stay near 1: only inside its trust region does the clipped policy loss measure improvement.
    updates = {"max_steps": 5, "gradient_accumulation_steps": 2, "learning_rate": 1e-4}
    before, after = five_updates(new_channel_trainer(1.0, 1.0, **updates))
    for name in ("total", "grpo", "sdpo", "pair"):
        assert after[name] < before[name] - 1e-3, (name, before, after)
    # A channel's own loss is lower than where the channel is as good as off: the others did not do its work.
    _, without_sdpo = five_updates(new_channel_trainer(1e-9, 1.0, **updates))
    _, without_pairs = five_updates(new_channel_trainer(1.0, 1e-9, **updates))
    assert after["sdpo"] < without_sdpo["sdpo"] - 1e-3
    assert after["pair"] < without_pairs["pair"] - 1e-3


def test_metrics_go_through_trls_own_log(new_channel_trainer) -> None:
    trainer = new_channel_trainer(0.5, 0.25, max_steps=2, sdpo_token_clip=0.05)
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["sdpo/weight"] == 0.5
    assert logged["pair/weight"] == 0.25
    assert logged["sdpo/hinted_token_count"] == sum(len(f"ls {index}") + 1 for index in (0, 2))
    assert 0.0 < logged["sdpo/clip_fraction"] <= 1.0
    assert logged["sdpo/loss"] <= 0.05 < logged["sdpo/divergence"]
    assert 0.0 <= logged["pair/margin_accuracy"] <= 1.0
    assert logged["pair/pass_count"] == 1.0
    finite = ("grpo/loss", "sdpo/gate_mean", "pair/loss", "pair/chosen_logps", "pair/rejected_logps")
    assert all(isinstance(logged[name], float) for name in finite)


def test_hooks_report_generated_hinted_and_consumed_rows(new_channel_trainer, tokenizer) -> None:
    hooks = RecordingHooks()
    new_channel_trainer(0.5, 0.5, {"hooks": hooks}, max_steps=2, gradient_accumulation_steps=2).train()
    assert [(batch[0], batch[2]) for batch in hooks.batches] == [(1, 0), (1, 0), (2, 1), (2, 1)]
    assert (
        sorted(uid for _, uids, _ in hooks.batches for uid in uids)
        == sorted(hooks.rollouts)
        == list(range(16))
    )
    assert [entry[0] for entry in hooks.pairs] == [1, 1, 2, 2]
    assert all(sorted(ids) == [f"pair-{index}" for index in range(6)] for _, ids, _ in hooks.pairs)
    assert {weight for _, _, weight in hooks.pairs} == {0.5}
    for uid, rollout in hooks.rollouts.items():
        failed = [turn for turn in rollout.turns if "Error" in turn.preceding_tool_text]
        assert [turn.turn_index for turn in hooks.hinted[uid]] == [turn.turn_index for turn in failed]
        for hinted in hooks.hinted[uid]:
            assert rollout.policy_mask[hinted.start : hinted.end] == (1,) * (hinted.end - hinted.start)
            assert "Reminder" in tokenizer.decode(list(hinted.hint_ids))
            assert "Reminder" not in tokenizer.decode(list(rollout.prompt_ids + rollout.completion_ids))
    assert any(hooks.hinted.values())


def test_hooks_get_the_uids_of_the_rollout_function(new_channel_trainer, scripted_rollouts) -> None:
    def numbered(prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        return scripted_rollouts(prompts, trainer) | {
            "rollout_uid": [1000 + index for index in range(len(prompts))]
        }

    hooks = RecordingHooks()
    new_channel_trainer(0.0, 0.0, {"hooks": hooks, "rollout_func": numbered}, max_steps=1).train()
    assert sorted(hooks.batches[0][1]) == [1000, 1001, 1002, 1003]


def test_the_teacher_is_a_frozen_copy_of_the_initial_policy(new_channel_trainer, new_policy) -> None:
    trainer = new_channel_trainer(0.5, 0.0, {"teacher_model": None}, max_steps=2)
    trainer.train()
    for parameter, initial in zip(
        trainer.hint_channel.teacher.parameters(), new_policy(3).parameters(), strict=True
    ):
        assert torch.equal(parameter, initial)
    assert not torch.equal(next(trainer.model.parameters()), next(new_policy(3).parameters()))


def test_the_pair_channel_needs_pairs_with_reference_logprobs(new_channel_trainer, pair_rows) -> None:
    with pytest.raises(TrainingError, match="no pairs"):
        new_channel_trainer(0.0, 0.5, {"pairs": None})
    with pytest.raises(TrainingError, match="reference_chosen_logps"):
        new_channel_trainer(0.0, 0.5, {"pairs": PairDataset.from_rows(pair_rows)})
