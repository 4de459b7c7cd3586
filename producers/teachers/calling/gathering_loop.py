"""An event loop that takes what has come in a few milliseconds at once.

**Tokens of many answers come one by one**: waking up for each of them would be a third of a replay's
processor time.
**What comes after a rest is taken at once**, and nothing waits longer than `GATHERING_S`.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable

GATHERING_S = 0.006
"""Short beside a call, and long beside the pause between two tokens of all calls."""


class GatheringSelector(selectors.DefaultSelector):
    """Rests after each time that something came."""

    def __init__(
        self, now_s: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__()
        self._now_s, self._sleep = now_s, sleep
        self._heard_s = -GATHERING_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # At 0 there is work to be done, which does not wait.
        if timeout != 0:
            rest_s = self._heard_s + GATHERING_S - self._now_s()
            if timeout is not None:
                rest_s = min(rest_s, timeout)
            if rest_s > 0:
                self._sleep(rest_s)
                timeout = None if timeout is None else timeout - rest_s
        found = super().select(timeout)
        if found:
            self._heard_s = self._now_s()
        return found


def gathering_loop() -> asyncio.AbstractEventLoop:
    """What `asyncio.Runner` takes as its `loop_factory`."""
    return asyncio.SelectorEventLoop(GatheringSelector())
