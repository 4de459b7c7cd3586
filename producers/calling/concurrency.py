"""How many calls to one endpoint run at a time, and how fast they follow each other.

Flow: `async with limit.slot() as slot` → the call → `slot.succeeded()` or `slot.rate_limited()`.

**The limit is measured, not guessed.** It grows by one per success until the first rate limit, then by one
per round; only a rate limit shrinks it. A broken endpoint is not a busy one.
**It shrinks by half of the refused share** since it last shrank: by half if every call is refused, by
little if single calls are. A few stray refusals do not end the fast growth either.
**One congestion shrinks it once**: refusals of calls that began before the last cut carry no news.
**It grows only while it is used up**: a number of calls that was never tried is not known to be bearable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

START_DEFAULT = 8
MAXIMUM_DEFAULT = 100
STRAY_SHARE = 0.2
"""Refusals up to this share of the answers do not end the fast growth."""


class ResizableSemaphore:
    """First come, first served; a cancelled waiter leaves nothing behind. For one event loop."""

    def __init__(self, size: int) -> None:
        self._size, self._waiting = size, deque[asyncio.Future[None]]()
        self.in_use = 0

    async def acquire(self) -> None:
        if self.in_use < self._size:
            self.in_use += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def release(self) -> None:
        self.in_use -= 1
        self._admit()

    def resize(self, size: int) -> None:
        """After a cut, callers wait until enough others have left."""
        self._size = size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.in_use < self._size:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self.in_use += 1


class AdaptiveLimit:
    """The limit of one endpoint. For one event loop."""

    def __init__(
        self,
        *,
        fixed: int | None = None,
        start: int = START_DEFAULT,
        maximum: int | None = None,
        requests_per_minute: float | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Always `fixed` calls at a time, if given; else from `start` up to `maximum`."""
        self.concurrency_max = min([given for given in (fixed, maximum) if given] or [MAXIMUM_DEFAULT])
        """The most calls that ever run at a time."""
        self._is_fixed = fixed is not None
        self._size = float(min(fixed or start, self.concurrency_max))
        self._semaphore = ResizableSemaphore(self.size)
        self._grows_fast = True
        self._pause_s = 60 / requests_per_minute if requests_per_minute else 0.0
        self._sleep = sleep
        self._next_s = self._shrunk_s = -float("inf")
        self._succeeded = self._refused = 0
        """Answers since the limit last shrank; during the fast growth, all of them."""

    @property
    def size(self) -> int:
        """Calls that may run now."""
        return int(self._size)

    @property
    def in_flight(self) -> int:
        return self._semaphore.in_use

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        """A place for one call; entering waits for it, and for its turn under the rate."""
        await self._semaphore.acquire()
        try:
            now_s = _now_s()
            starts_s = max(now_s, self._next_s)
            self._next_s = starts_s + self._pause_s
            if starts_s > now_s:
                await self._sleep(starts_s - now_s)
            yield Slot(self, starts_s)
        finally:
            self._semaphore.release()

    def _grow(self) -> None:
        self._succeeded += 1
        if self._is_fixed or self.in_flight < self.size:
            return
        more = 1.0 if self._grows_fast else 1 / self._size
        self._size = min(self._size + more, float(self.concurrency_max))
        self._semaphore.resize(self.size)

    def _shrink(self, began_s: float) -> None:
        self._refused += 1
        if self._is_fixed or began_s <= self._shrunk_s:
            return
        self._shrunk_s = _now_s()
        share = self._refused / (self._refused + self._succeeded)
        self._size = max(self._size * (1 - share / 2), 1.0)
        self._semaphore.resize(self.size)
        # Endpoints refuse a few calls at any rate, and slow growth takes a round for each further call.
        self._grows_fast = self._grows_fast and (self._refused == 1 or share <= STRAY_SHARE)
        if not self._grows_fast:
            self._succeeded = self._refused = 0


class Slot(NamedTuple):
    """A place for one call, to which the call reports."""

    limit: AdaptiveLimit
    began_s: float

    def succeeded(self) -> None:
        """The endpoint answered: it may bear more."""
        self.limit._grow()

    def rate_limited(self) -> None:
        """The endpoint refused the call because there are too many."""
        self.limit._shrink(self.began_s)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
