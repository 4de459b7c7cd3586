"""The world `tiny-functions`: generated repair tasks; all environments of a process share one sandbox."""

from __future__ import annotations

import functools

from tracelake.producers.worlds.tiny_functions.environment import RepairEnvironment
from tracelake.producers.worlds.tiny_functions.sandbox import Sandbox
from tracelake.producers.worlds.tiny_functions.tasks import Task, generate_tasks
from tracelake.schemas.environment import TaskIdentity
from tracelake.schemas.world import World

NAME = "tiny-functions"


@functools.cache
def tiny_functions() -> World:
    sandbox = Sandbox()
    return World(
        name=NAME,
        train_tasks=lambda seed, count: generate_tasks(seed, count, "train"),
        heldout_tasks=lambda seed, count: generate_tasks(seed, count, "held_out"),
        new_environment=lambda: RepairEnvironment(sandbox),
        cluster_of=_family,
    )


def _family(task: TaskIdentity) -> str:
    return task.family if isinstance(task, Task) else task.task_id
