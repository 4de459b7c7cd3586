"""Asking free teachers of one endpoint about some rollouts: a replay with default terms.

**There is one way of asking** (`replay.py`): what is bought once, how failures land and what
an attempt is called are its matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tracelake.lake import Lake
from tracelake.producers.calling.retry import RetryPolicy
from tracelake.producers.teachers.asking.questions import Question
from tracelake.producers.teachers.run.prepared import ReplayOptions
from tracelake.producers.teachers.run.replay import replay
from tracelake.producers.teachers.spec.teacher_file import TeacherSpec
from tracelake.producers.teachers.spec.teacher_parts import Sampling
from tracelake.schemas.canonical import hash_of

NO_PATIENCE = RetryPolicy(wait_first_s=0.01, wait_max_s=1.0)
"""What is on this machine is there at once, or not at all."""


class Endpoint(NamedTuple):
    """An endpoint of this machine, whose teachers cost nothing and need no key."""

    base_url: str
    teachers: tuple[str, ...]
    concurrency: int = 4


class Asked(NamedTuple):
    """What a run of questions came to."""

    answered: int
    known: int
    failed: int


def ask_teachers(
    lake: Lake,
    endpoint: Endpoint,
    questions: Sequence[Question],
    on_answer: Callable[[], None] = lambda: None,
) -> Asked:
    """Put every question to every teacher of the endpoint and land what comes back."""
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
    options = ReplayOptions(
        f"ask-{hash_of(list(endpoint.teachers))[:8]}", concurrency=endpoint.concurrency, policy=NO_PATIENCE
    )
    report = replay(lake, questions, specs, options, lambda _: on_answer())
    for _ in range(report.known_count):
        on_answer()
    wanted = len(questions) * len(specs)
    return Asked(
        report.answered_count, report.known_count, wanted - report.answered_count - report.known_count
    )
