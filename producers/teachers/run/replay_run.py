"""One run of a replay, in one event loop.

Flow: settlements that dead processes left → reconciling → budget → tier after tier → what is left.

**Settlements are told before anything is sent**: the budget starts from what is known.
**An interrupt stops sending; what is under way ends and lands.** A second one cuts it off.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import openai

from tracelake.lake import Lake
from tracelake.lake.writing.writer import Writer
from tracelake.producers.calling.http_client import teacher_client
from tracelake.producers.teachers.asking.jobs import Job, PricedTeacher
from tracelake.producers.teachers.asking.order import TurnOrder
from tracelake.producers.teachers.asking.tiers import TierOutcome, actions_of, agreed, tier_outcome, tiers_of
from tracelake.producers.teachers.forecast.forecast import forecast, habits_of
from tracelake.producers.teachers.history import Unknown
from tracelake.producers.teachers.pricing.budget import Budget
from tracelake.producers.teachers.pricing.prices import MICROUSD_PER_USD
from tracelake.producers.teachers.run.attempt_events import not_sent
from tracelake.producers.teachers.run.journal import Journal
from tracelake.producers.teachers.run.prepared import Prepared, ReplayOptions
from tracelake.producers.teachers.run.reconcile import reconcile
from tracelake.producers.teachers.run.replay_report import Progress, ReplayReport
from tracelake.producers.teachers.run.run_control import Room, StopReason
from tracelake.producers.teachers.run.run_report import Ended, report_of
from tracelake.producers.teachers.run.teacher_run import Shared, TeacherRun

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class ReplayRun:
    """For one event loop, and one call of `report`."""

    def __init__(
        self,
        lake: Lake,
        writer: Writer,
        options: ReplayOptions,
        prepared: Prepared,
        keys: Mapping[str, str | None],
        watch: Callable[[Progress], None],
    ) -> None:
        self._lake, self._writer, self._options, self._prepared = lake, writer, options, prepared
        self._keys, self._watch = keys, watch
        self._began_s = time.monotonic()
        self._runs: list[TeacherRun] = []
        self._tiers: list[TierOutcome] = []
        self._passed_over: set[tuple[str, int]] = set()
        self._done_count = 0
        self._reconciled_count = 0

    async def report(self) -> ReplayReport:
        """Ask, and say what came of it."""
        clients = {teacher.spec.name: self._client(teacher) for teacher in self._prepared.teachers}
        journal = Journal(self._writer)
        try:
            room = Room(await self._budget(journal, clients))
            with _interrupts(room):
                await self._ask_tiers(room, journal, clients)
            await self._reconcile_own(room, journal, clients)
            return self._told(room)
        except BaseExceptionGroup as group:
            raise _first_of(group) from group
        finally:
            await journal.close()
            for client in clients.values():
                await client.close()

    def _client(self, teacher: PricedTeacher) -> openai.AsyncOpenAI:
        return teacher_client(teacher.spec.base_url, self._keys[teacher.spec.name])

    async def _budget(self, journal: Journal, clients: Mapping[str, openai.AsyncOpenAI]) -> Budget:
        account, prepared = self._prepared.account, self._prepared
        settled = await reconcile(account.unknown, self._routers(clients))
        unsent = [not_sent(job, prepared.attempt_count.get(job.key, 0)) for job in prepared.found.unsent]
        await journal.record([*account.due, *settled, *unsent])
        self._reconciled_count += len(settled)
        told = {settlement.attempt_id for settlement in settled}
        return Budget(
            self._options.budget_microusd,
            settled_microusd=account.settled_microusd + sum(each.cost_microusd for each in settled),
            unknown={
                each.attempt_id: each.max_cost_microusd
                for each in account.unknown
                if each.attempt_id not in told
            },
        )

    async def _reconcile_own(
        self, room: Room, journal: Journal, clients: Mapping[str, openai.AsyncOpenAI]
    ) -> None:
        unknown: list[Unknown] = [attempt for run in self._runs for attempt in run.unknown]
        settled = await reconcile(unknown, self._routers(clients))
        await journal.record(settled)
        for settlement in settled:
            room.settle(settlement.attempt_id, settlement.cost_microusd)
        self._reconciled_count += len(settled)

    def _routers(self, clients: Mapping[str, openai.AsyncOpenAI]) -> dict[str, openai.AsyncOpenAI]:
        """Clients of endpoints that can be asked what a call cost, by the teacher's name in the lake."""
        return {
            teacher.name: clients[teacher.spec.name]
            for teacher in self._prepared.teachers
            if teacher.spec.routing.enabled
        }

    async def _ask_tiers(
        self, room: Room, journal: Journal, clients: Mapping[str, openai.AsyncOpenAI]
    ) -> None:
        options, left = self._options, self._prepared.found.left
        shared = Shared(
            options.replay_id,
            options.arm,
            room,
            journal,
            self._prepared.attempt_count,
            options.policy,
            lambda: self._advance(room),
        )
        tiers = tiers_of(self._prepared.jobs) if options.tiered else [None]
        for tier in tiers:
            due = [job for job in left if tier in (None, job.teacher.spec.tier)]
            if tier is not None and tier != tiers[0]:
                due = await asyncio.to_thread(self._not_agreed, tier, due)
            runs = [self._teacher_run(shared, clients, teacher, due) for teacher in self._prepared.teachers]
            self._runs += runs
            async with asyncio.TaskGroup() as group:
                for run in runs:
                    group.create_task(run.ask_all())

    def _teacher_run(
        self,
        shared: Shared,
        clients: Mapping[str, openai.AsyncOpenAI],
        teacher: PricedTeacher,
        due: Sequence[Job],
    ) -> TeacherRun:
        jobs = [job for job in due if job.teacher is teacher]
        order = TurnOrder(jobs, self._options.cache_order)
        return TeacherRun(shared, teacher, clients[teacher.spec.name], self._options.concurrency, order)

    def _not_agreed(self, tier: int, due: list[Job]) -> list[Job]:
        """Jobs at states where the tiers below split; says what the others would have cost."""
        jobs = self._prepared.jobs
        self._lake.project(["teacher_answered"])
        actions = actions_of(self._lake, jobs)
        consensus = agreed([job for job in jobs if job.teacher.spec.tier < tier], actions)
        spared = [job for job in due if job.question.state_key in consensus]
        saved = sum(self._expected_usd(spared).values())
        of_tier = [job for job in jobs if job.teacher.spec.tier == tier]
        self._tiers.append(tier_outcome(tier, of_tier, spared, consensus, actions, saved))
        self._passed_over |= {job.key for job in spared}
        return [job for job in due if job.question.state_key not in consensus]

    def _expected_usd(self, jobs: Sequence[Job]) -> dict[str, float]:
        """By teacher."""
        return {
            teacher.spec.name: forecast(mine, habits_of(self._lake, teacher), 1).cost_usd.expected
            for teacher in self._prepared.teachers
            if (mine := [job for job in jobs if job.teacher is teacher])
        }

    def _advance(self, room: Room) -> None:
        self._done_count += 1
        state, account = room.state(), self._prepared.account
        total = len(self._prepared.found.left) - len(self._passed_over)
        own = state.settled - account.settled_microusd
        self._watch(
            Progress(
                done_count=self._done_count,
                total_count=total,
                settled_usd=(state.settled + state.unknown) / MICROUSD_PER_USD,
                budget_usd=state.cap / MICROUSD_PER_USD,
                left_usd=own / self._done_count * (total - self._done_count) / MICROUSD_PER_USD,
            )
        )

    def _told(self, room: Room) -> ReplayReport:
        ended = Ended(
            self._options.replay_id,
            self._prepared,
            self._runs,
            room,
            self._tiers,
            self._reconciled_count,
            time.monotonic() - self._began_s,
        )
        return report_of(ended, sum(self._expected_usd(ended.left()).values()))


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that cancelled the other tasks."""
    error = group.exceptions[0]
    return _first_of(error) if isinstance(error, BaseExceptionGroup) else error


@contextmanager
def _interrupts(room: Room) -> Iterator[None]:
    """The first signal stops the replay; the next has its usual effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        room.stop(StopReason.INTERRUPTED, "what was under way has landed")

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
