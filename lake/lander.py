"""Lands files beside the caller, in order.

**Each file after the one before**: whatever is cut off, what has landed of an epoch is its beginning. A
number that is missing before another was acknowledged, and lost.
**The first error ends it**: nothing lands after a file that did not, and `wait` raises what went wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from lake.landing import LandedFile, land
from lake.store import ObjectStore


class Lander:
    """For one writer; several threads may wait, one submits."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        # Two: one file is compressed while the one before is synced.
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="land")
        self._pending: deque[Future[None]] = deque()
        self._last: Future[None] | None = None

    def submit(self, make: Callable[[], list[LandedFile]], landed: Callable[[], None] | None = None) -> None:
        """Land what `make` gives; `landed` is called once that is durable."""
        self._last = self._threads.submit(self._land, make, landed, self._last)
        self._pending.append(self._last)

    def wait(self, pending_max: int = 0) -> None:
        """Until at most so many are left. Raises what landing raised."""
        while len(self._pending) > pending_max:
            self._pending[0].result()
            self._pending.popleft()

    def stop(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _land(
        self,
        make: Callable[[], list[LandedFile]],
        landed: Callable[[], None] | None,
        before: Future[None] | None,
    ) -> None:
        files = make()
        if before is not None:
            before.result()
        for file in files:
            land(self._store, file)
        if landed is not None:
            landed()
