"""`AuxiliaryGRPOTrainer`: TRL's GRPO plus a hint channel and a pair channel.

    L = L_GRPO + sdpo_weight * L_SDPO + pair_weight * L_pairDPO

    L_SDPO    = (1 / N_h) * sum over the hinted turns' tokens of gate * divergence(student, hinted teacher)
    L_pairDPO = (1 / GA) * mean over the micro-batch's pairs of weight * DPO

N_h is the hinted-token count of the whole generation batch, scaled to one accumulation window exactly as
TRL's dapo normaliser is, so that a micro-batch with few hinted tokens does not count for more. GRPO's loss is
already divided by the accumulation steps (GA) and the training loop does not divide again, so both terms
divide here.

Flow: generation batch → hinted turns and uids join it → each micro-batch: GRPO's loss, the hint channel's,
the pair channel's → checkpoint with the channels' state.

**Both weights zero is stock GRPO, bit for bit**: no teacher, no pair order, no further forward pass or random
number.
**Evaluation has no auxiliary terms.**
**Every process runs the same forward passes in every micro-batch**, hints or not, or a sharded job would
hang.
**A resumed run continues**: the pair order and the rollout uids are part of the checkpoint, and the teacher
is checked.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import torch
from torch import nn
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from tracelake.consumers.action_logits import action_logits
from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig
from tracelake.consumers.hints.frozen_teacher import frozen_teacher, place_teacher, weights_fingerprint
from tracelake.consumers.hints.hinted_batch import (
    HintedTurn,
    build_hinted_batch,
    hinted_token_count,
    hinted_turns,
)
from tracelake.consumers.hints.hints import Hint, HintProvider, ToolErrorHints, generation_prompt_ids
from tracelake.consumers.hints.sdpo_loss import sdpo_metrics, sdpo_terms
from tracelake.consumers.hints.turn_views import RolloutView, rollout_views
from tracelake.consumers.pairs.dpo_loss import pair_metrics, pair_terms
from tracelake.consumers.pairs.pair_batches import PairCursor, PairDataset, collate_pairs
from tracelake.schemas.errors import TrainingError

STATE_NAME = "auxiliary_state.json"


class TrainingHooks(Protocol):
    """Reports what was generated and consumed; called in training only. An exception stops the run.

    `train_step` counts optimizer updates, the one in progress included; `policy_version` is the number of
    updates behind the weights in use. One update may consume several micro-batches, each with its own call.
    Each process reports its own rows.
    """

    def on_rollouts_scored(
        self,
        policy_version: int,
        rollouts: tuple[RolloutView, ...],
        hinted: tuple[tuple[HintedTurn, ...], ...],
    ) -> None:
        """A generation batch was sampled and scored; `hinted` is parallel to `rollouts`."""
        ...

    def on_batch_consumed(self, train_step: int, rollout_uids: tuple[int, ...], policy_version: int) -> None:
        """A micro-batch of rollouts entered the loss."""
        ...

    def on_pairs_consumed(self, train_step: int, pair_ids: tuple[str, ...], weight: float) -> None:
        """A micro-batch of pairs entered the loss with this channel weight."""
        ...


@dataclass(frozen=True)
class HintChannel:
    """The frozen teacher and the hints that it reads; exists only while `sdpo_weight` is not zero."""

    teacher: nn.Module
    teacher_fingerprint: str
    """`weights_fingerprint` of the teacher, checked at resume."""
    provider: HintProvider
    opening_ids: Hint
    """The chat template's opening of the policy's message; a hint goes before it."""


@dataclass(frozen=True)
class PairChannel:
    """The pinned pairs and the position in them; exists only while `pair_weight` is not zero."""

    pairs: PairDataset
    cursor: PairCursor


class AuxiliaryGRPOTrainer(GRPOTrainer):
    """GRPOTrainer with the keyword arguments below; all others go to TRL unchanged.

    `pairs` is needed when `pair_weight` is not zero and carries its reference log-probabilities.
    `teacher_model` defaults to a copy of the initial policy, `hint_provider` to `ToolErrorHints`. Arguments
    of a channel whose weight is zero are ignored, so arms of an experiment may differ in the weights alone.

    A `rollout_func` may return a list of integers named `rollout_uid`, one per completion; the hooks then get
    these in place of numbers counted here.
    """

    args: GRPOConfig
    model: nn.Module

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: GRPOConfig | None = None,
        *,
        auxiliary: AuxiliaryLossConfig | None = None,
        pairs: PairDataset | None = None,
        teacher_model: nn.Module | None = None,
        hint_provider: HintProvider | None = None,
        hooks: TrainingHooks | None = None,
        **grpo_arguments: Any,
    ) -> None:
        self.auxiliary = auxiliary or AuxiliaryLossConfig()
        self.hooks = hooks
        self._rollout_uid_next = 0
        # Before TRL replaces the policy's forward, and before anything has trained it.
        teacher = frozen_teacher(model, teacher_model, args) if self.auxiliary.sdpo_weight else None
        super().__init__(model, reward_funcs, args, **grpo_arguments)
        self.hint_channel = self._hint_channel(teacher, hint_provider) if teacher is not None else None
        self.pair_channel = self._pair_channel(pairs) if self.auxiliary.pair_weight else None

    def _hint_channel(self, teacher: nn.Module, provider: HintProvider | None) -> HintChannel:
        template_kwargs = cast(dict[str, Any], self.chat_template_kwargs)
        return HintChannel(
            # Taken before the teacher is placed: sharding leaves no whole parameter to look at.
            teacher_fingerprint=weights_fingerprint(teacher),
            teacher=place_teacher(teacher, self),
            provider=provider or ToolErrorHints(self._tokenizer),
            opening_ids=generation_prompt_ids(self._tokenizer, self.chat_template, template_kwargs),
        )

    def _pair_channel(self, pairs: PairDataset | None) -> PairChannel:
        if pairs is None:
            raise TrainingError(
                "pair_weight is not zero but there are no pairs", cure="Pass pairs=PairDataset(...)."
            )
        pairs.check_trainable(self.auxiliary)
        cursor = PairCursor(
            pairs,
            self.auxiliary,
            process_index=self.accelerator.process_index,
            process_count=self.accelerator.num_processes,
        )
        return PairChannel(pairs, cursor)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's batch with `rollout_uid` (B,) int64 and, where hints are on, the hinted turns of each row."""
        output = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return output
        uids = self._rollout_uids(inputs)
        output["rollout_uid"] = torch.tensor(uids, dtype=torch.int64, device=self.accelerator.device)
        if self.hint_channel is None and self.hooks is None:
            return output
        rollouts = rollout_views(output, uids, cast(Any, self._tokenizer))
        hinted: list[tuple[HintedTurn, ...]] = [()] * len(rollouts)
        if self.hint_channel is not None:
            if "pixel_values" in output:
                raise TrainingError("the hint channel reads text only", got="a batch with images")
            hinted = [hinted_turns(rollout, self.hint_channel.provider) for rollout in rollouts]
            count = torch.tensor(hinted_token_count(hinted), device=self.accelerator.device)
            # TRL shuffles and splits a list along with the rows; a scalar goes into each micro-batch
            # unchanged.
            output["hinted_turns"] = hinted
            output["hinted_token_count"] = self._reduced(count, "sum")
        if self.hooks is not None:
            self.hooks.on_rollouts_scored(self.state.global_step, rollouts, tuple(hinted))
        return output

    def _rollout_uids(self, inputs: list[dict[str, Any]]) -> list[int]:
        if all(row.get("rollout_uid") is not None for row in inputs):
            return [int(row["rollout_uid"]) for row in inputs]
        first = self._rollout_uid_next + self.accelerator.process_index * len(inputs)
        self._rollout_uid_next += self.accelerator.num_processes * len(inputs)
        return list(range(first, first + len(inputs)))

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        """TRL's loss plus the weighted channels, all scaled for gradient accumulation."""
        loss = super()._compute_loss(model, inputs)
        if not self.model.training:
            return loss
        if self.hooks is not None:
            uids = tuple(inputs["rollout_uid"].tolist())
            self.hooks.on_batch_consumed(self.state.global_step + 1, uids, self.state.global_step)
        if self.auxiliary.is_stock:
            return loss
        grpo_loss = self._reduced(loss.detach() * self.current_gradient_accumulation_steps, "mean")
        self._record("grpo", {"loss": grpo_loss.item()})
        if self.hint_channel is not None:
            loss = loss + self.auxiliary.sdpo_weight * self._sdpo_loss(self.hint_channel, model, inputs)
        if self.pair_channel is not None:
            loss = loss + self.auxiliary.pair_weight * self._pair_loss(self.pair_channel, model)
        return loss

    def _sdpo_loss(self, channel: HintChannel, model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        batch = build_hinted_batch(inputs, inputs["hinted_turns"], channel.opening_ids)
        with self.accelerator.autocast():
            student_logits = action_logits(model, batch.student)
            with torch.no_grad():
                teacher_logits = action_logits(channel.teacher, batch.teacher)
            terms = sdpo_terms(
                student_logits,
                teacher_logits,
                batch.student.action_ids,
                batch.student.action_mask,
                temperature=self.auxiliary.sdpo_temperature or self.temperature,
                config=self.auxiliary,
            )
        sums = self._reduced(torch.stack([term.detach().float() for term in terms]), "sum")
        self._record("sdpo", {**sdpo_metrics(sums.tolist()), "weight": self.auxiliary.sdpo_weight})
        tokens_per_process = inputs["hinted_token_count"].clamp(min=1) / self.accelerator.num_processes
        windows = cast(int, self.args.steps_per_generation) / self.current_gradient_accumulation_steps
        return terms.loss_sum / (tokens_per_process / windows)

    def _pair_loss(self, channel: PairChannel, model: nn.Module) -> torch.Tensor:
        rows = channel.pairs.rows(channel.cursor.next_indices())
        batch = collate_pairs(rows, self.auxiliary, self.accelerator.device)
        with self.accelerator.autocast():
            terms = pair_terms(model, batch, self.auxiliary)
        weight = self.auxiliary.pair_weight
        if self.hooks is not None:
            self.hooks.on_pairs_consumed(self.state.global_step + 1, batch.pair_ids, weight)
        metrics = pair_metrics(terms)
        means = self._reduced(torch.stack(list(metrics.values())), "mean").tolist()
        self._record("pair", dict(zip(metrics, means, strict=True)))
        self._record("pair", {"weight": weight, "pass_count": channel.cursor.pass_count})
        return terms.loss / self.current_gradient_accumulation_steps

    def _reduced(self, values: torch.Tensor, how: Literal["sum", "mean"]) -> torch.Tensor:
        return cast(torch.Tensor, self.accelerator.reduce(values, reduction=how))

    def _record(self, channel: str, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._metrics["train"][f"{channel}/{name}"].append(value)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        # Written first, so that every checkpoint that TRL has finished has it.
        if self.args.should_save:
            folder = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            directory = os.path.join(self._get_output_dir(trial=trial), folder)
            os.makedirs(directory, exist_ok=True)
            with open(os.path.join(directory, STATE_NAME), "w", encoding="utf-8") as file:
                json.dump(self._auxiliary_state(), file)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._load_auxiliary_state(os.path.join(checkpoint, STATE_NAME))

    def _auxiliary_state(self) -> dict[str, Any]:
        return {
            "rollout_uid_next": self._rollout_uid_next,
            "teacher_fingerprint": self.hint_channel and self.hint_channel.teacher_fingerprint,
            "pairs": self.pair_channel and self.pair_channel.cursor.state_dict(),
        }

    def _load_auxiliary_state(self, path: str) -> None:
        if not os.path.exists(path):
            if self.auxiliary.is_stock:
                return
            raise TrainingError(
                "the checkpoint has no auxiliary state",
                got=path,
                cure="Resume from a checkpoint of AuxiliaryGRPOTrainer.",
            )
        with open(path, encoding="utf-8") as file:
            state = json.load(file)
        teacher_fingerprint = self.hint_channel and self.hint_channel.teacher_fingerprint
        if state["teacher_fingerprint"] != teacher_fingerprint:
            raise TrainingError(
                "the teacher differs from the one that the run started with",
                got=str(teacher_fingerprint),
                expected=str(state["teacher_fingerprint"]),
                cure="Build the trainer from the initial policy, not from a checkpoint, and resume.",
            )
        if self.pair_channel is not None:
            if state["pairs"] is None:
                raise TrainingError(
                    "the checkpoint has no pair order", got=path, cure="Resume with the weights of the run."
                )
            self.pair_channel.cursor.load_state_dict(state["pairs"])
        self._rollout_uid_next = state["rollout_uid_next"]
