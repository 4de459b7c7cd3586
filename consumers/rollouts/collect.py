"""Collecting rollouts of a frozen policy: the traces that teachers are asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tracelake.consumers.rollouts.events import RolloutContext, rollout_events
from tracelake.consumers.rollouts.play import play_rollouts
from tracelake.lake import Lake
from tracelake.lake.writing.deduplicate import Receipt
from tracelake.schemas.environment import Policy, TaskIdentity
from tracelake.schemas.world import World

BATCH_SIZE = 32


class Collection(NamedTuple):
    """Settings of one collection."""

    run_id: str
    model: str
    """Name of the policy in the lake."""
    rollouts_per_task: int
    turn_limit: int
    seed: int


def collect_rollouts(
    lake: Lake,
    policy: Policy,
    world: World,
    tasks: Sequence[TaskIdentity],
    collection: Collection,
    on_rollouts: Callable[[int], None] = lambda _: None,
) -> Receipt:
    """Play and land. Ids depend on run, task and sample alone: a second collection of one run lands
    duplicates or conflicts.
    """
    samples = [(task, sample) for task in tasks for sample in range(collection.rollouts_per_task)]
    environments = [world.new_environment() for _ in range(min(BATCH_SIZE, len(samples)))]
    counts = Receipt(0, 0, 0)
    with lake.writer(collection.run_id) as writer:
        for start in range(0, len(samples), BATCH_SIZE):
            batch = samples[start : start + BATCH_SIZE]
            records = play_rollouts(
                policy,
                environments,
                [task for task, _ in batch],
                turn_limit=collection.turn_limit,
                seed=collection.seed + start,
            )
            for (task, sample), record in zip(batch, records, strict=True):
                group_id = f"{collection.run_id}/{task.task_id}"
                context = RolloutContext(
                    rollout_id=f"{group_id}/{sample}",
                    environment=world.name,
                    model=collection.model,
                    source_run=collection.run_id,
                    group_id=group_id,
                )
                receipt = writer.add(rollout_events(record, context))
                counts = Receipt(*(old + new for old, new in zip(counts, receipt, strict=True)))
            on_rollouts(len(batch))
        writer.flush()
    return counts
