"""The three losses together: linear in their weights, scaled once for accumulation, and they go down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from trl import GRPOTrainer

from consumers.hinted_batch import HintedTurn
from consumers.pair_batches import PairDataset
from consumers.replay_config import ReplayConfig
from consumers.replay_dpo import reference_logprobs
from consumers.replay_grpo import ReplayGRPOTrainer
from consumers.turn_views import RolloutView
from schemas.errors import TrainingError


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


@pytest.fixture
def new_trainer(
    new_policy, tokenizer, prompts, reward, new_args, scripted_rollouts, pair_rows
) -> Callable[..., ReplayGRPOTrainer]:
    """Scripted rollouts, six pairs, a teacher with weights of its own; the two weights come first."""

    def build(sdpo_weight: float, replay_weight: float, own: dict[str, Any] | None = None, **changes: Any):
        keys = ReplayConfig.model_fields.keys() & changes.keys()
        settings = {"sdpo_top_k": 10, "replay_pairs_per_micro_batch": 6} | {
            key: changes.pop(key) for key in keys
        }
        config = ReplayConfig(sdpo_weight=sdpo_weight, replay_weight=replay_weight, **settings)
        arguments = {
            "replay": config,
            "pairs": reference_logprobs(new_policy(2), PairDataset.from_rows(pair_rows), config),
            "teacher_model": new_policy(4),
            "rollout_func": scripted_rollouts,
        }
        return ReplayGRPOTrainer(
            new_policy(3),
            reward,
            new_args(**changes),
            train_dataset=prompts,
            processing_class=tokenizer,
            **(arguments | (own or {})),
        )

    return build


def first_batch(trainer: GRPOTrainer) -> dict[str, Any]:
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer._generate_and_score_completions([{"prompt": "$ run a\n"} for _ in range(4)])


def loss_and_gradient(trainer: GRPOTrainer, batch: dict[str, Any]) -> tuple[float, torch.Tensor]:
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters()])


def test_loss_and_gradient_are_linear_in_the_weights(new_trainer) -> None:
    weights = {"grpo": (0.0, 0.0), "sdpo": (1.0, 0.0), "replay": (0.0, 1.0), "both": (0.3, 0.7)}
    trainers = {name: new_trainer(*pair) for name, pair in weights.items()}
    batch = first_batch(trainers["both"])
    values, gradients = {}, {}
    for name, trainer in trainers.items():
        first_batch(trainer)
        values[name], gradients[name] = loss_and_gradient(trainer, batch)
    sdpo, replay = gradients["sdpo"] - gradients["grpo"], gradients["replay"] - gradients["grpo"]
    assert min(part.norm() for part in (gradients["grpo"], sdpo, replay)) > 1e-3
    expected = gradients["grpo"] + 0.3 * sdpo + 0.7 * replay
    assert torch.allclose(gradients["both"], expected, atol=1e-6)
    parts = 0.3 * (values["sdpo"] - values["grpo"]) + 0.7 * (values["replay"] - values["grpo"])
    assert values["both"] == pytest.approx(values["grpo"] + parts, abs=1e-5)


def test_one_update_is_the_same_however_the_batch_is_cut_into_micro_batches(new_trainer) -> None:
    def update(micro_batch: int, accumulation: int, **changes: Any) -> torch.Tensor:
        trainer = new_trainer(
            0.5,
            0.5,
            max_steps=1,
            optim="sgd",
            max_grad_norm=0.0,
            learning_rate=0.1,
            per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=accumulation,
            replay_sft_weight=0.0,
            replay_pairs_per_micro_batch=6 // accumulation,
            **changes,
        )
        trainer.train()
        return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])

    whole = update(12, 1)
    for accumulation in (2, 3):
        assert torch.allclose(update(12 // accumulation, accumulation), whole, atol=2e-6)
    assert not torch.allclose(update(12, 1, replay_seed=0, sdpo_alpha=1.0), whole, atol=2e-5)


def test_a_generation_batch_that_spans_two_updates_normalises_each_by_its_half(new_trainer) -> None:
    trainer = new_trainer(1.0, 0.0, steps_per_generation=2, gradient_accumulation_steps=1)
    batch = first_batch(trainer)
    batch.pop("old_per_token_logps")
    stock = new_trainer(0.0, 0.0)
    first_batch(stock)
    aligned = new_trainer(1.0, 0.0)
    first_batch(aligned)
    grpo, _ = loss_and_gradient(stock, batch)
    spread, _ = loss_and_gradient(trainer, batch)
    whole, _ = loss_and_gradient(aligned, batch)
    # The same rows are now half of what their generation batch holds: the hint term doubles as dapo's does.
    assert spread == pytest.approx(2 * whole, abs=1e-5)
    assert whole != pytest.approx(grpo, abs=1e-4)


def test_hint_loss_equals_each_hinted_turn_run_alone_at_the_sampling_temperature(
    new_trainer, new_policy
) -> None:
    trainer = new_trainer(1.0, 0.0, sdpo_gate_beta=None, sdpo_alpha=0.0, sdpo_top_k=None)
    stock = new_trainer(0.0, 0.0)
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


def test_pairs_are_scored_at_temperature_one_whatever_the_rollouts_are_sampled_at(
    new_trainer, new_policy, pair_rows
) -> None:
    pairs = reference_logprobs(new_policy(3), PairDataset.from_rows(pair_rows), ReplayConfig())
    trainer = new_trainer(0.0, 1.0, {"pairs": pairs})
    loss_and_gradient(trainer, first_batch(trainer))
    # The reference is the policy itself: any other temperature would give margins that are not zero.
    assert trainer._metrics["train"]["replay/margin"][0] == pytest.approx(0.0, abs=1e-5)


def test_evaluation_has_no_auxiliary_terms(new_trainer) -> None:
    stock, ours = new_trainer(0.0, 0.0), new_trainer(1.0, 1.0)
    batch = first_batch(ours)
    consumed = ours.pair_cursor.consumed_count
    losses = []
    for trainer in (stock, ours):
        trainer.model.eval()
        with torch.no_grad():
            losses.append(trainer._compute_loss(trainer.model, batch).item())
    assert losses[0] == losses[1]
    assert ours.pair_cursor.consumed_count == consumed


def channel_values(trainer: ReplayGRPOTrainer, batch: dict[str, Any]) -> dict[str, float]:
    trainer._metrics["train"].clear()
    total, _ = loss_and_gradient(trainer, batch)
    trainer.model.zero_grad()
    named = {name: trainer._metrics["train"][f"{name}/loss"][-1] for name in ("grpo", "sdpo", "replay")}
    return {"total": total, **named}


def five_updates(trainer: ReplayGRPOTrainer) -> tuple[dict[str, float], dict[str, float]]:
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
    new_trainer,
) -> None:
    # Ratios stay near 1: only inside its trust region does the clipped policy loss measure improvement.
    updates = {"max_steps": 5, "gradient_accumulation_steps": 2, "learning_rate": 1e-4}
    before, after = five_updates(new_trainer(1.0, 1.0, **updates))
    for name in ("total", "grpo", "sdpo", "replay"):
        assert after[name] < before[name] - 1e-3, (name, before, after)
    # A channel's own loss is lower than where the channel is as good as off: the others did not do its work.
    _, without_sdpo = five_updates(new_trainer(1e-9, 1.0, **updates))
    _, without_replay = five_updates(new_trainer(1.0, 1e-9, **updates))
    assert after["sdpo"] < without_sdpo["sdpo"] - 1e-3
    assert after["replay"] < without_replay["replay"] - 1e-3


def test_metrics_go_through_trls_own_log(new_trainer) -> None:
    trainer = new_trainer(0.5, 0.25, max_steps=2, sdpo_token_clip=0.05)
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["sdpo/weight"] == 0.5
    assert logged["replay/weight"] == 0.25
    assert logged["sdpo/hinted_token_count"] == sum(len(f"ls {index}") + 1 for index in (0, 2))
    assert 0.0 < logged["sdpo/clip_fraction"] <= 1.0
    assert logged["sdpo/loss"] <= 0.05 < logged["sdpo/divergence"]
    assert 0.0 <= logged["replay/margin_accuracy"] <= 1.0
    assert logged["replay/pass_count"] == 1.0
    finite = ("grpo/loss", "sdpo/gate_mean", "replay/loss", "replay/chosen_logps", "replay/rejected_logps")
    assert all(isinstance(logged[name], float) for name in finite)


def test_hooks_tell_what_was_generated_hinted_and_consumed(new_trainer, tokenizer) -> None:
    hooks = RecordingHooks()
    new_trainer(0.5, 0.5, {"hooks": hooks}, max_steps=2, gradient_accumulation_steps=2).train()
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


def test_rollout_ids_of_the_rollout_function_come_back(new_trainer, scripted_rollouts) -> None:
    def numbered(prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        return scripted_rollouts(prompts, trainer) | {
            "rollout_uid": [1000 + index for index in range(len(prompts))]
        }

    hooks = RecordingHooks()
    new_trainer(0.0, 0.0, {"hooks": hooks, "rollout_func": numbered}, max_steps=1).train()
    assert sorted(hooks.batches[0][1]) == [1000, 1001, 1002, 1003]


def test_a_batch_without_hints_still_trains_and_the_channel_adds_nothing(new_trainer) -> None:
    class Nothing:
        def hints(self, rollout: RolloutView) -> list[None]:
            return [None] * len(rollout.turns)

    silent = new_trainer(1.0, 0.0, {"hint_provider": Nothing()})
    stock = new_trainer(0.0, 0.0)
    batch = first_batch(silent)
    first_batch(stock)
    assert batch["hinted_token_count"].item() == 0
    value, gradient = loss_and_gradient(silent, batch)
    expected, expected_gradient = loss_and_gradient(stock, batch)
    assert value == expected
    assert torch.equal(gradient, expected_gradient)


def test_teacher_is_a_copy_of_the_initial_policy_and_stays_it(new_trainer, new_policy) -> None:
    trainer = new_trainer(0.5, 0.0, {"teacher_model": None}, max_steps=2)
    trainer.train()
    for parameter, initial in zip(
        trainer.teacher_model.parameters(), new_policy(3).parameters(), strict=True
    ):
        assert torch.equal(parameter, initial)
    assert not torch.equal(next(trainer.model.parameters()), next(new_policy(3).parameters()))


def test_replay_without_pairs_or_without_reference_cannot_start(new_trainer, pair_rows) -> None:
    with pytest.raises(TrainingError, match="no pairs"):
        new_trainer(0.0, 0.5, {"pairs": None})
    with pytest.raises(TrainingError, match="reference_chosen_logps"):
        new_trainer(0.0, 0.5, {"pairs": PairDataset.from_rows(pair_rows)})
