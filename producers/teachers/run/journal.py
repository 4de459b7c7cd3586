"""Durable appends for an event loop, many in one sync.

Flow: tasks record events → one thread appends everything that has gathered, in order → the waiting tasks go
on.

**Appending blocks no one**: while one batch is synced, the next one gathers, so many calls share one sync.
**After an error nothing is appended any more**: every waiting and every later caller gets that error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tracelake.lake.writing.writer import Writer
from tracelake.schemas.events.event import Event

DELAY_MAX_S = 0.05
"""After which events are appended that no one waits for."""


class Journal:
    """For the running event loop. An async context manager: everything is durable when it ends."""

    def __init__(self, writer: Writer) -> None:
        self._writer, self._loop = writer, asyncio.get_running_loop()
        self._pending: list[Event] = []
        self._durable: asyncio.Future[None] = self._loop.create_future()
        """Done when `_pending` is durable."""
        self._due, self._is_closing = asyncio.Event(), False
        self._error: BaseException | None = None
        self._appender = asyncio.create_task(self._append_batches())

    async def __aenter__(self) -> Journal:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_closing = True
        self._due.set()
        await self._appender

    async def record(self, events: Sequence[Event]) -> None:
        """The events are durable when it returns. Raises what the writer raised."""
        if not events:
            return
        self._add(events)
        self._due.set()
        await asyncio.shield(self._durable)

    def record_soon(self, events: Sequence[Event]) -> None:
        """The events become durable soon, and before later ones. Raises an earlier error of the writer."""
        self._add(events)
        self._loop.call_later(DELAY_MAX_S, self._due.set)

    def _add(self, events: Sequence[Event]) -> None:
        if self._error is not None:
            raise self._error
        self._pending.extend(events)

    async def _append_batches(self) -> None:
        while self._pending or not self._is_closing:
            await self._due.wait()
            self._due.clear()
            batch, self._pending = self._pending, []
            durable, self._durable = self._durable, self._loop.create_future()
            try:
                if self._error is None and batch:
                    await asyncio.to_thread(self._writer.append, batch)
            except BaseException as error:  # noqa: BLE001 - raised in every task that waits
                self._error = error
            if self._error is None:
                durable.set_result(None)
            else:
                durable.set_exception(self._error)
                durable.exception()  # No one need wait for it.
