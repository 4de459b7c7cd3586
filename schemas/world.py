"""A world: tasks of two disjoint splits, and environments to work on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tracelake.schemas.environment import Environment, TaskIdentity


class World(NamedTuple):
    """What training and evaluation are given, whatever lies behind it."""

    name: str
    train_tasks: Callable[[int, int], Sequence[TaskIdentity]]
    """(seed, count) to tasks; the same arguments give the same tasks."""
    heldout_tasks: Callable[[int, int], Sequence[TaskIdentity]]
    """(seed, count) to tasks that no training task equals; fewer where there are no more."""
    new_environment: Callable[[], Environment]
    cluster_of: Callable[[TaskIdentity], str]
    """Tasks of one cluster are alike, and no independent evidence."""
