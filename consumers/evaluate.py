"""Evaluating a checkpoint on held-out tasks: rollouts and scores land as events.

**The evaluation id is a function** of the checkpoint's weights and of what it is asked: an evaluation that
is in the lake is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tracelake.consumers.launches.checkpoints import weights_digest
from tracelake.consumers.rollouts.events import RolloutContext, rollout_events
from tracelake.consumers.rollouts.play import play_rollouts
from tracelake.consumers.tiny_policy.policy import TinyPolicy
from tracelake.lake import Lake
from tracelake.schemas.canonical import hash_of
from tracelake.schemas.environment import Environment, RolloutRecord, TaskIdentity
from tracelake.schemas.errors import TableMissingError
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.training_events import TaskEvaluated
from tracelake.schemas.experiments.experiment import Experiment
from tracelake.schemas.world import World

BATCH_SIZE = 40
# Sampling from almost a point: the most likely token, unless two are as good as equal.
GREEDY_TEMPERATURE = 0.01


class Checkpoint(NamedTuple):
    """Weights of one arm and seed."""

    training_id: str
    folder: Path
    arm: str
    seed: int
    train_step: int


class Evaluated(NamedTuple):
    evaluation_id: str
    mean_score: float
    reused: bool


def found_evaluation(
    lake: Lake, experiment: Experiment, checkpoint: Checkpoint, world: World
) -> Evaluated | None:
    """The evaluation that the lake holds whole, if it does."""
    asked = _Evaluation(experiment, checkpoint, world)
    known = _known_scores(lake, asked.id)
    return Evaluated(asked.id, sum(known) / len(known), True) if len(known) == len(asked.attempts()) else None


def evaluate_checkpoint(
    lake: Lake,
    experiment: Experiment,
    checkpoint: Checkpoint,
    world: World,
    on_task: Callable[[int], None] = lambda _: None,
) -> Evaluated:
    """Score a checkpoint on the experiment's held-out tasks."""
    asked = _Evaluation(experiment, checkpoint, world)
    attempts = asked.attempts()
    if (found := found_evaluation(lake, experiment, checkpoint, world)) is not None:
        on_task(len(attempts))
        return found
    policy = TinyPolicy.load(checkpoint.folder, temperature=asked.temperature)
    policy.model.eval()
    environments = [world.new_environment() for _ in range(min(BATCH_SIZE, len(attempts)))]
    scores: list[float] = []
    with lake.writer(asked.id) as writer:
        for start in range(0, len(attempts), BATCH_SIZE):
            batch = attempts[start : start + BATCH_SIZE]
            for attempt, record in zip(batch, asked.play(policy, environments, batch, start), strict=True):
                writer.add(asked.events(attempt, record))
                scores.append(record.rewards["reward"])
            on_task(len(batch))
        writer.flush()
    return Evaluated(asked.id, sum(scores) / len(scores), False)


class _Attempt(NamedTuple):
    task: TaskIdentity
    sample_index: int


class _Evaluation:
    """One checkpoint, and what it is asked."""

    def __init__(self, experiment: Experiment, checkpoint: Checkpoint, world: World) -> None:
        self._experiment, self._checkpoint, self._world = experiment, checkpoint, world
        self._spec = experiment.evaluation
        self.temperature = self._spec.temperature or GREEDY_TEMPERATURE
        weights, training_id = weights_digest(checkpoint.folder), checkpoint.training_id
        identity = [experiment.id, self._spec.model_dump(), weights, world.name, training_id]
        self.id = f"eval-{training_id}-{hash_of(identity)[:10]}"

    def attempts(self) -> list[_Attempt]:
        tasks = list(self._world.heldout_tasks(self._spec.task_seed, self._spec.task_count))
        return [_Attempt(task, sample) for task in tasks for sample in range(self._spec.samples_per_task)]

    def play(
        self, policy: TinyPolicy, environments: list[Environment], batch: list[_Attempt], start: int
    ) -> list[RolloutRecord]:
        tasks, turn_limit = [attempt.task for attempt in batch], self._experiment.training.turn_limit
        # The seed is that of the tasks, so that every checkpoint meets the same draws.
        seed = self._spec.task_seed + start
        return play_rollouts(policy, environments, tasks, turn_limit=turn_limit, seed=seed)

    def events(self, attempt: _Attempt, record: RolloutRecord) -> Iterator[Event]:
        """The rollout, and its score."""
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
        yield from rollout_events(record, context)
        yield TaskEvaluated(
            evaluation_id=self.id,
            experiment_id=self._experiment.id,
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


def _known_scores(lake: Lake, evaluation_id: str) -> list[float]:
    lake.project(["task_evaluated"])
    try:
        rows = (
            lake.scan("task_evaluated")
            .filter(pl.col("evaluation_id") == evaluation_id)
            .select("score")
            .collect()
        )
    except TableMissingError:
        return []
    return rows["score"].drop_nulls().to_list()
