"""A world: tasks of two disjoint splits, and environments to work on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tracelake.schemas.environment import Environment, TaskIdentity


class World(NamedTuple):
    """The seam between training and a concrete world: training and evaluation get this and nothing else."""

    name: str
    train_tasks: Callable[[int, int], Sequence[TaskIdentity]]
    """(seed, count) to tasks; the same arguments give the same tasks."""
    heldout_tasks: Callable[[int, int], Sequence[TaskIdentity]]
    """(seed, count) to tasks disjoint from all training tasks; fewer if the world has fewer."""
    new_environment: Callable[[], Environment]
    cluster_of: Callable[[TaskIdentity], str]
    """Tasks of one cluster are alike, so they are not independent evidence."""
