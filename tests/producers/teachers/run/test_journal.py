"""Goal: what is recorded is durable and in order, many appends are one, and an error reaches all who wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest

from tracelake.lake import Lake
from tracelake.producers.calling.gathering_loop import GatheringLoop
from tracelake.producers.teachers.run.journal import Journal
from tracelake.schemas.errors import SpoolError
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.teacher_events import TeacherCallStarted


def started(number: int) -> TeacherCallStarted:
    return TeacherCallStarted(attempt_id=f"{number:04d}", response_id="r")


def run_gathering(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=GatheringLoop) as runner:
        runner.run(scenario)


class SlowWriter:
    """Takes each append when it is let."""

    def __init__(self) -> None:
        self.let = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.batches: list[list[str]] = []
        self.error: Exception | None = None

    def append(self, events: Iterable[Event]) -> None:
        self.begun.release()
        self.let.acquire()
        if self.error is not None:
            raise self.error
        self.batches.append([event.attempt_id for event in events])  # type: ignore[attr-defined]


def test_what_gathers_while_an_append_is_synced_goes_into_the_next(tmp_path: Path) -> None:
    writer = SlowWriter()

    async def scenario() -> None:
        journal = Journal(writer)  # type: ignore[arg-type]
        first = asyncio.create_task(journal.record([started(0)]))
        await asyncio.to_thread(writer.begun.acquire)
        rest = [asyncio.create_task(journal.record([started(number)])) for number in (1, 2)]
        await asyncio.sleep(0)
        journal.tell([started(3)])
        last = asyncio.create_task(journal.record([started(4)]))
        await asyncio.sleep(0)
        assert not first.done()
        writer.let.release(10)
        await asyncio.gather(first, *rest, last)
        await journal.close()

    run_gathering(scenario())
    assert writer.batches == [["0000"], ["0001", "0002", "0003", "0004"]]


def test_an_error_reaches_all_who_wait_and_all_who_come_later() -> None:
    writer = SlowWriter()
    writer.error = SpoolError("the disk is full")
    writer.let.release(10)

    async def scenario() -> None:
        journal = Journal(writer)  # type: ignore[arg-type]
        outcomes = await asyncio.gather(
            *(journal.record([started(number)]) for number in range(3)), return_exceptions=True
        )
        assert [str(outcome) for outcome in outcomes] == ["the disk is full"] * 3
        with pytest.raises(SpoolError):
            journal.tell([started(9)])
        await journal.close()

    run_gathering(scenario())


def test_what_is_only_told_goes_with_what_is_recorded_next() -> None:
    writer = SlowWriter()
    writer.let.release(10)

    async def scenario() -> None:
        journal = Journal(writer)  # type: ignore[arg-type]
        for number in range(3):
            journal.tell([started(number)])
        await journal.record([started(3)])
        await journal.close()

    run_gathering(scenario())
    assert writer.batches == [["0000", "0001", "0002", "0003"]]


def test_what_is_only_told_becomes_durable_though_nothing_follows() -> None:
    writer = SlowWriter()
    writer.let.release(10)

    async def scenario() -> None:
        journal = Journal(writer)  # type: ignore[arg-type]
        journal.tell([started(0)])
        await asyncio.to_thread(writer.begun.acquire)
        await journal.close()

    run_gathering(scenario())
    assert writer.batches == [["0000"]]


def test_what_is_given_while_the_loop_has_work_is_one_append() -> None:
    writer = SlowWriter()
    writer.let.release(10)

    async def scenario() -> None:
        journal = Journal(writer)  # type: ignore[arg-type]

        async def after(turn_count: int) -> None:
            for _ in range(turn_count):
                await asyncio.sleep(0)
            await journal.record([started(turn_count)])

        await asyncio.gather(*map(after, range(5)))
        await journal.close()

    run_gathering(scenario())
    assert writer.batches == [["0000", "0001", "0002", "0003", "0004"]]


def test_a_loop_that_cannot_say_that_it_is_idle_is_refused() -> None:
    async def scenario() -> None:
        with pytest.raises(TypeError, match="GatheringLoop"):
            Journal(SlowWriter())  # type: ignore[arg-type]

    asyncio.run(scenario())


def test_what_was_only_told_is_durable_after_the_close(fresh_lake: Lake) -> None:
    async def scenario() -> None:
        with fresh_lake.writer("test") as writer:
            journal = Journal(writer)
            for number in range(50):
                journal.tell([started(number)])
            await journal.close()

    run_gathering(scenario())
    assert fresh_lake.project()["teacher_call_started"] == 50
