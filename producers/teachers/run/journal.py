"""Durable appends for an event loop, many in one.

Flow: tasks give events → when the loop has nothing else to do, one thread appends what has gathered, in its
order → the tasks that wait go on.

**An append waits for nobody and blocks nobody**: while one is synced, the next gathers. Durable storage
costs a replay one sync for many calls.
**After an error nothing is appended any more**: whoever waits, or comes later, is told that error.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import NamedTuple

from tracelake.lake.writing.writer import Writer
from tracelake.producers.calling.gathering_loop import running_loop
from tracelake.schemas.events.event import Event

TOLD_WITHIN_S = 0.05
"""What nobody waits for goes with what comes next, or after this time."""


class _Waiting(NamedTuple):
    events: Sequence[Event]
    durable: asyncio.Future[None] | None


class Journal:
    """For one event loop, in which it is made and closed."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._loop = running_loop()
        self._gathered: list[_Waiting] = []
        self._due: list[_Waiting] = []
        self._error: BaseException | None = None
        self._closing = False
        self._handed_over = threading.Condition()
        self._loop.when_idle(self._hand_over)
        self._thread = threading.Thread(target=self._append_all, name="journal")
        self._thread.start()

    async def record(self, events: Sequence[Event]) -> None:
        """Durable when it returns. Raises what the writer raised."""
        durable: asyncio.Future[None] = self._loop.create_future()
        self._give(_Waiting(events, durable))
        await durable

    def tell(self, events: Sequence[Event]) -> None:
        """Durable before anything that is recorded later, and soon. Raises what the writer raised before."""
        self._give(_Waiting(events, None))

    async def close(self) -> None:
        """Returns when everything given is durable."""
        self._hand_over()
        with self._handed_over:
            self._closing = True
            self._handed_over.notify()
        await asyncio.to_thread(self._thread.join)

    def _give(self, waiting: _Waiting) -> None:
        if self._error is not None:
            raise self._error
        self._gathered.append(waiting)

    def _hand_over(self) -> None:
        """What has gathered, when the loop has nothing else to do."""
        if not self._gathered:
            return
        with self._handed_over:
            # Who only tells wakes up the thread to begin with; it then looks for itself.
            was_empty = not self._due
            self._due += self._gathered
            self._gathered = []
            if was_empty or self._is_urgent():
                self._handed_over.notify()

    def _append_all(self) -> None:
        while True:
            with self._handed_over:
                self._handed_over.wait_for(lambda: self._due or self._closing)
                self._handed_over.wait_for(self._is_urgent, TOLD_WITHIN_S)
                batch, self._due = self._due, []
            if not batch:
                return
            self._append(batch)

    def _is_urgent(self) -> bool:
        return self._closing or any(waiting.durable is not None for waiting in self._due)

    def _append(self, batch: list[_Waiting]) -> None:
        error: BaseException | None = self._error
        if error is None:
            try:
                self._writer.append([event for waiting in batch for event in waiting.events])
            except BaseException as caught:  # noqa: BLE001 - told to whoever waits
                error = self._error = caught
        futures = [waiting.durable for waiting in batch if waiting.durable is not None]
        self._loop.call_soon_threadsafe(_resolve, futures, error)


def _resolve(futures: list[asyncio.Future[None]], error: BaseException | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
