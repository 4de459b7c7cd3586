"""The three losses in one: linear in their weights, scaled once for accumulation, silent in evaluation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.consumers.fixed_batch import first_batch, loss_and_gradient
from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig
from tracelake.consumers.hints.turn_views import RolloutView
from tracelake.consumers.pairs.dpo_loss import reference_logprobs
from tracelake.consumers.pairs.pair_batches import PairDataset


def test_loss_and_gradient_are_linear_in_the_weights(new_channel_trainer) -> None:
    weights = {"grpo": (0.0, 0.0), "sdpo": (1.0, 0.0), "pair": (0.0, 1.0), "both": (0.3, 0.7)}
    trainers = {name: new_channel_trainer(*pair) for name, pair in weights.items()}
    batch = first_batch(trainers["both"])
    values, gradients = {}, {}
    for name, trainer in trainers.items():
        first_batch(trainer)
        values[name], gradients[name] = loss_and_gradient(trainer, batch)
    sdpo, pair = gradients["sdpo"] - gradients["grpo"], gradients["pair"] - gradients["grpo"]
    assert min(part.norm() for part in (gradients["grpo"], sdpo, pair)) > 1e-3
    expected = gradients["grpo"] + 0.3 * sdpo + 0.7 * pair
    assert torch.allclose(gradients["both"], expected, atol=1e-6)
    parts = 0.3 * (values["sdpo"] - values["grpo"]) + 0.7 * (values["pair"] - values["grpo"])
    assert values["both"] == pytest.approx(values["grpo"] + parts, abs=1e-5)


def test_one_update_is_the_same_however_the_batch_is_cut_into_micro_batches(new_channel_trainer) -> None:
    def update(micro_batch: int, accumulation: int, **changes: Any) -> torch.Tensor:
        trainer = new_channel_trainer(
            0.5,
            0.5,
            max_steps=1,
            optim="sgd",
            max_grad_norm=0.0,
            learning_rate=0.1,
            per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=accumulation,
            pair_sft_weight=0.0,
            pairs_per_micro_batch=6 // accumulation,
            **changes,
        )
        trainer.train()
        return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])

    whole = update(12, 1)
    for accumulation in (2, 3):
        assert torch.allclose(update(12 // accumulation, accumulation), whole, atol=2e-6)
    assert not torch.allclose(update(12, 1, pair_seed=0, sdpo_alpha=1.0), whole, atol=2e-5)


def test_a_generation_batch_that_spans_two_updates_normalises_each_by_its_half(new_channel_trainer) -> None:
    trainer = new_channel_trainer(1.0, 0.0, steps_per_generation=2, gradient_accumulation_steps=1)
    batch = first_batch(trainer)
    batch.pop("old_per_token_logps")
    stock = new_channel_trainer(0.0, 0.0)
    first_batch(stock)
    aligned = new_channel_trainer(1.0, 0.0)
    first_batch(aligned)
    grpo, _ = loss_and_gradient(stock, batch)
    spread, _ = loss_and_gradient(trainer, batch)
    whole, _ = loss_and_gradient(aligned, batch)
    # The same rows are now half of what their generation batch holds: the hint term doubles as dapo's does.
    assert spread == pytest.approx(2 * whole, abs=1e-5)
    assert whole != pytest.approx(grpo, abs=1e-4)


def test_hint_loss_equals_each_hinted_turn_run_alone_at_the_sampling_temperature(
    new_channel_trainer, new_policy
) -> None:
    trainer = new_channel_trainer(1.0, 0.0, sdpo_gate_beta=None, sdpo_alpha=0.0, sdpo_top_k=None)
    stock = new_channel_trainer(0.0, 0.0)
    batch = first_batch(trainer)
    first_batch(stock)
    student, teacher = new_policy(3), new_policy(4)
    total, token_count = 0.0, 0
    for row, turns in enumerate(batch["hinted_turns"]):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist()
        completion = batch["completion_ids"][row].tolist()
        for turn in turns:
            context, action = prompt + completion[: turn.start], completion[turn.start : turn.end]
            keep = slice(-len(action) - 1, -1)
            keep = slice(-len(action) - 1, -1)
            with torch.no_grad():
                policy = student(torch.tensor([context + action])).logits[0, keep]
                hinted = teacher(torch.tensor([[*context, *turn.hint_ids, *action]])).logits[0, keep]
            policy, hinted = (policy / 0.8).log_softmax(-1), (hinted / 0.8).log_softmax(-1)
            total += (hinted.exp() * (hinted - policy)).sum().item()
            token_count += len(action)
    difference = loss_and_gradient(trainer, batch)[0] - loss_and_gradient(stock, batch)[0]
    assert token_count == batch["hinted_token_count"].item() == 10
    assert difference == pytest.approx(total / token_count, abs=1e-5)


def test_pairs_are_scored_at_temperature_one_not_at_that_of_the_rollouts(
    new_channel_trainer, new_policy, pair_rows
) -> None:
    pairs = reference_logprobs(new_policy(3), PairDataset.from_rows(pair_rows), AuxiliaryLossConfig())
    trainer = new_channel_trainer(0.0, 1.0, {"pairs": pairs})
    loss_and_gradient(trainer, first_batch(trainer))
    # The reference is the policy itself: any other temperature would give margins that are not zero.
    assert trainer._metrics["train"]["pair/margin"][0] == pytest.approx(0.0, abs=1e-5)


def test_evaluation_has_no_auxiliary_terms(new_channel_trainer) -> None:
    stock, ours = new_channel_trainer(0.0, 0.0), new_channel_trainer(1.0, 1.0)
    batch = first_batch(ours)
    consumed = ours.pair_channel.cursor.consumed_count
    losses = []
    for trainer in (stock, ours):
        trainer.model.eval()
        with torch.no_grad():
            losses.append(trainer._compute_loss(trainer.model, batch).item())
    assert losses[0] == losses[1]
    assert ours.pair_channel.cursor.consumed_count == consumed


def test_a_batch_without_hints_still_trains_and_the_channel_adds_nothing(new_channel_trainer) -> None:
    class Nothing:
        def hints(self, rollout: RolloutView) -> list[None]:
            return [None] * len(rollout.turns)

    silent = new_channel_trainer(1.0, 0.0, {"hint_provider": Nothing()})
    stock = new_channel_trainer(0.0, 0.0)
    batch = first_batch(silent)
    first_batch(stock)
    assert batch["hinted_token_count"].item() == 0
    value, gradient = loss_and_gradient(silent, batch)
    expected, expected_gradient = loss_and_gradient(stock, batch)
    assert value == expected
    assert torch.equal(gradient, expected_gradient)
