"""Lands files in background threads, in the order in which they were submitted.

**One after the other**: whatever interrupts the writer, the landed files of an epoch are its beginning. A
missing number would mean that an acknowledged event was lost.
**The first error is final**: nothing lands after a file that did not, and `wait` raises the error.
**A segment waits until the sealing process is up**, unless somebody waits for the segment: a thread that
seals while another appends takes more processor time than the process does, and the interpreter's lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial

from tracelake.lake.landed.writing import LandedFile, land
from tracelake.lake.stores.store import ObjectStore, is_local
from tracelake.lake.writing.spool.sealing import seal_segment
from tracelake.lake.writing.spool.sealing_process import SealingProcess
from tracelake.lake.writing.spool.spool import ClosedSegment
from tracelake.schemas.events.columns import arrow_schema

PROCESS_FROM_BYTES = 4 * 2**20
"""A writer that spools less seals in a thread: starting a process costs more."""


class Lander:
    """For one writer; one thread submits, several may wait."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        # Two threads: one compresses a file while the other syncs the file before it.
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="land")
        self._pending: deque[Future[None]] = deque()
        self._last: Future[None] | None = None
        self._process: SealingProcess | None = None
        self._is_waited_for = threading.Event()

    def start_process_if_due(self, spooled_byte_count: int) -> None:
        """Start the sealing process once the open segment is large enough."""
        if self._process is None and spooled_byte_count >= PROCESS_FROM_BYTES and is_local(self._store):
            self._process = SealingProcess(self._store.uri)

    def submit(self, make_file: Callable[[], LandedFile]) -> None:
        """Land the file that `make_file` returns."""
        self._start(partial(self._land, make_file))

    def submit_segment(self, segment: ClosedSegment) -> None:
        """Seal a segment."""
        self._start(partial(self._seal, segment))

    def wait(self, pending_max: int = 0) -> None:
        """Returns when at most so many submissions are pending. Raises what landing raised."""
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

    def _start(self, work: Callable[[Future[None] | None], None]) -> None:
        self._last = self._threads.submit(work, self._last)
        self._pending.append(self._last)

    def _land(self, make_file: Callable[[], LandedFile], before: Future[None] | None) -> None:
        file = make_file()
        _require_landed(before)
        land(self._store, file)

    def _seal(self, segment: ClosedSegment, before: Future[None] | None) -> None:
        _require_landed(before)
        if self._process is not None and self._process.is_ready_before(self._is_waited_for):
            self._process.seal(segment.path, segment.byte_count)
        else:
            seal_segment(self._store, segment.path, segment.byte_count, arrow_schema)


def _require_landed(before: Future[None] | None) -> None:
    """Wait for the submission before this one. Raises CancelledError if it failed; `wait` meets the error of
    the failed one first."""
    if before is not None and before.exception() is not None:
        raise CancelledError
