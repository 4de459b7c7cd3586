"""Asking one teacher everything that is missing.

Flow of an attempt: place → job chosen → money held → reservation durable → slot → request → first chunk told
→ slot freed → answer or failure, with what it cost, in one append → money freed.

**Nothing leaves before its reservation is durable**, and nothing after the run was stopped: what was reserved
ahead is then settled as not billed.
**Every attempt lands**, and so does every failure of one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import openai

from tracelake.producers.calling.call import call
from tracelake.producers.calling.call_limits import CallLimits
from tracelake.producers.calling.concurrency import AdaptiveLimit
from tracelake.producers.calling.failures import FailureClass
from tracelake.producers.calling.gathering_loop import running_loop
from tracelake.producers.calling.outcome import Answered, Failed, Outcome
from tracelake.producers.calling.retry import RetryPolicy, answered
from tracelake.producers.teachers.asking.jobs import Job, JobKey, PricedTeacher
from tracelake.producers.teachers.asking.order import TurnOrder
from tracelake.producers.teachers.history import PERMANENT_FAILURES, Unknown
from tracelake.producers.teachers.pricing.cache_saving import CacheSaving
from tracelake.producers.teachers.run.attempt_events import Attempt, Landed, landed, new_attempt
from tracelake.producers.teachers.run.journal import Journal
from tracelake.producers.teachers.run.run_control import Room, StopReason
from tracelake.schemas.events.teacher_events import TeacherCallStarted


class Shared(NamedTuple):
    """What all teachers of a run have in common."""

    replay_id: str
    arm: str | None
    room: Room
    journal: Journal
    attempt_count: dict[JobKey, int]
    """Of each job, the number that its next attempt gets."""
    policy: RetryPolicy
    on_done: Callable[[], None]
    """Called when a job came to its end."""


class Made(NamedTuple):
    """An attempt that was made, what came of it, and how that is told."""

    attempt: Attempt
    outcome: Outcome
    told: Landed


class _Course:
    """How far a job has come; what is not yet there is null."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.reserved: Attempt | None = None
        self.made: Made | None = None


class NoMoreError(Exception):
    """There is nothing more to ask; inside this module only."""


class TeacherRun:
    """One teacher in one run."""

    def __init__(
        self,
        shared: Shared,
        teacher: PricedTeacher,
        client: openai.AsyncOpenAI,
        concurrency: int | None,
        order: TurnOrder,
    ) -> None:
        limits = teacher.spec.limits
        self.teacher = teacher
        self._shared, self._client, self._order = shared, client, order
        self._limit = AdaptiveLimit(
            fixed=concurrency,
            maximum=limits.concurrency_max,
            requests_per_minute=limits.requests_per_minute,
            clock=shared.room,
        )
        self._call_limits = CallLimits(
            total_timeout_s=limits.request_timeout_s, body_byte_max=limits.body_byte_max
        )
        self.attempt_count = self.answered_count = self.settled_microusd = 0
        self.failures: Counter[str] = Counter()
        self.cache = CacheSaving()
        self.unknown: list[Unknown] = []
        self.stopped: str | None = None
        self._unfinished: list[Job] = []
        self._dice = count()
        """Seeds of waits: jobs that fail together are not to come back together."""
        shared.room.when_stopped(order.stop)

    def left(self) -> list[Job]:
        """Jobs that have no answer, and are not known to be refused for good."""
        return [*self._unfinished, *self._order.left()]

    async def ask_all(self) -> None:
        """Returns when everything was asked, or the run or the teacher was stopped."""
        async with asyncio.TaskGroup() as group:
            # More than there are slots: nobody holds one while he waits to try again.
            for _ in range(min(2 * self._limit.concurrency_max, self._order.left_count)):
                group.create_task(self._ask_in_turn())

    async def _ask_in_turn(self) -> None:
        while self._order.left_count:
            try:
                await self._ask_next()
            except NoMoreError:
                return

    async def _ask_next(self) -> None:
        """One job, with all its attempts. Raises NoMoreError."""
        asked, shared = _Course(), self._shared
        try:
            outcome = await answered(
                lambda _: self._asked(asked),
                self._limit,
                shared.policy,
                shared.room,
                key=str(next(self._dice)),
                ready=lambda: self._ready(asked),
                kept=lambda: self._kept(asked),
            )
        except NoMoreError:
            if asked.job is not None:
                self._unfinished.append(asked.job)
            raise
        assert asked.job is not None
        self._end(asked.job, outcome)

    async def _ready(self, asked: _Course) -> None:
        # The job is chosen when a slot for it is near, so that the order holds.
        asked.job = asked.job or await self._order.next()
        if asked.job is None:
            raise NoMoreError
        asked.reserved = await self._reserved(asked.job)

    async def _asked(self, asked: _Course) -> Outcome:
        assert asked.reserved is not None
        asked.made = await self._made(asked.reserved)
        return asked.made.outcome

    async def _kept(self, asked: _Course) -> None:
        assert asked.made is not None
        await self._shared.journal.record(asked.made.told.events)
        self._settle(asked.made)

    async def _reserved(self, job: Job) -> Attempt:
        """Its reservation is durable. Raises NoMoreError where there is no money, or the run is over."""
        shared = self._shared
        number = shared.attempt_count.get(job.key, 0)
        attempt = new_attempt(shared.replay_id, job, number, shared.arm)
        if self.stopped is not None or not await shared.room.hold(
            attempt.attempt_id, job.bounds.cost_microusd
        ):
            raise NoMoreError
        shared.attempt_count[job.key] = number + 1
        await shared.journal.record([attempt.reserved()])
        return attempt

    async def _made(self, attempt: Attempt) -> Made:
        """What came is not durable yet. Raises NoMoreError where the run was stopped meanwhile."""
        shared, job = self._shared, attempt.job
        if self.stopped is not None or shared.room.stopped is not None:
            await self._withdraw(attempt)
            raise NoMoreError

        def begun(response_id: str) -> None:
            shared.journal.tell([TeacherCallStarted(attempt_id=attempt.attempt_id, response_id=response_id)])
            self._order.begun(job)

        outcome = await call(self._client, job.body(), limits=self._call_limits, on_response_id=begun)
        if isinstance(outcome, Answered):
            running_loop().took(outcome.latency_ms / 1000)
        made = Made(attempt, outcome, landed(attempt, outcome))
        self._order.begun(job)
        # Before the slot is free: nothing follows what shows that it should not.
        self._stop_if_hopeless(made)
        return made

    async def _withdraw(self, attempt: Attempt) -> None:
        """It was never sent."""
        await self._shared.journal.record([attempt.withdrawn()])
        self._shared.room.settle(attempt.attempt_id, 0)

    def _settle(self, made: Made) -> None:
        (attempt, outcome, told), room = made, self._shared.room
        self.attempt_count += 1
        if told.cost.usage is not None:
            self.cache = self.cache.with_call(self.teacher.prices, told.cost.usage)
        room.settle(attempt.attempt_id, told.settled_microusd)
        if told.settled_microusd is None:
            response_id = outcome.response_id
            self.unknown.append(
                Unknown(attempt.attempt_id, self.teacher.name, told.cost.microusd, response_id)
            )
        else:
            self.settled_microusd += told.cost.microusd
        if isinstance(outcome, Failed):
            self.failures[outcome.failure] += 1

    def _stop_if_hopeless(self, made: Made) -> None:
        name, room, outcome = self.teacher.spec.name, self._shared.room, made.outcome
        cost, allowed = made.told.cost.microusd, made.attempt.job.bounds.cost_microusd
        if cost > allowed:
            room.stop(
                StopReason.PRICE_EXCEEDED,
                f"{name} charged {cost} micro-dollars where its prices allow {allowed}; correct its price",
            )
        if not isinstance(outcome, Failed) or not outcome.reaction.stop_run:
            return
        if outcome.failure is FailureClass.OUT_OF_CREDIT:
            room.stop(StopReason.OUT_OF_CREDIT, f"{name}: {outcome.detail}; top up, then go on")
        self.stopped = self.stopped or str(outcome.failure)
        self._order.stop()

    def _end(self, job: Job, outcome: Outcome) -> None:
        if isinstance(outcome, Answered):
            self.answered_count += 1
        elif outcome.failure not in PERMANENT_FAILURES:
            self._unfinished.append(job)
        self._shared.on_done()
