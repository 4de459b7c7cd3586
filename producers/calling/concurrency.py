"""How many calls of one teacher are under way at a time, and how fast they follow each other.

Flow: `async with limit.place()` → what the call needs is made ready → `async with limit.slot() as slot` → the
call → `slot.succeeded()` or `slot.rate_limited()`.

**The limit is found, not guessed**: it grows by one per success until the endpoint first says that it is too
much, then by one per round; it shrinks when a rate limit is told, and only then. An endpoint that is broken
is not one that is busy.
**It shrinks by half of the share that was refused** since it last shrank: by half where everything is
refused, by little where single calls are, so that stray refusals do not cost the throughput; they do not end
the fast growth either.
**It shrinks once for one congestion**: answers of calls that began before the last cut tell nothing new.
**It grows only while it is used up**: what was never tried is not known to be bearable.
**A few are made ready before there is a slot for them**, so that a slot that is free is used at once.
**First come, first served**; a caller that is cancelled leaves no slot behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Protocol, Self

from tracelake.producers.calling.gate import Gate

START_DEFAULT = 8
MAXIMUM_DEFAULT = 100
STRAY_SHARE = 0.2
"""Refusals up to this share of the answers do not end the slow start."""
AHEAD_PART = 4
"""One call in so many that may be under way is made ready ahead; one at least."""


class Clock(Protocol):
    """Where waiting takes its time from."""

    def now_s(self) -> float:
        """Seconds of a clock that only goes forward."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class LoopClock:
    """The clock of the running event loop."""

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class AdaptiveLimit:
    """The limit of one teacher. Belongs to one event loop."""

    def __init__(
        self,
        *,
        fixed: int | None = None,
        start: int = START_DEFAULT,
        maximum: int | None = None,
        requests_per_minute: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`fixed` calls at a time, whatever is told; else from `start` up to `maximum`."""
        self.concurrency_max = min([told for told in (fixed, maximum) if told] or [MAXIMUM_DEFAULT])
        """Calls that are under way at a time at most, whatever is found out."""
        self._is_fixed = fixed is not None
        self._size = float(min(fixed or start, self.concurrency_max))
        self._is_known = False
        """Whether a rate limit has been met, and growth is slow."""
        self._pause_s = 60 / requests_per_minute if requests_per_minute else 0.0
        self._clock = clock or LoopClock()
        self._next_s = -float("inf")
        self._shrunk_s = -float("inf")
        self._slots = Gate(lambda: self.size)
        self._places = Gate(lambda: self.size + max(self.size // AHEAD_PART, 1))
        self._succeeded = self._refused = 0
        """Answers since the limit last shrank; while growth is fast, all of them."""

    @property
    def size(self) -> int:
        """Calls that may be under way now."""
        return int(self._size)

    @property
    def in_flight(self) -> int:
        return self._slots.inside

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Among those that are under way or next; a slot is waited for in it."""
        await self._places.enter()
        try:
            yield
        finally:
            self._places.leave()

    def slot(self) -> Slot:
        """Room for one call; waits for it when entered."""
        return Slot(self)

    async def _enter(self) -> float:
        """The moment at which the call may leave."""
        await self._slots.enter()
        try:
            return await self._paced()
        except BaseException:
            self._slots.leave()
            raise

    async def _paced(self) -> float:
        now_s = self._clock.now_s()
        leaves_s = max(now_s, self._next_s)
        self._next_s = leaves_s + self._pause_s
        if leaves_s > now_s:
            await self._clock.sleep(leaves_s - now_s)
        return leaves_s

    def _grow(self) -> None:
        self._succeeded += 1
        if self._is_fixed or self.in_flight < self.size:
            return
        more = 1 / self._size if self._is_known else 1.0
        self._size = min(self._size + more, float(self.concurrency_max))
        self._slots.admit()
        self._places.admit()

    def _shrink(self, began_s: float) -> None:
        self._refused += 1
        if self._is_fixed or began_s <= self._shrunk_s:
            return
        self._shrunk_s = self._clock.now_s()
        share = self._refused / (self._refused + self._succeeded)
        self._size = max(self._size * (1 - share / 2), 1.0)
        # Endpoints refuse a few calls at any rate, and slow growth takes a round for each call more.
        self._is_known = self._is_known or (self._refused > 1 and share > STRAY_SHARE)
        if self._is_known:
            self._succeeded = self._refused = 0


class Slot:
    """Room for one call."""

    def __init__(self, limit: AdaptiveLimit) -> None:
        self._limit = limit
        self._began_s = 0.0

    async def __aenter__(self) -> Self:
        self._began_s = await self._limit._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limit._slots.leave()

    def succeeded(self) -> None:
        """The endpoint answered: more may be bearable."""
        self._limit._grow()

    def rate_limited(self) -> None:
        """The endpoint said that it is too much."""
        self._limit._shrink(self._began_s)
