"""Launching one arm with one seed: from a lock and a pin to trained weights. Every step lands as an event.

Flow: pin opened, digests recomputed → policy loaded → pairs tokenised, reference log-probabilities computed
once → TRL trains while the recorder lands what it plays and consumes → weights saved, end recorded.

**Training data come from the pin that the lock names, and from nowhere else.**
**An interrupted training resumes from its last checkpoint**, as another attempt under the same id.
**The training id is a function** of specification, lock, arm, seed and initial weights: a finished training
is found, not repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

from tracelake.consumers.auxiliary_losses import AuxiliaryLossConfig
from tracelake.consumers.launches.checkpoints import WEIGHTS, last_checkpoint, make_durable, weights_digest
from tracelake.consumers.launches.locking import TRAINING_TABLE
from tracelake.consumers.launches.recorder import TrainingRecorder
from tracelake.consumers.launches.settings import auxiliary_loss_config, grpo_config
from tracelake.consumers.pairs.dpo_loss import reference_logprobs
from tracelake.consumers.pairs.pair_batches import PairDataset
from tracelake.consumers.pairs.pair_tokens import pair_dataset
from tracelake.consumers.policy import PolicyLoader, TrainablePolicy
from tracelake.consumers.rollouts.play import play_rollouts, records_to_trl
from tracelake.consumers.trainer.auxiliary_grpo import AuxiliaryGRPOTrainer
from tracelake.lake import Lake
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.clock import now_s, since_ms
from tracelake.schemas.errors import TrainingError
from tracelake.schemas.events.training_events import TrainingEnded, TrainingStarted
from tracelake.schemas.experiments.experiment import Experiment, spec_hash
from tracelake.schemas.experiments.lock import Lock, lock_text
from tracelake.schemas.world import World


class Launch(NamedTuple):
    """One arm to be trained with one seed."""

    experiment: Experiment
    arm: str
    seed: int
    lock: Lock
    world: World
    load_policy: PolicyLoader
    policy_folder: Path
    """Initial weights."""
    output: Path
    """Each training gets a folder of its own below it."""


class TrainingResult(NamedTuple):
    training_id: str
    folder: Path
    reused: bool
    duration_ms: float


def training_id_of(launch: Launch) -> str:
    base = weights_digest(launch.policy_folder)
    parts = [spec_hash(launch.experiment), lock_text(launch.lock), launch.arm, launch.seed, base]
    return f"{launch.experiment.id}-{launch.arm}-{launch.seed}-{hash_of(parts)[:10]}"


def find_training(lake: Lake, launch: Launch) -> TrainingResult | None:
    """The finished training, if there is one."""
    training_id = training_id_of(launch)
    folder = launch.output / training_id
    completed = (pl.col("training_id") == training_id) & (pl.col("status") == "completed")
    is_finished = _event_count(lake, "training_ended", completed) and (folder / WEIGHTS).is_file()
    return TrainingResult(training_id, folder, True, 0.0) if is_finished else None


def train_arm(lake: Lake, launch: Launch, on_train_step: Callable[[], None] = lambda: None) -> TrainingResult:
    """Train, or find the finished training. Raises PinChangedError, TrainingError."""
    if (found := find_training(lake, launch)) is not None:
        return found
    began = now_s()
    experiment, settings = launch.experiment, launch.experiment.training
    training_id = training_id_of(launch)
    folder = launch.output / training_id
    attempt_index = _event_count(lake, "training_started", pl.col("training_id") == training_id)
    resumed_from = last_checkpoint(lake, training_id, folder)

    rows = lake.open_pin(launch.lock.pin).scan(TRAINING_TABLE).collect()
    policy = launch.load_policy(launch.policy_folder, temperature=settings.temperature)
    losses = auxiliary_loss_config(experiment, launch.arm, launch.seed)
    with lake.writer(training_id) as writer:
        recorder = TrainingRecorder(
            writer, training_id, attempt_index, launch.world.name, losses, policy.tokenizer
        )

        def ended(
            status: Literal["completed", "failed", "interrupted"], error: str | None = None
        ) -> TrainingEnded:
            return TrainingEnded(
                training_id=training_id,
                attempt_index=attempt_index,
                status=status,
                train_step=int(recorder.metrics[-1]["train_step"]) if recorder.metrics else 0,
                duration_ms=since_ms(began),
                metrics_json=canonical_text(recorder.metrics),
                error=error,
            )

        writer.append([_started(launch, training_id, attempt_index, losses, resumed_from)])
        try:
            rollouts = _RolloutSource(launch, policy, recorder)
            trainer = AuxiliaryGRPOTrainer(
                policy.model,
                _reward,
                grpo_config(settings, launch.seed, folder),
                auxiliary=losses,
                pairs=_pinned_pairs(launch, rows, policy, losses) if losses.pair_weight else None,
                hooks=recorder,
                train_dataset=rollouts.prompts(),
                processing_class=policy.tokenizer,
                rollout_func=rollouts.play,
                callbacks=[recorder, _AfterTrainStep(on_train_step)],
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train(resume_from_checkpoint=None if resumed_from is None else str(resumed_from))
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            writer.append([ended(status, f"{type(error).__name__}: {error}")])
            raise
        policy.save(folder)
        make_durable(folder)
        saved = recorder.checkpoint_saved(folder, settings.train_steps, folder.name)
        writer.append([saved, ended("completed")])
    return TrainingResult(training_id, folder, False, since_ms(began))


def _started(
    launch: Launch,
    training_id: str,
    attempt_index: int,
    losses: AuxiliaryLossConfig,
    resumed_from: Path | None,
) -> TrainingStarted:
    config = {
        "grpo": launch.lock.trainer_config["grpo"],
        "auxiliary_losses": losses.model_dump(mode="json"),
        "training": launch.experiment.training.model_dump(mode="json"),
        "resumed_from": None if resumed_from is None else resumed_from.name,
    }
    return TrainingStarted(
        training_id=training_id,
        attempt_index=attempt_index,
        experiment_id=launch.experiment.id,
        spec_hash=launch.lock.spec_hash,
        arm=launch.arm,
        seed=launch.seed,
        pin=launch.lock.pin,
        pin_digest=launch.lock.pin_digest,
        lock_json=lock_text(launch.lock).strip(),
        config_json=canonical_text(config),
        base_policy_digest=weights_digest(launch.policy_folder),
    )


def _pinned_pairs(
    launch: Launch, rows: pl.DataFrame, policy: TrainablePolicy, losses: AuxiliaryLossConfig
) -> PairDataset:
    """Token ids and reference log-probabilities of the pin's pairs. Raises TrainingError if it has none."""
    level = launch.experiment.data.pairs_level
    at_level = rows.filter(pl.col("level") == level).sort("pair_id")
    if not at_level.height:
        raise TrainingError(
            f"pin {launch.lock.pin} has no pairs at level {level}",
            expected="one pair at least",
            cure="Ask more teachers, or name the student of the recorded traces when building.",
        )
    is_shuffled = launch.experiment.arm(launch.arm).pairs == "orientation_shuffled"
    shuffled_by = launch.seed if is_shuffled else None
    pairs = pair_dataset(at_level.iter_rows(named=True), policy.tokenizer, shuffled_by=shuffled_by)
    return reference_logprobs(policy.model, pairs, losses)


class _RolloutSource:
    """TRL's dataset and `rollout_func`: the launch's tasks, and rollouts of the policy on them."""

    def __init__(self, launch: Launch, policy: TrainablePolicy, recorder: TrainingRecorder) -> None:
        self._seed = launch.seed
        self._settings = settings = launch.experiment.training
        self._policy = policy
        self._recorder = recorder
        self._tasks = launch.world.train_tasks(launch.seed, settings.tasks_per_batch * settings.train_steps)
        self._environments = [
            launch.world.new_environment() for _ in range(settings.tasks_per_batch * settings.group_size)
        ]

    def prompts(self) -> Dataset:
        """TRL passes prompts on unchanged, so a task's number is enough."""
        return Dataset.from_dict({"prompt": [str(index) for index in range(len(self._tasks))]})

    def play(self, prompts: list[str], trainer: AuxiliaryGRPOTrainer) -> dict[str, Any]:
        tasks = [self._tasks[int(prompt)] for prompt in prompts]
        version = trainer.state.global_step
        seed = int(hash_of([self._seed, version, [task.task_hash for task in tasks]])[:15], 16)
        model, settings = self._policy.model, self._settings
        was_training = model.training
        model.eval()
        records = play_rollouts(
            self._policy, self._environments, tasks, turn_limit=settings.turn_limit, seed=seed
        )
        model.train(was_training)
        uids = self._recorder.on_rollouts_played(records, version, settings.group_size, settings.temperature)
        rewards = [record.rewards["reward"] for record in records]
        return {**records_to_trl(records), "reward": rewards, "rollout_uid": uids}


def _reward(reward: list[float], **_: Any) -> list[float]:
    """The environment's own reward, as `_RolloutSource.play` returned it."""
    return reward


class _AfterTrainStep(TrainerCallback):
    """Calls a function after each optimizer update."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._function()


def _event_count(lake: Lake, kind: str, where: pl.Expr) -> int:
    return lake.scan(kind, fresh=True).filter(where).select(pl.len()).collect().item()
