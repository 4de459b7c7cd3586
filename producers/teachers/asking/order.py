"""In which order one teacher is asked: along each trace, so that a provider can cache what its turns share.

**A turn is due when the turn before it has begun to be answered**: from then on its prompt is in the
provider's cache.
**`prefer` lets no free slot wait**: where no turn is due, the next of the earliest trace goes out anyway.
`strict` waits: slower with few traces, and cheaper where cached tokens are.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Sequence

from tracelake.producers.teachers.asking.jobs import Job
from tracelake.producers.teachers.spec.cache_order import CacheOrder


class TurnOrder:
    """The jobs of one teacher; for one event loop."""

    def __init__(self, jobs: Sequence[Job], cache_order: CacheOrder) -> None:
        """`jobs` in the order of traces and turns."""
        self._strict = cache_order is CacheOrder.STRICT
        self._traces: dict[str, deque[Job]] = {}
        for job in jobs:
            self._traces.setdefault(job.question.rollout_id, deque()).append(job)
        self._place = {rollout_id: place for place, rollout_id in enumerate(self._traces)}
        self._due = [(place, rollout_id) for rollout_id, place in self._place.items()]
        self._latest: dict[str, Job] = {}
        """Of each trace, the job that its next one waits for."""
        self._left = len(jobs)
        self._changed = asyncio.Event()
        self._stopped = False

    @property
    def left_count(self) -> int:
        return self._left

    def left(self) -> list[Job]:
        return [job for trace in self._traces.values() for job in trace]

    async def next(self) -> Job | None:
        """The job to ask now; null when there is none left, or no more are to be asked."""
        while self._left and not self._stopped:
            if self._due:
                return self._taken(heapq.heappop(self._due)[1])
            if not self._strict:
                waiting = [rollout_id for rollout_id, trace in self._traces.items() if trace]
                return self._taken(min(waiting, key=self._place.__getitem__))
            self._changed.clear()
            await self._changed.wait()
        return None

    def begun(self, job: Job) -> None:
        """The job's answer has begun, or will never."""
        rollout_id = job.question.rollout_id
        if self._latest.get(rollout_id) is job:
            del self._latest[rollout_id]
            if self._traces[rollout_id]:
                heapq.heappush(self._due, (self._place[rollout_id], rollout_id))
                self._changed.set()

    def stop(self) -> None:
        """No more are given; what is left stays left."""
        self._stopped = True
        self._changed.set()

    def _taken(self, rollout_id: str) -> Job:
        job = self._traces[rollout_id].popleft()
        self._left -= 1
        self._latest[rollout_id] = job
        if not self._left:
            self._changed.set()
        return job
