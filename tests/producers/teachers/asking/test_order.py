"""Goal: turns of a trace follow each other where that costs no time, and always with strict order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.producers.teachers.question_lake import question_lake, teacher
from tracelake.producers.teachers.asking.jobs import Job, jobs_of, price_teachers
from tracelake.producers.teachers.asking.order import CacheOrder, TurnOrder
from tracelake.producers.teachers.asking.questions import select


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Two traces of three turns."""
    return jobs_of(select(question_lake(str(tmp_path / "lake")), "all"), price_teachers([teacher()]))


def place(job: Job | None) -> tuple[str, int] | None:
    return None if job is None else (job.question.rollout_id[-1], job.question.turn_index)


def test_slots_are_filled_across_traces_and_no_slot_stays_idle(jobs: list[Job]) -> None:
    async def scenario() -> None:
        order = TurnOrder(jobs, "prefer")
        first, second = await order.next(), await order.next()
        assert (place(first), place(second)) == (("0", 0), ("1", 0))
        assert second is not None
        order.answer_started(second)
        assert place(await order.next()) == ("1", 1)
        assert place(await order.next()) == ("0", 1)
        assert [place(job) for job in order.left()] == [("0", 2), ("1", 2)]

    asyncio.run(scenario())


def test_strict_order_waits_until_the_turn_before_has_started(jobs: list[Job]) -> None:
    async def scenario() -> None:
        order = TurnOrder(jobs, "strict")
        first = await order.next()
        await order.next()
        waiting = asyncio.create_task(order.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert first is not None
        order.answer_started(first)
        assert place(await waiting) == ("0", 1)

    asyncio.run(scenario())


def test_all_waiting_tasks_are_woken_when_no_job_is_left(jobs: list[Job]) -> None:
    async def scenario() -> None:
        order = TurnOrder(jobs, "strict")
        await order.next()
        await order.next()
        waiting = [asyncio.create_task(order.next()) for _ in range(3)]
        await asyncio.sleep(0)
        order.stop()
        assert await asyncio.gather(*waiting) == [None, None, None]
        assert len(order.left()) == order.left_count == 4

    asyncio.run(scenario())


@pytest.mark.parametrize("cache_order", ["prefer", "strict"])
def test_every_job_is_handed_out_once(jobs: list[Job], cache_order: CacheOrder) -> None:
    async def scenario() -> list[Job]:
        order, given = TurnOrder(jobs, cache_order), []
        while (job := await order.next()) is not None:
            given.append(job)
            order.answer_started(job)
        return given

    given = asyncio.run(scenario())
    assert [place(job) for job in given] == [place(job) for job in jobs]
