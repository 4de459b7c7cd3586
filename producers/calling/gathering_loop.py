"""An event loop that takes what has come in a few milliseconds at once.

**Tokens of many answers come one by one**, and waking up for each of them costs more processor time than
taking it: memory and branch predictors are cold after each sleep.
**What comes after a rest is taken at once**, and nothing waits longer than one.
**A rest is short beside an answer**: times of answers are told too long by as much at most.
**Threads of this process are not kept waiting**: a call leaves when its reservation is durable.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import time
from collections.abc import Callable
from typing import Any

REST_MIN_S, REST_MAX_S = 0.006, 0.08
REST_PART = 0.08
"""Of the time that an answer mostly takes."""
_NEWEST_PART = 0.1
"""Of an answer in the time that they mostly take."""


class GatheringSelector(selectors.DefaultSelector):
    """Rests after each time that something came."""

    def __init__(
        self,
        now_s: Callable[[], float] = time.monotonic,
        rest: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__()
        self.rest_s = REST_MIN_S
        self.when_idle: Callable[[], object] = lambda: None
        self._now_s = now_s
        self._rest = rest or self._rest_or_woken
        self._heard_s = -REST_MAX_S
        self._threads: select.poll | None = None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        if self._threads is None:
            # A loop's first is the pipe through which threads wake it.
            self._threads = select.poll()
            self._threads.register(key.fd, select.POLLIN)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # At 0 there is work to be done, which does not wait.
        if timeout != 0:
            self.when_idle()
            began_s = self._now_s()
            rest_s = self._heard_s + self.rest_s - began_s
            if timeout is not None:
                rest_s = min(rest_s, timeout)
            if rest_s > 0:
                self._rest(rest_s)
                timeout = None if timeout is None else max(timeout - (self._now_s() - began_s), 0.0)
        found = super().select(timeout)
        if found:
            self._heard_s = self._now_s()
        return found

    def _rest_or_woken(self, seconds: float) -> None:
        if self._threads is None:
            time.sleep(seconds)
        else:
            self._threads.poll(seconds * 1000)


class GatheringLoop(asyncio.SelectorEventLoop):
    """For calls that take much longer than `REST_MIN_S`."""

    def __init__(self) -> None:
        self._gathering = GatheringSelector()
        self._answer_s: float | None = None
        super().__init__(self._gathering)

    def when_idle(self, callback: Callable[[], object]) -> None:
        """Call it each time that all that has come is taken; the latest is the only one."""
        self._gathering.when_idle = callback

    def took(self, answer_s: float) -> None:
        """An answer took so long: rests are made to fit."""
        mostly_s = self._answer_s
        self._answer_s = answer_s if mostly_s is None else mostly_s + _NEWEST_PART * (answer_s - mostly_s)
        self._gathering.rest_s = min(max(self._answer_s * REST_PART, REST_MIN_S), REST_MAX_S)


def running_loop() -> GatheringLoop:
    """Raises TypeError in a loop of another kind."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, GatheringLoop):
        raise TypeError("a GatheringLoop is needed: it says when it is idle, and fits its rests to answers")
    return loop
