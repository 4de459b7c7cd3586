"""Goal: recorded events are durable and in order, records share appends, an error reaches all waiters."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from tracelake.lake import Lake
from tracelake.producers.teachers.run.journal import Journal
from tracelake.schemas.errors import SpoolError
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.teacher_events import TeacherCallStarted


def started(number: int) -> TeacherCallStarted:
    return TeacherCallStarted(attempt_id=f"{number:04d}", response_id="r")


class SlowWriter:
    """Finishes each append when it is allowed to."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.batches: list[list[str]] = []
        self.error: Exception | None = None

    def append(self, events: Iterable[Event]) -> None:
        self.begun.release()
        self.allowed.acquire()
        if self.error is not None:
            raise self.error
        self.batches.append([event.attempt_id for event in events])  # type: ignore[attr-defined]


def test_events_that_gather_during_an_append_share_the_next_one(tmp_path: Path) -> None:
    writer = SlowWriter()

    async def scenario() -> None:
        async with Journal(writer) as journal:  # type: ignore[arg-type]
            first = asyncio.create_task(journal.record([started(0)]))
            await asyncio.to_thread(writer.begun.acquire)
            rest = [asyncio.create_task(journal.record([started(number)])) for number in (1, 2)]
            await asyncio.sleep(0)
            journal.record_soon([started(3)])
            last = asyncio.create_task(journal.record([started(4)]))
            await asyncio.sleep(0)
            assert not first.done()
            writer.allowed.release(10)
            await asyncio.gather(first, *rest, last)

    asyncio.run(scenario())
    assert writer.batches == [["0000"], ["0001", "0002", "0003", "0004"]]


def test_an_error_reaches_every_waiting_and_every_later_caller() -> None:
    writer = SlowWriter()
    writer.error = SpoolError("the disk is full")
    writer.allowed.release(10)

    async def scenario() -> None:
        async with Journal(writer) as journal:  # type: ignore[arg-type]
            outcomes = await asyncio.gather(
                *(journal.record([started(number)]) for number in range(3)), return_exceptions=True
            )
            assert [str(outcome) for outcome in outcomes] == ["the disk is full"] * 3
            with pytest.raises(SpoolError):
                journal.record_soon([started(9)])
            with pytest.raises(SpoolError):
                await journal.record([started(10)])

    asyncio.run(scenario())


def test_events_recorded_soon_share_the_append_of_the_next_record() -> None:
    writer = SlowWriter()
    writer.allowed.release(10)

    async def scenario() -> None:
        async with Journal(writer) as journal:  # type: ignore[arg-type]
            for number in range(3):
                journal.record_soon([started(number)])
            await journal.record([started(3)])

    asyncio.run(scenario())
    assert writer.batches == [["0000", "0001", "0002", "0003"]]


def test_events_recorded_soon_become_durable_without_a_successor() -> None:
    writer = SlowWriter()
    writer.allowed.release(10)

    async def scenario() -> None:
        async with Journal(writer) as journal:  # type: ignore[arg-type]
            journal.record_soon([started(0)])
            await asyncio.to_thread(writer.begun.acquire)

    asyncio.run(scenario())
    assert writer.batches == [["0000"]]


def test_events_recorded_soon_are_durable_when_the_journal_is_closed(fresh_lake: Lake) -> None:
    async def scenario() -> None:
        with fresh_lake.writer("test") as writer:
            async with Journal(writer) as journal:
                for number in range(50):
                    journal.record_soon([started(number)])

    asyncio.run(scenario())
    assert fresh_lake.project()["teacher_call_started"] == 50


def test_a_cancelled_waiter_leaves_the_others_waiting() -> None:
    writer = SlowWriter()

    async def scenario() -> None:
        async with Journal(writer) as journal:  # type: ignore[arg-type]
            waiters = [asyncio.create_task(journal.record([started(number)])) for number in range(2)]
            await asyncio.to_thread(writer.begun.acquire)
            waiters[0].cancel()
            await asyncio.sleep(0)
            writer.allowed.release(10)
            outcomes = await asyncio.gather(*waiters, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, type(None)]

    asyncio.run(scenario())
    assert writer.batches == [["0000", "0001"]]
