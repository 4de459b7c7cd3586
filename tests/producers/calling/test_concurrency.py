"""How the number of calls at a time follows what the endpoint bears; the semaphore below. Time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.producers.teachers.virtual_time import run_virtually
from tracelake.producers.calling.concurrency import AdaptiveLimit, ResizableSemaphore


class Endpoint:
    """Serves so many calls at a time, each for a second, and refuses the others."""

    def __init__(self, limit: AdaptiveLimit, bearable: int) -> None:
        self.limit, self.bearable = limit, bearable
        self.in_flight = self.in_flight_max = self.refused = self.done = 0

    async def ask(self) -> None:
        while True:
            async with self.limit.slot() as slot:
                self.in_flight += 1
                self.in_flight_max = max(self.in_flight_max, self.in_flight)
                is_refused = self.in_flight > self.bearable
                await asyncio.sleep(0.1 if is_refused else 1.0)
                self.in_flight -= 1
                if not is_refused:
                    self.done += 1
                    slot.succeeded()
                    return
                self.refused += 1
                slot.rate_limited()

    async def ask_often(self, count: int) -> float:
        began_s = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self.ask())
        return asyncio.get_running_loop().time() - began_s


def test_growth_doubles_each_round_until_the_maximum() -> None:
    async def run() -> list[int]:
        limit = AdaptiveLimit(start=2, maximum=32)
        asking = asyncio.create_task(Endpoint(limit, bearable=1000).ask_often(200))
        sizes = []
        for _ in range(6):
            await asyncio.sleep(0.999)
            sizes.append(limit.size)
        await asking
        return sizes

    assert run_virtually(run()) == [2, 4, 8, 16, 32, 32]


def test_the_limit_stabilizes_near_what_the_endpoint_bears() -> None:
    async def run() -> tuple[Endpoint, float]:
        endpoint = Endpoint(AdaptiveLimit(start=4, maximum=100), bearable=20)
        return endpoint, await endpoint.ask_often(2000)

    endpoint, seconds = run_virtually(run())
    assert endpoint.done == 2000
    # 20 at a time would take 100 seconds; half of them are lost at most.
    assert seconds < 200
    assert endpoint.refused < 200
    assert 10 <= endpoint.limit.size <= 30


def test_refusals_of_one_burst_shrink_once() -> None:
    async def run() -> int:
        limit = AdaptiveLimit(start=16)
        async with AsyncExitStack() as stack:
            slots = [await stack.enter_async_context(limit.slot()) for _ in range(16)]
            await asyncio.sleep(1)
            for slot in slots:
                slot.rate_limited()
            return limit.size

    assert run_virtually(run()) == 8


def test_a_stray_refusal_among_many_successes_costs_little() -> None:
    async def run() -> int:
        limit = AdaptiveLimit(start=40)
        for number in range(100):
            async with limit.slot() as slot:
                await asyncio.sleep(1)
                slot.rate_limited() if number == 99 else slot.succeeded()
        return limit.size

    assert run_virtually(run()) == 39


async def _size_after(count: int, refuses: Callable[[int, int], bool]) -> int:
    """After calls of a second each; the endpoint refuses by the number of a call and of calls in flight."""
    limit = AdaptiveLimit(start=8, maximum=64)

    async def call(number: int) -> None:
        async with limit.slot() as slot:
            refused = refuses(number, limit.in_flight)
            await asyncio.sleep(1)
            slot.rate_limited() if refused else slot.succeeded()

    await asyncio.gather(*(call(number) for number in range(count)))
    return limit.size


@pytest.mark.parametrize("first", [0, 3, 19])
def test_stray_refusals_do_not_end_the_fast_growth(first: int) -> None:
    assert run_virtually(_size_after(300, lambda number, _: number % 20 == first)) > 50


@pytest.mark.parametrize("capacity", [4, 12, 24])
def test_a_limit_is_found_and_respected(capacity: int) -> None:
    size = run_virtually(_size_after(900, lambda _, in_flight: in_flight > capacity))
    assert capacity / 2 <= size <= capacity + 2


def test_a_refusal_of_a_call_that_began_after_the_cut_shrinks_again() -> None:
    async def run() -> int:
        limit = AdaptiveLimit(start=16)
        for _ in range(2):
            async with limit.slot() as slot:
                await asyncio.sleep(1)
                slot.rate_limited()
            await asyncio.sleep(1)
        return limit.size

    assert run_virtually(run()) == 4


def test_the_limit_never_falls_below_one() -> None:
    async def run() -> int:
        limit = AdaptiveLimit(start=2)
        for _ in range(10):
            async with limit.slot() as slot:
                await asyncio.sleep(1)
                slot.rate_limited()
        return limit.size

    assert run_virtually(run()) == 1


def test_a_limit_that_is_not_used_up_does_not_grow() -> None:
    async def run() -> int:
        limit = AdaptiveLimit(start=8)
        for _ in range(50):
            async with limit.slot() as slot:
                slot.succeeded()
        return limit.size

    assert run_virtually(run()) == 8


@pytest.mark.parametrize("report", ["succeeded", "rate_limited"])
def test_a_fixed_limit_never_changes(report: str) -> None:
    async def run() -> int:
        limit = AdaptiveLimit(fixed=1)
        for _ in range(20):
            async with limit.slot() as slot:
                getattr(slot, report)()
        return limit.size

    assert run_virtually(run()) == 1


def test_a_fixed_limit_is_still_bounded_by_the_maximum() -> None:
    assert AdaptiveLimit(fixed=50, maximum=5).size == 5
    assert AdaptiveLimit(fixed=500).concurrency_max == 500


def test_requests_leave_evenly_under_a_rate() -> None:
    async def run() -> list[float]:
        limit = AdaptiveLimit(fixed=10, requests_per_minute=30)
        left_s: list[float] = []

        async def ask() -> None:
            async with limit.slot():
                left_s.append(asyncio.get_running_loop().time())

        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(ask())
        return left_s

    assert run_virtually(run()) == pytest.approx([0, 2, 4, 6, 8])


def test_callers_are_served_in_the_order_of_arrival() -> None:
    async def run() -> list[int]:
        limit = AdaptiveLimit(fixed=1)
        served: list[int] = []

        async def ask(number: int) -> None:
            async with limit.slot():
                await asyncio.sleep(1)
                served.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(ask(number))
        return served

    assert run_virtually(run()) == list(range(6))


def test_a_caller_cancelled_at_the_moment_of_its_turn_gives_it_back() -> None:
    async def run() -> int:
        limit = AdaptiveLimit(fixed=1)

        async def ask() -> None:
            async with limit.slot():
                pass

        async with limit.slot():
            waiting = asyncio.create_task(ask())
            await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        return limit.in_flight

    assert run_virtually(run()) == 0


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3)), max_size=40), st.integers(1, 4))
def test_cancelled_callers_leave_no_slot_behind(plan: list[tuple[float, float]], size: int) -> None:
    """Callers come and are cancelled at any time: no slot is lost, and never are too many used."""

    async def run() -> tuple[int, int]:
        limit = AdaptiveLimit(fixed=size, requests_per_minute=120)
        in_flight_max = 0

        async def ask() -> None:
            nonlocal in_flight_max
            async with limit.slot():
                in_flight_max = max(in_flight_max, limit.in_flight)
                await asyncio.sleep(1)

        async def cancelled(begins_s: float, lasts_s: float) -> None:
            await asyncio.sleep(begins_s)
            task = asyncio.create_task(ask())
            await asyncio.sleep(lasts_s)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        await asyncio.gather(*(cancelled(*each) for each in plan))
        async with asyncio.TaskGroup() as group:
            for _ in range(size):
                group.create_task(ask())
        return in_flight_max, limit.in_flight

    in_flight_max, left = run_virtually(run())
    assert in_flight_max <= size
    assert left == 0


class Visitors:
    """Tasks that use a semaphore, and the order in which they entered."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.semaphore = ResizableSemaphore(size)
        self.entered: list[int] = []

    async def visit(self, number: int, lasts_s: float = 1.0) -> None:
        await self.semaphore.acquire()
        self.entered.append(number)
        assert self.semaphore.in_use <= self.size
        await asyncio.sleep(lasts_s)
        self.semaphore.release()

    def resize(self, size: int) -> None:
        self.size = size
        self.semaphore.resize(size)


def test_a_semaphore_admits_in_the_order_of_arrival() -> None:
    async def run() -> list[int]:
        visitors = Visitors(2)
        await asyncio.gather(*map(visitors.visit, range(7)))
        return visitors.entered

    assert run_virtually(run()) == list(range(7))


def test_a_semaphore_that_grows_admits_waiters_at_once() -> None:
    async def run() -> tuple[list[int], list[int]]:
        visitors = Visitors(1)
        visits = asyncio.gather(*(visitors.visit(number) for number in range(4)))
        await asyncio.sleep(0.5)
        before = list(visitors.entered)
        visitors.resize(3)
        await asyncio.sleep(0)
        after = list(visitors.entered)
        await visits
        return before, after

    assert run_virtually(run()) == ([0], [0, 1, 2])


def test_a_semaphore_that_shrank_admits_no_one_until_enough_have_left() -> None:
    async def run() -> list[int]:
        visitors = Visitors(3)
        long = [asyncio.create_task(visitors.visit(number, 2.0)) for number in range(2)]
        short = asyncio.create_task(visitors.visit(2))
        await asyncio.sleep(0.5)
        late = asyncio.create_task(visitors.visit(3))
        visitors.resize(1)
        await short
        await asyncio.sleep(0.5)
        inside = list(visitors.entered)
        visitors.resize(2)
        await asyncio.gather(*long, late)
        return inside

    assert run_virtually(run()) == [0, 1, 2]
