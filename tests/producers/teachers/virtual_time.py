"""An event loop with virtual time: waits end at once, in the order in which they would have ended."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Advances the time of its loop instead of waiting."""

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
    """Run a coroutine that waits for time only. One that waits for anything else hangs."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
