"""Goal: what comes within one rest is taken at once, nothing else waits, and rests are short beside answers.

Method: a selector whose time passes only while it rests; real loops, sockets and threads.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tracelake.producers.calling.gathering_loop import (
    REST_MAX_S,
    REST_MIN_S,
    REST_PART,
    GatheringLoop,
    GatheringSelector,
)


class Clock:
    """Goes forward only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.rests_s: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.rests_s.append(seconds)
        self.now_s += seconds
        self.meanwhile()


class Peers:
    """Three connections of which the selector watches one end each."""

    def __init__(self, stack: ExitStack) -> None:
        self.clock = Clock()
        self.selector = GatheringSelector(lambda: self.clock.now_s, self.clock.sleep)
        stack.callback(self.selector.close)
        self.ends = [[stack.enter_context(end) for end in socket.socketpair()] for _ in range(3)]
        for number, (watched, _) in enumerate(self.ends):
            self.selector.register(watched, selectors.EVENT_READ, number)

    def say(self, *numbers: int) -> None:
        for number in numbers:
            self.ends[number][1].send(b"x")

    def heard(self, timeout: float | None = None) -> list[int]:
        found = sorted(key.data for key, _ in self.selector.select(timeout))
        for number in found:
            self.ends[number][0].recv(10)
        return found


@pytest.fixture
def peers() -> Iterator[Peers]:
    with ExitStack() as stack:
        yield Peers(stack)


def test_what_comes_after_a_rest_is_taken_at_once(peers: Peers) -> None:
    peers.say(1)
    assert peers.heard() == [1]
    assert peers.clock.rests_s == []


def test_what_comes_within_one_rest_is_taken_together(peers: Peers) -> None:
    peers.say(0)
    peers.heard()
    peers.say(1)
    peers.clock.meanwhile = lambda: peers.say(0, 2)
    assert peers.heard() == [0, 1, 2]
    assert peers.clock.rests_s == [pytest.approx(REST_MIN_S)]


def test_work_that_is_due_and_timers_do_not_wait_for_a_rest(peers: Peers) -> None:
    peers.say(0)
    peers.heard()
    peers.say(1)
    assert peers.heard(timeout=0) == [1]
    assert peers.clock.rests_s == []
    assert peers.heard(timeout=REST_MIN_S / 4) == []
    assert peers.clock.rests_s == [pytest.approx(REST_MIN_S / 4)]


def test_a_rest_that_is_over_is_not_taken_again(peers: Peers) -> None:
    peers.say(0)
    peers.heard()
    peers.clock.now_s += REST_MIN_S
    peers.say(2)
    assert peers.heard() == [2]
    assert peers.clock.rests_s == []


def test_before_it_rests_or_waits_it_says_that_it_is_idle(peers: Peers) -> None:
    told: list[float] = []
    peers.selector.when_idle = lambda: told.append(peers.clock.now_s)
    peers.say(0)
    assert peers.heard(timeout=0) == [0]
    assert told == []
    peers.say(0)
    began_s = peers.clock.now_s
    assert peers.heard() == [0]
    assert told == [began_s]
    assert peers.clock.now_s > began_s


def test_a_loop_of_it_runs_tasks_timers_and_threads() -> None:
    async def scenario() -> list[str]:
        told = await asyncio.gather(
            asyncio.sleep(0.001, "timer"), asyncio.to_thread(lambda: "thread"), asyncio.sleep(0, "task")
        )
        async with asyncio.timeout(10):
            server = await asyncio.start_server(_echo, "127.0.0.1", 0)
            async with server:
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"line\n")
                told.append((await reader.readline()).decode().strip())
                writer.close()
                await writer.wait_closed()
        return told

    with asyncio.Runner(loop_factory=GatheringLoop) as runner:
        assert runner.run(scenario()) == ["timer", "thread", "task", "line"]


def test_a_thread_that_wakes_the_loop_does_not_wait_for_a_rest() -> None:
    waits_s: list[float] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, GatheringLoop)
        loop.took(10.0)
        for _ in range(20):
            woken = loop.create_future()
            began_s = time.monotonic()
            threading.Timer(0.001, loop.call_soon_threadsafe, (woken.set_result, None)).start()
            await woken
            waits_s.append(time.monotonic() - began_s)

    with asyncio.Runner(loop_factory=GatheringLoop) as runner:
        runner.run(scenario())
    assert statistics.median(waits_s) < REST_MAX_S / 2


def test_a_rest_is_a_part_of_what_answers_take_within_bounds() -> None:
    loop = GatheringLoop()
    try:
        selector = loop._gathering
        assert selector.rest_s == REST_MIN_S
        loop.took(0.3)
        assert selector.rest_s == pytest.approx(0.3 * REST_PART)
        # One slow answer among many changes little.
        loop.took(3.0)
        assert selector.rest_s < 2 * 0.3 * REST_PART
        for _ in range(100):
            loop.took(30.0)
        assert selector.rest_s == REST_MAX_S
        for _ in range(100):
            loop.took(0.001)
        assert selector.rest_s == REST_MIN_S
    finally:
        loop.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()
