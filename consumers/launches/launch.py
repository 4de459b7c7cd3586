"""Launching one arm with one seed: from a lock and a pin to a checkpoint, every fact of it an event.

Flow: lock compared → pin opened, digests recomputed → pairs tokenised, reference log-probabilities computed
once → TRL trains, what it plays and consumes lands → checkpoint and end land.

**Training data come from the pin that the lock names, and from nowhere else.**
**An interrupted training goes on from its last checkpoint**, as another attempt under the same id.
**The training id is a function** of registration, lock, arm, seed and initial weights: a finished training
is found, not repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from datasets import Dataset
from transformers import PrinterCallback

from tracelake.consumers.launches.checkpoints import WEIGHTS, last_checkpoint, make_durable, weights_digest
from tracelake.consumers.launches.history import attempt_count, is_finished
from tracelake.consumers.launches.landing import TrainingLanding, TrainStepTicks
from tracelake.consumers.launches.settings import grpo_config
from tracelake.consumers.pairs.dpo_loss import reference_logprobs
from tracelake.consumers.pairs.pair_batches import PairDataset
from tracelake.consumers.pairs.pair_tokens import pair_dataset
from tracelake.consumers.rollouts.play import play_rollouts, records_to_trl
from tracelake.consumers.tiny_policy.policy import TinyPolicy
from tracelake.consumers.trainer.auxiliary_grpo import ReplayGRPOTrainer
from tracelake.consumers.trainer.auxiliary_losses import ReplayConfig
from tracelake.lake import Lake
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.clock import now_s, since_ms
from tracelake.schemas.environment import TaskIdentity
from tracelake.schemas.errors import TrainingError
from tracelake.schemas.events.training_events import CheckpointSaved, TrainingEnded, TrainingStarted
from tracelake.schemas.experiments.experiment import Arm, Experiment, spec_hash
from tracelake.schemas.experiments.lock import Lock, lock_text
from tracelake.schemas.world import World

TRAINING_TABLE = "training_rows"


class Launch(NamedTuple):
    """Everything that one arm's training is given."""

    experiment: Experiment
    arm: str
    seed: int
    lock: Lock
    world: World
    policy_folder: Path
    output: Path


class Trained(NamedTuple):
    training_id: str
    folder: Path
    reused: bool
    duration_ms: float


def training_id_of(launch: Launch) -> str:
    base = weights_digest(launch.policy_folder)
    parts = [spec_hash(launch.experiment), lock_text(launch.lock), launch.arm, launch.seed, base]
    return f"{launch.experiment.id}-{launch.arm}-{launch.seed}-{hash_of(parts)[:10]}"


def found_training(lake: Lake, launch: Launch) -> Trained | None:
    """The finished training, if there is one."""
    training_id = training_id_of(launch)
    folder = launch.output / training_id
    done = is_finished(lake, training_id) and (folder / WEIGHTS).is_file()
    return Trained(training_id, folder, True, 0.0) if done else None


def train_arm(lake: Lake, launch: Launch, on_train_step: Callable[[], None] = lambda: None) -> Trained:
    """Train, or find the finished training. Raises PinChangedError, TrainingError."""
    if (found := found_training(lake, launch)) is not None:
        return found
    training_id = training_id_of(launch)
    folder = launch.output / training_id
    rows = lake.open_pin(launch.lock.pin).scan(TRAINING_TABLE).collect()
    began = now_s()
    resumed_from = last_checkpoint(lake, training_id, folder)
    with lake.writer(training_id) as writer:
        run = _Run(launch, training_id, attempt_count(lake, training_id), folder, writer)
        writer.append([run.started(resumed_from)])
        resume = None if resumed_from is None else str(resumed_from)
        try:
            run.trainer(rows, on_train_step).train(resume_from_checkpoint=resume)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            writer.append([run.ended(status, since_ms(began), f"{type(error).__name__}: {error}")])
            raise
        run.policy.save(folder)
        make_durable(folder)
        writer.append([run.saved(), run.ended("completed", since_ms(began), None)])
    return Trained(training_id, folder, False, since_ms(began))


class _Run:
    """One attempt."""

    def __init__(
        self, launch: Launch, training_id: str, attempt_index: int, folder: Path, writer: Any
    ) -> None:
        settings = launch.experiment.training
        arm: Arm = launch.experiment.arms[launch.arm]  # type: ignore[index]
        self.launch, self.arm, self.settings = launch, arm, settings
        self.training_id, self.attempt_index, self.folder = training_id, attempt_index, folder
        self.replay = ReplayConfig(
            sdpo_weight=arm.sdpo_weight,
            replay_weight=arm.replay_weight,
            replay_dpo_beta=settings.dpo_beta,
            replay_pairs_per_micro_batch=settings.pairs_per_micro_batch,
            replay_max_prompt_length=settings.pair_prompt_token_limit,
            replay_seed=launch.seed,
        )
        self.policy = TinyPolicy.load(launch.policy_folder, temperature=settings.temperature)
        world, tokenizer = launch.world.name, self.policy.tokenizer
        self.landing = TrainingLanding(writer, training_id, attempt_index, world, self.replay, tokenizer)
        count = settings.tasks_per_batch * settings.train_steps
        self.tasks = launch.world.train_tasks(launch.seed, count)
        self.environments = [
            launch.world.new_environment() for _ in range(settings.tasks_per_batch * settings.group_size)
        ]

    def trainer(self, rows: pl.DataFrame, on_train_step: Callable[[], None]) -> ReplayGRPOTrainer:
        # TRL hands prompts on as they are; the number of the task is all that the rollout function needs.
        dataset = Dataset.from_dict({"prompt": [str(index) for index in range(len(self.tasks))]})
        trainer = ReplayGRPOTrainer(
            self.policy.model,
            _reward,
            grpo_config(self.settings, self.launch.seed, self.folder),
            replay=self.replay,
            pairs=self._pairs(rows),
            hooks=self.landing,
            train_dataset=dataset,
            processing_class=self.policy.tokenizer,
            rollout_func=self._play,
            callbacks=[self.landing, TrainStepTicks(on_train_step)],
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _pairs(self, rows: pl.DataFrame) -> PairDataset | None:
        if not self.replay.replay_weight:
            return None
        level = self.launch.experiment.data.pairs_level
        wanted = rows.filter(pl.col("level") == level).sort("pair_id")
        if not wanted.height:
            raise TrainingError(
                f"pin {self.launch.lock.pin} has no pairs at level {level}",
                expected="one pair at least",
                cure="Ask more teachers, or name the student of the recorded traces when building.",
            )
        shuffled_by = self.launch.seed if self.arm.pairs == "orientation_shuffled" else None
        pairs = pair_dataset(wanted.iter_rows(named=True), self.policy.tokenizer, shuffled_by=shuffled_by)
        return reference_logprobs(self.policy.model, pairs, self.replay)

    def _play(self, prompts: list[str], trainer: ReplayGRPOTrainer) -> dict[str, Any]:
        tasks: list[TaskIdentity] = [self.tasks[int(prompt)] for prompt in prompts]
        version = trainer.state.global_step
        seed = int(hash_of([self.launch.seed, version, [task.task_hash for task in tasks]])[:15], 16)
        was_training = self.policy.model.training
        self.policy.model.eval()
        records = play_rollouts(
            self.policy, self.environments, tasks, turn_limit=self.settings.turn_limit, seed=seed
        )
        self.policy.model.train(was_training)
        uids = self.landing.land_rollouts(
            records, version, self.settings.group_size, self.settings.temperature
        )
        rewards = [record.rewards["reward"] for record in records]
        return {**records_to_trl(records), "reward": rewards, "rollout_uid": uids}

    def started(self, resumed_from: Path | None) -> TrainingStarted:
        launch = self.launch
        config = {
            **self.replay.model_dump(mode="json"),
            "training": self.settings.model_dump(mode="json"),
            "resumed_from": None if resumed_from is None else resumed_from.name,
        }
        return TrainingStarted(
            training_id=self.training_id,
            attempt_index=self.attempt_index,
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

    def saved(self) -> CheckpointSaved:
        return CheckpointSaved(
            training_id=self.training_id,
            attempt_index=self.attempt_index,
            train_step=self.settings.train_steps,
            uri=self.folder.name,
            weights_digest=weights_digest(self.folder),
        )

    def ended(self, status: Any, duration_ms: float, error: str | None) -> TrainingEnded:
        metrics = self.landing.metrics
        return TrainingEnded(
            training_id=self.training_id,
            attempt_index=self.attempt_index,
            status=status,
            train_step=int(metrics[-1]["train_step"]) if metrics else 0,
            duration_ms=duration_ms,
            metrics_json=canonical_text(metrics),
            error=error,
        )


def _reward(reward: list[float], **_: Any) -> list[float]:
    return reward
