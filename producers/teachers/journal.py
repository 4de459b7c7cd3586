"""Durable appends for an event loop, many in one.

Flow: tasks give events → one thread appends what has gathered, in its order → the tasks that wait go on.

**An append waits for nobody and blocks nobody**: while one is synced, the next gathers. Durable storage
costs a replay one sync for many calls.
**After an error nothing is appended any more**: whoever waits, or comes later, is told that error.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from lake.writing.writer import Writer
from schemas.event import Event

GATHERING_S = 0.006
"""A call takes seconds; an append for each of them would take a third of its processor time."""
TOLD_WITHIN_S = 0.05
"""What nobody waits for goes with what comes next, or after this time."""


class _Waiting(NamedTuple):
    events: Sequence[Event]
    durable: asyncio.Future[None] | None


class Journal:
    """For one event loop, in which it is made and closed."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Waiting] = []
        self._error: BaseException | None = None
        self._closing = False
        self._gathered = threading.Condition()
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
        with self._gathered:
            self._closing = True
            self._gathered.notify()
        await asyncio.to_thread(self._thread.join)

    def _give(self, waiting: _Waiting) -> None:
        with self._gathered:
            if self._error is not None:
                raise self._error
            self._waiting.append(waiting)
            # Who only tells wakes up the thread to begin with; it then looks for itself.
            if waiting.durable is not None or len(self._waiting) == 1:
                self._gathered.notify()

    def _append_all(self) -> None:
        while True:
            with self._gathered:
                self._gathered.wait_for(lambda: self._waiting or self._closing)
                self._gathered.wait_for(self._is_urgent, TOLD_WITHIN_S)
                closing = self._closing
            if not closing:
                time.sleep(GATHERING_S)
            with self._gathered:
                batch, self._waiting = self._waiting, []
                if not batch:
                    return
            self._append(batch)

    def _is_urgent(self) -> bool:
        return self._closing or any(waiting.durable is not None for waiting in self._waiting)

    def _append(self, batch: list[_Waiting]) -> None:
        error: BaseException | None = self._error
        if error is None:
            try:
                self._writer.append([event for waiting in batch for event in waiting.events])
            except BaseException as caught:  # noqa: BLE001 - told to whoever waits
                error = caught
                with self._gathered:
                    self._error = caught
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
