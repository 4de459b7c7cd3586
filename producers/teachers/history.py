"""What the lake knows of earlier calls: which answers it has, and what each attempt cost.

**An attempt costs what its settlement says; without one, what its answer says; without both its cost is
unknown**, and counts at its maximum. A reconciled settlement replaces any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from tracelake.lake import Lake
from tracelake.producers.teachers.asking.jobs import CONTEXT_TOO_LONG, UNBOUNDED_COST, Job, JobKey
from tracelake.producers.teachers.pricing.prices import microusd
from tracelake.schemas.events.teacher_events import TeacherCallSettled

if TYPE_CHECKING:
    import polars as pl

KINDS = (
    "teacher_answered",
    "teacher_failed",
    "teacher_call_reserved",
    "teacher_call_started",
    "teacher_call_settled",
)
PERMANENT_FAILURES = ("bad_request", "moderation", CONTEXT_TOO_LONG, UNBOUNDED_COST)


class History(NamedTuple):
    """What was asked before, by any replay."""

    answered: frozenset[JobKey]
    refused: Mapping[JobKey, str]
    """Failures that the same request would meet again, by class."""
    attempt_count: Mapping[JobKey, int]
    """The index of the next attempt."""


class JobPartition(NamedTuple):
    """Jobs by what the lake knows about them."""

    left: list[Job]
    known: list[Job]
    """The lake has the answer."""
    refused: list[Job]
    """Failed before, and would fail again."""
    unsent: list[Job]
    """Cannot be sent, and the lake has no event of that yet."""


class UnknownCost(NamedTuple):
    """An attempt whose cost is unknown."""

    attempt_id: str
    teacher: str
    max_cost_microusd: int
    response_id: str | None
    """Null: the endpoint cannot be asked for its cost."""


class Account(NamedTuple):
    """The money of one replay."""

    settled_microusd: int
    unknown: tuple[UnknownCost, ...]
    due: tuple[TeacherCallSettled, ...]
    """Settlements that a dead process did not append, from the answers that it did; counted already."""


def read_history(lake: Lake) -> History:
    """Projects landed events first."""
    lake.project(KINDS)
    key = ("request_key", "sample_index")
    answered = _rows(lake, "teacher_answered", (*key, "origin"))
    failed = _rows(lake, "teacher_failed", (*key, "failure", "attempt_index"))
    reserved = _rows(lake, "teacher_call_reserved", (*key, "attempt_index"))
    refused: dict[JobKey, str] = {}
    counts: dict[JobKey, int] = {}
    for request_key, sample, failure, attempt_index in failed:
        counts[request_key, sample] = max(counts.get((request_key, sample), 0), attempt_index + 1)
        if failure in PERMANENT_FAILURES:
            refused[request_key, sample] = failure
    for request_key, sample, attempt_index in reserved:
        counts[request_key, sample] = max(counts.get((request_key, sample), 0), attempt_index + 1)
    return History(
        frozenset((request_key, sample) for request_key, sample, origin in answered if origin == "asked"),
        refused,
        counts,
    )


def partition_jobs(jobs: Sequence[Job], history: History, *, retry_failed: bool) -> JobPartition:
    """`retry_failed` asks refused jobs again, unless they cannot be sent."""
    found = JobPartition([], [], [], [])
    for job in jobs:
        failure = history.refused.get(job.key)
        if job.key in history.answered:
            found.known.append(job)
        elif failure is not None and (not retry_failed or job.unsent):
            found.refused.append(job)
        else:
            (found.unsent if job.unsent else found.left).append(job)
    return found


def read_account(lake: Lake, replay_id: str) -> Account:
    """From the tables as they are; `read_history` projects."""
    import polars as pl

    mine, answered = pl.col("replay_id") == replay_id, pl.col("attempt_id").is_not_null()
    reserved = _rows(lake, "teacher_call_reserved", ("attempt_id", "teacher", "max_cost_microusd"), mine)
    settled = _settled_costs(
        _rows(lake, "teacher_call_settled", ("attempt_id", "cost_source", "cost_microusd"))
    )
    answers = {
        attempt_id: TeacherCallSettled(
            attempt_id=attempt_id,
            cost_microusd=microusd(Decimal(str(cost_usd))),
            cost_source="provider" if source == "provider" else "price_table",
        )
        for attempt_id, cost_usd, source in _rows(
            lake, "teacher_answered", ("attempt_id", "cost_usd", "cost_source"), answered
        )
        if cost_usd is not None and attempt_id not in settled
    }
    started = dict(_rows(lake, "teacher_call_started", ("attempt_id", "response_id")))
    total, unknown, due = 0, [], []
    for attempt_id, teacher, maximum in reserved:
        if attempt_id in answers:
            due.append(answers[attempt_id])
            total += answers[attempt_id].cost_microusd
        elif settled.get(attempt_id) is None:
            unknown.append(UnknownCost(attempt_id, teacher, maximum, started.get(attempt_id)))
        else:
            total += settled[attempt_id] or 0
    return Account(total, tuple(unknown), tuple(due))


def _settled_costs(rows: list[tuple[str, str, int]]) -> dict[str, int | None]:
    """Micro-dollars by attempt; null if it was settled at its maximum and not reconciled since."""
    costs: dict[str, int | None] = {}
    for attempt_id, source, cost in rows:
        if source == "reconciled" or costs.get(attempt_id) is None:
            costs[attempt_id] = None if source == "maximum" else cost
    return costs


def _rows(lake: Lake, kind: str, columns: tuple[str, ...], where: pl.Expr | None = None) -> list[tuple]:
    table = lake.scan(kind)
    return (table if where is None else table.filter(where)).select(columns).collect().rows()
