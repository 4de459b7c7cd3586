"""Lands files beside the caller, in order.

**Each after the one before**: whatever is cut off, what has landed of an epoch is its beginning. A number
that is missing before another was acknowledged, and lost.
**The first error ends it**: nothing lands after what did not, and `wait` raises what went wrong.
**A segment waits for the sealing process to be up**, unless somebody waits for the segment: a thread that
seals beside an appender takes more of the machine than the process does, and the interpreter's lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TypeVar

from tracelake.lake.landed.writing import LandedFile, land
from tracelake.lake.stores.store import ObjectStore, is_local
from tracelake.lake.writing.spool.sealing_process import SealingProcess
from tracelake.lake.writing.spool.sealing import seal_segment
from tracelake.lake.writing.spool.spool import ClosedSegment
from tracelake.schemas.events.columns import arrow_schema

PROCESS_FROM_BYTES = 4 * 2**20
_Given = TypeVar("_Given")


class Lander:
    """For one writer; several threads may wait, one submits."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        # Two: one file is compressed while the one before is synced.
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="land")
        self._pending: deque[Future[None]] = deque()
        self._last: Future[None] | None = None
        self._process: SealingProcess | None = None
        self._is_waited_for = threading.Event()

    def make_ready(self, spooled_byte_count: int) -> None:
        """A segment of so many bytes is on its way."""
        if self._process is None and spooled_byte_count >= PROCESS_FROM_BYTES and is_local(self._store):
            self._process = SealingProcess(self._store.uri)

    def submit(self, make: Callable[[], LandedFile]) -> None:
        """Land what `make` gives."""
        self._start(self._land, make)

    def submit_segment(self, segment: ClosedSegment) -> None:
        """Seal it."""
        self._start(self._seal, segment)

    def wait(self, pending_max: int = 0) -> None:
        """Until at most so many are left. Raises what landing raised."""
        try:
            while len(self._pending) > pending_max:
                self._is_waited_for.set()
                self._pending[0].result()
                self._pending.popleft()
        finally:
            self._is_waited_for.clear()

    def stop(self) -> None:
        self._is_waited_for.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._process is not None:
            self._process.stop()

    def _start(self, work: Callable[[_Given, Future[None] | None], None], given: _Given) -> None:
        self._last = self._threads.submit(work, given, self._last)
        self._pending.append(self._last)

    def _land(self, make: Callable[[], LandedFile], before: Future[None] | None) -> None:
        file = make()
        _check(before)
        land(self._store, file)

    def _seal(self, segment: ClosedSegment, before: Future[None] | None) -> None:
        _check(before)
        if self._process is not None and self._process.is_ready_before(self._is_waited_for):
            self._process.seal(segment.path, segment.byte_count)
        else:
            seal_segment(self._store, segment.path, segment.byte_count, arrow_schema)


def _check(before: Future[None] | None) -> None:
    """Returns when what was to land before has landed. Raises CancelledError if it did not: `wait` meets its
    own error first."""
    if before is not None and before.exception() is not None:
        raise CancelledError
