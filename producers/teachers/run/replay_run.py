"""One run of a replay, in one event loop.

Flow: settlements that dead processes left → reconciling → budget → tier by tier, teachers in parallel →
reconciling → report.

**Old settlements land before anything is sent**: the budget starts from what is known.
**An interrupt stops sending; calls in flight end and land.** A second one cuts them off.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager

from tracelake.lake import Lake
from tracelake.lake.writing.writer import Writer
from tracelake.producers.calling.http_client import EndpointClient
from tracelake.producers.teachers.asking.jobs import Job
from tracelake.producers.teachers.asking.order import TurnOrder
from tracelake.producers.teachers.asking.tiers import (
    TierOutcome,
    actions_of,
    consensus_of,
    tier_outcome,
    tiers_of,
)
from tracelake.producers.teachers.forecast.forecast import forecast, observed_usage
from tracelake.producers.teachers.pricing.budget import Budget
from tracelake.producers.teachers.pricing.prices import MICROUSD_PER_USD
from tracelake.producers.teachers.run.attempt_events import unsent_failure
from tracelake.producers.teachers.run.journal import Journal
from tracelake.producers.teachers.run.prepared import Prepared, ReplayOptions
from tracelake.producers.teachers.run.reconcile import reconcile
from tracelake.producers.teachers.run.replay_report import EndedRun, Progress, ReplayReport, report_of
from tracelake.producers.teachers.run.run_control import RunControl, StopReason
from tracelake.producers.teachers.run.teacher_run import RunContext, TeacherRun

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class ReplayRun:
    """For one event loop, and one call of `run`."""

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
        self._clients: dict[str, EndpointClient] = {}
        """By the teacher's name in its file."""
        self._teacher_runs: list[TeacherRun] = []
        self._tiers: list[TierOutcome] = []
        self._skipped_count = self._done_count = self._reconciled_count = 0

    async def run(self) -> ReplayReport:
        prepared = self._prepared
        try:
            async with AsyncExitStack() as stack:
                for teacher in prepared.teachers:
                    client = EndpointClient(teacher.spec.base_url, self._keys[teacher.spec.name])
                    self._clients[teacher.spec.name] = await stack.enter_async_context(client)
                journal = await stack.enter_async_context(Journal(self._writer))
                control = RunControl(await self._opening_budget(journal))
                with _interrupts(control):
                    await self._ask_tiers(control, journal)
                await self._reconcile_own(control, journal)
        except BaseExceptionGroup as group:
            raise _first_of(group) from group
        left = [job for run in self._teacher_runs for job in run.left()]
        ended = EndedRun(
            self._options.replay_id,
            prepared,
            self._teacher_runs,
            control,
            self._tiers,
            self._reconciled_count,
            left,
            self._expected_usd(left),
            time.monotonic() - self._began_s,
        )
        return report_of(ended)

    async def _opening_budget(self, journal: Journal) -> Budget:
        account, prepared = self._prepared.account, self._prepared
        settled = await reconcile(account.unknown, self._routers())
        unsent = [
            unsent_failure(job, prepared.attempt_count.get(job.key, 0)) for job in prepared.found.unsent
        ]
        await journal.record([*account.due, *settled, *unsent])
        self._reconciled_count += len(settled)
        known = {settlement.attempt_id for settlement in settled}
        return Budget(
            self._options.budget_microusd,
            settled_microusd=account.settled_microusd + sum(each.cost_microusd for each in settled),
            unknown={
                each.attempt_id: each.max_cost_microusd
                for each in account.unknown
                if each.attempt_id not in known
            },
        )

    async def _reconcile_own(self, control: RunControl, journal: Journal) -> None:
        unknown = [attempt for run in self._teacher_runs for attempt in run.unknown]
        settled = await reconcile(unknown, self._routers())
        await journal.record(settled)
        for settlement in settled:
            control.settle(settlement.attempt_id, settlement.cost_microusd)
        self._reconciled_count += len(settled)

    def _routers(self) -> dict[str, EndpointClient]:
        """Clients of routers, which report the cost of a call, by the teacher's name in the lake."""
        return {
            teacher.name: self._clients[teacher.spec.name]
            for teacher in self._prepared.teachers
            if teacher.spec.routing.enabled
        }

    async def _ask_tiers(self, control: RunControl, journal: Journal) -> None:
        options, prepared = self._options, self._prepared
        context = RunContext(
            options.replay_id,
            options.arm,
            control,
            journal,
            prepared.attempt_count,
            options.policy,
            lambda: self._report_progress(control),
        )
        tiers = tiers_of(prepared.jobs) if options.tiered else [None]
        for tier in tiers:
            due = [job for job in prepared.found.left if tier in (None, job.teacher.spec.tier)]
            if tier is not None and tier != tiers[0]:
                due = await asyncio.to_thread(self._where_lower_tiers_disagree, tier, due)
            async with asyncio.TaskGroup() as group:
                for teacher in prepared.teachers:
                    order = TurnOrder([job for job in due if job.teacher is teacher], options.cache_order)
                    client = self._clients[teacher.spec.name]
                    run = TeacherRun(context, teacher, client, options.concurrency, order)
                    self._teacher_runs.append(run)
                    group.create_task(run.ask_all())

    def _where_lower_tiers_disagree(self, tier: int, due: list[Job]) -> list[Job]:
        """The due jobs at such states; records what the others would have cost."""
        jobs = self._prepared.jobs
        self._lake.project(["teacher_answered"])
        actions = actions_of(self._lake, jobs)
        consensus = consensus_of([job for job in jobs if job.teacher.spec.tier < tier], actions)
        spared = [job for job in due if job.question.state_key in consensus]
        of_tier = [job for job in jobs if job.teacher.spec.tier == tier]
        saved_usd = self._expected_usd(spared)
        self._tiers.append(tier_outcome(tier, of_tier, spared, consensus, actions, saved_usd))
        self._skipped_count += len(spared)
        return [job for job in due if job.question.state_key not in consensus]

    def _expected_usd(self, jobs: Sequence[Job]) -> float:
        expected = 0.0
        for teacher in self._prepared.teachers:
            if own := [job for job in jobs if job.teacher is teacher]:
                expected += forecast(own, observed_usage(self._lake, teacher), 1).cost_usd.expected
        return expected

    def _report_progress(self, control: RunControl) -> None:
        self._done_count += 1
        state = control.budget_state()
        total = len(self._prepared.found.left) - self._skipped_count
        average = (state.settled - self._prepared.account.settled_microusd) / self._done_count
        self._watch(
            Progress(
                done_count=self._done_count,
                total_count=total,
                settled_usd=(state.settled + state.unknown) / MICROUSD_PER_USD,
                budget_usd=state.cap / MICROUSD_PER_USD,
                left_usd=average * (total - self._done_count) / MICROUSD_PER_USD,
            )
        )


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that cancelled the other tasks."""
    error = group.exceptions[0]
    return _first_of(error) if isinstance(error, BaseExceptionGroup) else error


@contextmanager
def _interrupts(control: RunControl) -> Iterator[None]:
    """The first signal stops the replay; the next one has its usual effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        control.stop(StopReason.INTERRUPTED, "calls in flight have ended")

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
