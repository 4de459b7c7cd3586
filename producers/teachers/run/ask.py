"""Asking free teachers of one local endpoint: a replay with default options.

**There is one way of asking**, `replay.py`: it decides what is bought once and how failures land.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tracelake.lake import Lake
from tracelake.producers.calling.retry import RetryPolicy
from tracelake.producers.teachers.asking.questions import Question
from tracelake.producers.teachers.run.prepared import ReplayOptions
from tracelake.producers.teachers.run.replay import replay
from tracelake.producers.teachers.spec.teacher_file import Sampling, TeacherSpec
from tracelake.schemas.canonical import hash_of

LOCAL_RETRIES = RetryPolicy(wait_first_s=0.01, wait_max_s=1.0)
"""A local endpoint answers at once, or not at all."""


class Endpoint(NamedTuple):
    """A local endpoint, whose teachers cost nothing and need no key."""

    base_url: str
    teachers: tuple[str, ...]
    concurrency: int = 4


class Asked(NamedTuple):
    """Answers by what became of them."""

    answered: int
    known: int
    failed: int


def ask_teachers(
    lake: Lake,
    endpoint: Endpoint,
    questions: Sequence[Question],
    on_answer: Callable[[], None] = lambda: None,
) -> Asked:
    """Put every question to every teacher of the endpoint, and land the answers."""
    specs = [
        TeacherSpec(
            name=name,
            base_url=endpoint.base_url,
            model=name,
            sampling=Sampling(temperature=0.0),
            price="free",
        )
        for name in endpoint.teachers
    ]
    replay_id = f"ask-{hash_of(list(endpoint.teachers))[:8]}"
    options = ReplayOptions(replay_id, concurrency=endpoint.concurrency, policy=LOCAL_RETRIES)
    report = replay(lake, questions, specs, options, lambda _: on_answer())
    for _ in range(report.known_count):
        on_answer()
    failed = len(questions) * len(specs) - report.answered_count - report.known_count
    return Asked(report.answered_count, report.known_count, failed)
