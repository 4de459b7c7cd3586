"""Records what a training generates and consumes as events.

Flow: rollouts played → their events buffered → the update that used them ends → one `BatchConsumed` → flush →
checkpoint durable → its event.

**An update's consumption lands whole**, after the update: a checkpoint saw the sum of the updates before it.
**Lineage is by uid**: TRL shuffles rows, and the uid of each row leads back to its rollout.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import (
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig
from tracelake.consumers.hints.hinted_batch import HintedTurn
from tracelake.consumers.hints.turn_views import RolloutView
from tracelake.consumers.launches.checkpoints import checkpoint_folder, make_durable, weights_digest
from tracelake.consumers.rollouts.events import RolloutContext, rollout_events
from tracelake.lake.writing.writer import Writer
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.clock import is_still
from tracelake.schemas.environment import RolloutRecord
from tracelake.schemas.events.teacher_events import HintGiven
from tracelake.schemas.events.training_events import BatchConsumed, CheckpointSaved

FLUSH_EVERY = 8
HINT_AUTHOR = "tool-error-template"
TIMED = frozenset({"step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second"})
"""Metrics that TRL and transformers measure with clocks of their own."""


class TrainingRecorder(TrainerCallback):
    """`TrainingHooks` and a TRL callback for one attempt at a training; owns the uids of its rollouts."""

    def __init__(
        self,
        writer: Writer,
        training_id: str,
        attempt_index: int,
        environment: str,
        losses: AuxiliaryLossConfig,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        self._writer = writer
        self._training_id = training_id
        self._attempt_index = attempt_index
        self._environment = environment
        self._losses = losses
        self._tokenizer = tokenizer
        self._rollout_ids: list[str] = []
        # Consumed since the last update ended.
        self._consumed_uids: list[int] = []
        self._consumed_pair_ids: list[str] = []
        self._policy_version = 0
        self.metrics: list[dict[str, float]] = []

    def on_rollouts_played(
        self, records: Sequence[RolloutRecord], policy_version: int, group_size: int, temperature: float
    ) -> list[int]:
        """Buffer the rollouts' events; returns their uids, in order."""
        first = len(self._rollout_ids)
        run = f"{self._training_id}/a{self._attempt_index}"
        for index, record in enumerate(records):
            rollout_id = f"{run}/v{policy_version}/r{first + index}"
            context = RolloutContext(
                rollout_id=rollout_id,
                environment=self._environment,
                model=self._training_id,
                source_run=run,
                group_id=f"{run}/v{policy_version}/g{(first + index) // group_size}",
                policy_version=policy_version,
                sampling={"temperature": temperature},
            )
            self._writer.add(rollout_events(record, context))
            self._rollout_ids.append(rollout_id)
        return list(range(first, len(self._rollout_ids)))

    def on_rollouts_scored(
        self,
        policy_version: int,
        rollouts: tuple[RolloutView, ...],
        hinted: tuple[tuple[HintedTurn, ...], ...],
    ) -> None:
        """Buffer the hints; the rollouts themselves were recorded when they were played."""
        self._writer.add(
            HintGiven(
                rollout_id=self._rollout_ids[rollout.rollout_uid],
                turn_index=turn.turn_index,
                hint=str(self._tokenizer.decode(list(turn.hint_ids))),
                author=HINT_AUTHOR,
            )
            for rollout, turns in zip(rollouts, hinted, strict=True)
            for turn in turns
        )

    def on_batch_consumed(self, train_step: int, rollout_uids: tuple[int, ...], policy_version: int) -> None:
        self._consumed_uids.extend(rollout_uids)
        self._policy_version = policy_version

    def on_pairs_consumed(self, train_step: int, pair_ids: tuple[str, ...], weight: float) -> None:
        self._consumed_pair_ids.extend(pair_ids)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        numbers = {
            name: 0.0 if name in TIMED and is_still() else float(value)
            for name, value in (logs or {}).items()
            if isinstance(value, (int, float))
        }
        self.metrics.append({"train_step": float(state.global_step), **numbers})

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._writer.add(
            [
                BatchConsumed(
                    training_id=self._training_id,
                    attempt_index=self._attempt_index,
                    train_step=state.global_step,
                    policy_version=self._policy_version,
                    rollout_ids_json=canonical_text([self._rollout_ids[uid] for uid in self._consumed_uids]),
                    pair_ids_json=canonical_text(self._consumed_pair_ids),
                    sdpo_weight=self._losses.sdpo_weight,
                    pair_weight=self._losses.pair_weight,
                )
            ]
        )
        self._consumed_uids, self._consumed_pair_ids = [], []
        if state.global_step % FLUSH_EVERY == 0:
            self._writer.start_flush()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Make the checkpoint durable, then record it."""
        folder = checkpoint_folder(Path(str(args.output_dir)), state.global_step)
        make_durable(folder)
        self._writer.append(
            [self.checkpoint_saved(folder, state.global_step, f"{folder.parent.name}/{folder.name}")]
        )

    def checkpoint_saved(self, folder: Path, train_step: int, uri: str) -> CheckpointSaved:
        """The event of a checkpoint whose files are durable."""
        return CheckpointSaved(
            training_id=self._training_id,
            attempt_index=self._attempt_index,
            train_step=train_step,
            uri=uri,
            weights_digest=weights_digest(folder),
        )
