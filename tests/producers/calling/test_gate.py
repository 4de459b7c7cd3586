"""Goal: so many are inside at a time, in the order of their coming, whatever the size does meanwhile."""

from __future__ import annotations

import asyncio

from tests.producers.teachers.virtual_time import run_virtually
from tracelake.producers.calling.gate import Gate


class Visitors:
    """Who enters a gate, and when."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.gate = Gate(lambda: self.size)
        self.entered: list[int] = []

    async def visit(self, number: int, lasts_s: float = 1.0) -> None:
        await self.gate.enter()
        self.entered.append(number)
        assert self.gate.inside <= self.size
        await asyncio.sleep(lasts_s)
        self.gate.leave()


def test_who_comes_first_enters_first() -> None:
    async def run() -> list[int]:
        visitors = Visitors(2)
        await asyncio.gather(*map(visitors.visit, range(7)))
        return visitors.entered

    assert run_virtually(run()) == list(range(7))


def test_after_it_grew_those_who_wait_are_let_in() -> None:
    async def run() -> tuple[list[int], list[int]]:
        visitors = Visitors(1)
        visits = asyncio.gather(*(visitors.visit(number) for number in range(4)))
        await asyncio.sleep(0.5)
        before = list(visitors.entered)
        visitors.size = 3
        visitors.gate.admit()
        await asyncio.sleep(0)
        after = list(visitors.entered)
        await visits
        return before, after

    assert run_virtually(run()) == ([0], [0, 1, 2])


def test_after_it_shrank_nobody_enters_until_enough_have_left() -> None:
    async def run() -> list[int]:
        visitors = Visitors(3)
        long = [asyncio.create_task(visitors.visit(number, 2.0)) for number in range(2)]
        short = asyncio.create_task(visitors.visit(2))
        await asyncio.sleep(0.5)
        late = asyncio.create_task(visitors.visit(3))
        visitors.size = 1
        await short
        await asyncio.sleep(0.5)
        inside = list(visitors.entered)
        visitors.size = 2
        await asyncio.gather(*long, late)
        return inside

    assert run_virtually(run()) == [0, 1, 2]
