"""An event loop whose time is made up: waits end at once, in the order in which they would have ended."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Instead of waiting, moves the time of its loop on."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout:
            self.loop.time_s += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.time_s = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.time_s


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that waits for nothing but time. One that waits for ever hangs."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


class RecordedClock:
    """A clock of the running loop that keeps how long it was asked to wait."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        await asyncio.sleep(seconds)
