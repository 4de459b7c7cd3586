"""Events from a trainer that must not wait: a bounded queue in front of a writer.

Flow: `put` (never waits) → queue → a thread appends → durable.

**Never silent**: an event that finds the queue full is counted, and the ledger lists it as lost when the
collector closes. `put` reports it at once.
**Durable later**: `put` acknowledges nothing. `close` and `drain` return once the events that were queued
before are durable, and raise what appending raised.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from types import TracebackType

from tracelake.lake.writing.deduplicate import LIVE, Origin
from tracelake.lake.writing.writer import Writer
from tracelake.schemas.errors import LakeError, TracelakeError
from tracelake.schemas.events.event import Event

QUEUED_MAX = 10_000
BATCH_MAX = 256


class Collector:
    """Owns its writer; any number of threads may put."""

    def __init__(self, writer: Writer, *, queued_max: int = QUEUED_MAX, origin: Origin = LIVE) -> None:
        self._writer = writer
        self._origin = origin
        self._queue: queue.Queue[Event | None] = queue.Queue(queued_max)
        self._lost_bytes: list[int] = []
        self._lock = threading.Lock()
        self._queued_count = 0
        self._appended_count = 0
        self._appended = threading.Condition()
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)
        self._thread.start()

    @property
    def lost_count(self) -> int:
        """Events dropped so far, because the queue was full or appending had failed."""
        return len(self._lost_bytes)

    def put(self, events: Iterable[Event]) -> bool:
        """Queue events without waiting. False if one of them was dropped."""
        all_queued = True
        for event in events:
            try:
                if self._closed or self._error is not None:
                    raise queue.Full
                with self._lock:
                    self._queue.put_nowait(event)
                    self._queued_count += 1
            except queue.Full:
                all_queued = False
                self._drop(event)
        return all_queued

    def drain(self) -> None:
        """Returns when all events that are queued now are durable. Raises what appending raised."""
        with self._lock:
            queued_count = self._queued_count
        with self._appended:
            self._appended.wait_for(lambda: self._appended_count >= queued_count)
        self._raise_error()

    def close(self) -> None:
        """Drain the queue, count the losses and close the writer. Raises what appending raised."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        if self._error is None:
            for byte_count in self._lost_bytes:
                self._writer.count_lost(byte_count)
        self._writer.close()
        self._raise_error()

    def __enter__(self) -> Collector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        ended = False
        while not ended:
            batch = [self._queue.get()]
            while batch[-1] is not None and len(batch) < BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get())
            ended = batch[-1] is None
            events = [event for event in batch if event is not None]
            self._append(events)
            with self._appended:
                self._appended_count += len(events)
                self._appended.notify_all()

    def _append(self, events: list[Event]) -> None:
        try:
            if self._error is None and events:
                self._writer.append(events, self._origin)
                return
        except (TracelakeError, OSError) as error:
            # The thread goes on, so that nobody waits for ever. `drain` and `close` raise the error.
            self._error = error
        for event in events:
            self._drop(event)

    def _drop(self, event: Event) -> None:
        with self._lock:
            self._lost_bytes.append(_rough_byte_count(event))

    def _raise_error(self) -> None:
        if self._error is not None:
            raise LakeError(
                "collected events could not be made durable",
                got=f"{self.lost_count} lost; {self._error}",
                cure="Earlier durable events are safe. Repair the store and collect with another writer.",
            ) from self._error


def _rough_byte_count(event: Event) -> int:
    """Close enough for the ledger's length buckets, and faster than naming the event."""
    values = event.__dict__.values()
    return sum(4 * len(value) if isinstance(value, list) else len(str(value)) for value in values)
