"""Evaluating a checkpoint on held-out tasks: rollouts and scores land as events.

Flow: held-out tasks → attempts → rollouts of the loaded checkpoint, in batches → their events and scores.

**The evaluation id is a function** of the checkpoint's weights and of the evaluation's settings: a finished
evaluation is found, not repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tracelake.consumers.launches.checkpoints import weights_digest
from tracelake.consumers.policy import PolicyLoader
from tracelake.consumers.rollouts.events import RolloutContext, rollout_events
from tracelake.consumers.rollouts.play import play_rollouts
from tracelake.lake import Lake
from tracelake.schemas.canonical import hash_of
from tracelake.schemas.environment import RolloutRecord, TaskIdentity
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.training_events import TaskEvaluated
from tracelake.schemas.experiments.experiment import Experiment
from tracelake.schemas.world import World

BATCH_SIZE = 40
# Sampling at almost zero temperature: the most likely token, unless two are equally likely.
GREEDY_TEMPERATURE = 0.01


class Checkpoint(NamedTuple):
    """Weights of one arm and seed."""

    training_id: str
    folder: Path
    arm: str
    seed: int
    train_step: int


class EvaluationResult(NamedTuple):
    evaluation_id: str
    mean_score: float
    reused: bool


def find_evaluation(
    lake: Lake, experiment: Experiment, checkpoint: Checkpoint, world: World
) -> EvaluationResult | None:
    """The finished evaluation, if every attempt has a score in the lake."""
    evaluation = _Evaluation(experiment, checkpoint, world)
    scores = _landed_scores(lake, evaluation.id)
    if len(scores) != len(evaluation.attempts):
        return None
    return EvaluationResult(evaluation.id, sum(scores) / len(scores), True)


def evaluate_checkpoint(
    lake: Lake,
    experiment: Experiment,
    checkpoint: Checkpoint,
    world: World,
    load_policy: PolicyLoader,
    on_tasks: Callable[[int], None] = lambda _: None,
) -> EvaluationResult:
    """Score a checkpoint on the experiment's held-out tasks, or find the finished evaluation."""
    evaluation = _Evaluation(experiment, checkpoint, world)
    attempts, settings = evaluation.attempts, experiment.evaluation
    if (found := find_evaluation(lake, experiment, checkpoint, world)) is not None:
        on_tasks(len(attempts))
        return found
    policy = load_policy(checkpoint.folder, temperature=evaluation.temperature)
    policy.model.eval()
    environments = [world.new_environment() for _ in range(min(BATCH_SIZE, len(attempts)))]
    scores: list[float] = []
    with lake.writer(evaluation.id) as writer:
        for start in range(0, len(attempts), BATCH_SIZE):
            batch = attempts[start : start + BATCH_SIZE]
            records = play_rollouts(
                policy,
                environments,
                [attempt.task for attempt in batch],
                turn_limit=experiment.training.turn_limit,
                # A function of the tasks alone, so that every checkpoint gets the same draws.
                seed=settings.task_seed + start,
            )
            for attempt, record in zip(batch, records, strict=True):
                writer.add(evaluation.events(attempt, record))
                scores.append(record.rewards["reward"])
            on_tasks(len(batch))
        writer.flush()
    return EvaluationResult(evaluation.id, sum(scores) / len(scores), False)


class _Attempt(NamedTuple):
    task: TaskIdentity
    sample_index: int


class _Evaluation:
    """One checkpoint and its attempts at held-out tasks."""

    def __init__(self, experiment: Experiment, checkpoint: Checkpoint, world: World) -> None:
        settings, training_id = experiment.evaluation, checkpoint.training_id
        weights = weights_digest(checkpoint.folder)
        identity = [
            experiment.id,
            settings.model_dump(exclude_defaults=True),
            weights,
            world.name,
            training_id,
        ]
        self.id = f"eval-{training_id}-{hash_of(identity)[:10]}"
        self.temperature = settings.temperature or GREEDY_TEMPERATURE
        self.attempts = [
            _Attempt(task, sample)
            for task in world.heldout_tasks(settings.task_seed, settings.task_count)
            for sample in range(settings.samples_per_task)
        ]
        self._experiment_id, self._checkpoint, self._world = experiment.id, checkpoint, world

    def events(self, attempt: _Attempt, record: RolloutRecord) -> list[Event]:
        """The rollout and its score."""
        checkpoint, world = self._checkpoint, self._world
        rollout_id = f"{self.id}/{attempt.task.task_id}/{attempt.sample_index}"
        context = RolloutContext(
            rollout_id=rollout_id,
            environment=world.name,
            model=checkpoint.training_id,
            source_run=self.id,
            policy_version=checkpoint.train_step,
            sampling={"temperature": self.temperature},
        )
        score = TaskEvaluated(
            evaluation_id=self.id,
            experiment_id=self._experiment_id,
            training_id=checkpoint.training_id,
            arm=checkpoint.arm,
            seed=checkpoint.seed,
            train_step=checkpoint.train_step,
            task_key=attempt.task.task_id,
            cluster=world.cluster_of(attempt.task),
            sample_index=attempt.sample_index,
            score=record.rewards["reward"],
            rollout_id=rollout_id,
        )
        return [*rollout_events(record, context), score]


def _landed_scores(lake: Lake, evaluation_id: str) -> list[float]:
    rows = lake.scan("task_evaluated", fresh=True).filter(pl.col("evaluation_id") == evaluation_id)
    return rows.select("score").collect()["score"].drop_nulls().to_list()
