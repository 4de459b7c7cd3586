"""Evaluating a checkpoint on held-out tasks: rollouts and scores land as events.

**The evaluation id is a function** of the checkpoint's weights and of what it is asked: an evaluation that
is in the lake is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from consumers.policy import TinyPolicy
from consumers.rollout import play_rollouts
from consumers.rollout_events import RolloutContext, rollout_events
from consumers.training_landing import weights_digest
from lake import Lake
from lake.writing.writer import Writer
from schemas.canonical import hash_of
from schemas.environment import Environment, RolloutRecord, TaskIdentity
from schemas.errors import TableMissingError
from schemas.experiment import Experiment
from schemas.training_events import TaskEvaluated
from schemas.world import World

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


def evaluate_checkpoint(
    lake: Lake,
    experiment: Experiment,
    checkpoint: Checkpoint,
    world: World,
    on_task: Callable[[int], None] = lambda _: None,
) -> Evaluated:
    """Score a checkpoint on the experiment's held-out tasks."""
    spec = experiment.evaluation
    identity = [
        experiment.id,
        spec.model_dump(),
        weights_digest(checkpoint.folder),
        world.name,
        checkpoint.training_id,
    ]
    evaluation_id = f"eval-{checkpoint.training_id}-{hash_of(identity)[:10]}"
    known = _known_scores(lake, evaluation_id)
    tasks = list(world.heldout_tasks(spec.task_seed, spec.task_count))
    attempts = [(task, sample) for task in tasks for sample in range(spec.samples_per_task)]
    if len(known) == len(attempts):
        on_task(len(attempts))
        return Evaluated(evaluation_id, sum(known) / len(known), True)
    temperature = spec.temperature or GREEDY_TEMPERATURE
    policy = TinyPolicy.load(checkpoint.folder, temperature=temperature)
    policy.model.eval()
    environments = [world.new_environment() for _ in range(min(BATCH_SIZE, len(attempts)))]
    scores: list[float] = []
    with lake.writer(evaluation_id) as writer:
        for start in range(0, len(attempts), BATCH_SIZE):
            batch = attempts[start : start + BATCH_SIZE]
            records = _play(
                policy, environments, batch, experiment.training.turn_limit, spec.task_seed + start
            )
            scores += [
                _land(
                    writer, world, experiment.id, evaluation_id, checkpoint, task, sample, record, temperature
                )
                for (task, sample), record in zip(batch, records, strict=True)
            ]
            on_task(len(batch))
        writer.flush()
    return Evaluated(evaluation_id, sum(scores) / len(scores), False)


def _play(
    policy: TinyPolicy,
    environments: list[Environment],
    batch: list[tuple[TaskIdentity, int]],
    turn_limit: int,
    seed: int,
) -> list[RolloutRecord]:
    # The seed is that of the tasks, so that every checkpoint meets the same draws.
    return play_rollouts(policy, environments, [task for task, _ in batch], turn_limit=turn_limit, seed=seed)


def _land(
    writer: Writer,
    world: World,
    experiment_id: str,
    evaluation_id: str,
    checkpoint: Checkpoint,
    task: TaskIdentity,
    sample: int,
    record: RolloutRecord,
    temperature: float,
) -> float:
    rollout_id = f"{evaluation_id}/{task.task_id}/{sample}"
    context = RolloutContext(
        rollout_id=rollout_id,
        environment=world.name,
        model=checkpoint.training_id,
        source_run=evaluation_id,
        policy_version=checkpoint.train_step,
        sampling={"temperature": temperature},
    )
    score = record.rewards["reward"]
    writer.add(rollout_events(record, context))
    writer.add(
        [
            TaskEvaluated(
                evaluation_id=evaluation_id,
                experiment_id=experiment_id,
                training_id=checkpoint.training_id,
                arm=checkpoint.arm,
                seed=checkpoint.seed,
                train_step=checkpoint.train_step,
                task_key=task.task_id,
                cluster=world.cluster_of(task),
                sample_index=sample,
                score=score,
                rollout_id=rollout_id,
            )
        ]
    )
    return score


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
