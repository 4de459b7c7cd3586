"""Asking one teacher for every answer that is missing.

Flow of an attempt: slot → job → money reserved → reservation durable → request → response id recorded →
slot free → answer or failure and its cost durable → money released.

**Nothing leaves before its reservation is durable**, and nothing after the run was stopped: an attempt that
was reserved and not sent is settled as unbilled.
**Every attempt and every failure becomes an event.**
**A slot is for the endpoint**: storing an answer, and waiting to ask again, take no slot.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from tracelake.producers.calling.call import CallLimits, call
from tracelake.producers.calling.concurrency import AdaptiveLimit
from tracelake.producers.calling.failures import FailureClass
from tracelake.producers.calling.http_client import EndpointClient
from tracelake.producers.calling.outcome import Answered, CallOutcome, Failed
from tracelake.producers.calling.retry import Retries, RetryPolicy
from tracelake.producers.teachers.asking.jobs import Job, JobKey, PricedTeacher
from tracelake.producers.teachers.asking.order import TurnOrder
from tracelake.producers.teachers.history import PERMANENT_FAILURES, UnknownCost
from tracelake.producers.teachers.pricing.prices import CacheSaving
from tracelake.producers.teachers.run.attempt_events import (
    Attempt,
    AttemptEvents,
    new_attempt,
    outcome_events,
)
from tracelake.producers.teachers.run.journal import Journal
from tracelake.producers.teachers.run.run_control import RunControl, StopReason
from tracelake.schemas.events.teacher_events import TeacherCallStarted


class RunContext(NamedTuple):
    """What all teachers of a run share."""

    replay_id: str
    arm: str | None
    control: RunControl
    journal: Journal
    attempt_count: dict[JobKey, int]
    """Per job, the number of its next attempt."""
    policy: RetryPolicy
    on_job_done: Callable[[], None]


class TeacherRun:
    """One teacher in one run."""

    def __init__(
        self,
        context: RunContext,
        teacher: PricedTeacher,
        client: EndpointClient,
        concurrency: int | None,
        order: TurnOrder,
    ) -> None:
        limits = teacher.spec.limits
        self.teacher = teacher
        self._context, self._control, self._journal = context, context.control, context.journal
        self._client, self._order = client, order
        self._limit = AdaptiveLimit(
            fixed=concurrency,
            maximum=limits.concurrency_max,
            requests_per_minute=limits.requests_per_minute,
            sleep=self._control.sleep,
        )
        self._call_limits = CallLimits(
            total_timeout_s=limits.request_timeout_s, body_byte_max=limits.body_byte_max
        )
        self.attempt_count = self.answered_count = self.settled_microusd = 0
        self.failures: Counter[str] = Counter()
        self.cache = CacheSaving()
        self.unknown: list[UnknownCost] = []
        self.stopped: str | None = None
        """The failure after which this teacher is not asked any more."""
        self._unfinished: list[Job] = []
        self._control.on_stop(order.stop)

    def left(self) -> list[Job]:
        """Jobs that have no answer, and were not refused for good."""
        return [*self._unfinished, *self._order.left()]

    async def ask_all(self) -> None:
        """Returns when everything was asked, or the run or this teacher was stopped."""
        # More workers than slots: a worker that waits to ask again holds no slot.
        worker_count = min(2 * self._limit.concurrency_max, self._order.left_count)
        async with asyncio.TaskGroup() as group:
            for _ in range(worker_count):
                group.create_task(self._ask_jobs())

    async def _ask_jobs(self) -> None:
        """One job after another, each with all its attempts."""
        while self._order.left_count:
            job, retries = None, None
            while True:
                attempted = await self._attempt(job)
                if attempted is None:
                    return
                job, outcome = attempted
                retries = retries or Retries(self._context.policy, f"{job.request_key}:{job.sample_index}")
                wait_s = retries.wait_s_after(outcome)
                if wait_s is None:
                    break
                await self._control.sleep(wait_s)
            if isinstance(outcome, Answered):
                self.answered_count += 1
            elif outcome.failure not in PERMANENT_FAILURES:
                self._unfinished.append(job)
            self._context.on_job_done()

    async def _attempt(self, job: Job | None) -> tuple[Job, CallOutcome] | None:
        """One attempt at the job, or at the next one of the order. Null: nothing more is to be sent."""
        async with self._limit.slot() as slot:
            # The job is chosen when its slot is free, so that the order of turns is respected.
            job = job or await self._order.next()
            if job is None:
                return None
            attempt = await self._reserve(job)
            if attempt is None:
                self._unfinished.append(job)
                return None
            outcome = await self._send(attempt)
            if isinstance(outcome, Answered):
                slot.succeeded()
            elif outcome.reaction.shrink:
                slot.rate_limited()
            ended = outcome_events(attempt, outcome)
            # In the slot: no other attempt takes it after a sign that it should not.
            self._stop_if_hopeless(job, outcome, ended)
        await self._journal.record(ended.events)
        self._settle(attempt, outcome, ended)
        return job, outcome

    async def _reserve(self, job: Job) -> Attempt | None:
        """An attempt whose reservation is durable. Null if there is no money, or the run was stopped."""
        context, number = self._context, self._context.attempt_count.get(job.key, 0)
        attempt = new_attempt(context.replay_id, job, number, context.arm)
        if self.stopped is not None or not await self._control.reserve(
            attempt.attempt_id, job.bounds.cost_microusd
        ):
            return None
        context.attempt_count[job.key] = number + 1
        await self._journal.record([attempt.reserved()])
        if self.stopped is None and self._control.stopped is None:
            return attempt
        # Stopped while the reservation became durable: it is not sent.
        await self._journal.record([attempt.withdrawn()])
        self._control.settle(attempt.attempt_id, 0)
        return None

    async def _send(self, attempt: Attempt) -> CallOutcome:
        job = attempt.job

        def begun(response_id: str) -> None:
            started = TeacherCallStarted(attempt_id=attempt.attempt_id, response_id=response_id)
            self._journal.record_soon([started])
            self._order.answer_started(job)

        outcome = await call(self._client, job.body(), limits=self._call_limits, on_response_id=begun)
        self._order.answer_started(job)
        return outcome

    def _stop_if_hopeless(self, job: Job, outcome: CallOutcome, ended: AttemptEvents) -> None:
        name, control = self.teacher.spec.name, self._control
        cost, allowed = ended.cost.microusd, job.bounds.cost_microusd
        if cost > allowed:
            control.stop(
                StopReason.PRICE_EXCEEDED,
                f"{name} charged {cost} micro-dollars where its prices allow {allowed}; correct its price",
            )
        if not isinstance(outcome, Failed) or not outcome.reaction.stop_run:
            return
        if outcome.failure is FailureClass.OUT_OF_CREDIT:
            control.stop(StopReason.OUT_OF_CREDIT, f"{name}: {outcome.detail}; top up, then go on")
        self.stopped = self.stopped or str(outcome.failure)
        self._order.stop()

    def _settle(self, attempt: Attempt, outcome: CallOutcome, ended: AttemptEvents) -> None:
        self.attempt_count += 1
        if ended.cost.usage is not None:
            self.cache = self.cache.with_call(self.teacher.prices, ended.cost.usage)
        self._control.settle(attempt.attempt_id, ended.settled_microusd)
        if ended.settled_microusd is None:
            self.unknown.append(
                UnknownCost(attempt.attempt_id, self.teacher.name, ended.cost.microusd, outcome.response_id)
            )
        else:
            self.settled_microusd += ended.cost.microusd
        if isinstance(outcome, Failed):
            self.failures[outcome.failure] += 1
