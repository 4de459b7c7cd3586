"""The facts that the model and the lake are told: two payloads under one index are a conflict."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from tracelake.schemas.events.event import event_identity
from tracelake.schemas.events.rollout_events import RewardAssigned


class Fact(NamedTuple):
    """Index is the key, score the payload."""

    index: int
    score: float


def event_of(fact: Fact) -> RewardAssigned:
    return RewardAssigned(rollout_id=f"r{fact.index}", name="reward", score=fact.score, grader="tests")


@cache
def id_of(fact: Fact) -> str:
    return event_identity(event_of(fact)).event_id
