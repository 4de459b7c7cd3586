"""The order in which one teacher is asked: along each trace, so that a provider can cache shared prefixes.

**A turn is due once the answer to the turn before it has started**: from then on the provider's cache has its
prefix.
**`prefer` never leaves a slot idle**: if no turn is due, the next turn of the earliest trace is sent anyway.
`strict` waits: slower with few traces, and cheaper where cached tokens are.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Sequence
from typing import Literal

from tracelake.producers.teachers.asking.jobs import Job

CacheOrder = Literal["prefer", "strict"]


class TurnOrder:
    """The jobs of one teacher; for one event loop."""

    def __init__(self, jobs: Sequence[Job], cache_order: CacheOrder) -> None:
        """`jobs` are ordered by trace and turn."""
        self._strict = cache_order == "strict"
        self._traces: dict[str, deque[Job]] = {}
        for job in jobs:
            self._traces.setdefault(job.question.rollout_id, deque()).append(job)
        self._rank = {rollout_id: rank for rank, rollout_id in enumerate(self._traces)}
        self._due = [(rank, rollout_id) for rollout_id, rank in self._rank.items()]
        self._latest: dict[str, Job] = {}
        """Per trace, the job that the next one waits for."""
        self._left = len(jobs)
        self._changed = asyncio.Event()
        self._stopped = False

    @property
    def left_count(self) -> int:
        return self._left

    def left(self) -> list[Job]:
        return [job for trace in self._traces.values() for job in trace]

    async def next(self) -> Job | None:
        """The job to ask now; None if none is left or the order was stopped."""
        while self._left and not self._stopped:
            if self._due:
                return self._take(heapq.heappop(self._due)[1])
            if not self._strict:
                waiting = [rollout_id for rollout_id, trace in self._traces.items() if trace]
                return self._take(min(waiting, key=self._rank.__getitem__))
            self._changed.clear()
            await self._changed.wait()
        return None

    def answer_started(self, job: Job) -> None:
        """Call it when the job's answer has started, or when it never will."""
        rollout_id = job.question.rollout_id
        if self._latest.get(rollout_id) is job:
            del self._latest[rollout_id]
            if self._traces[rollout_id]:
                heapq.heappush(self._due, (self._rank[rollout_id], rollout_id))
                self._changed.set()

    def stop(self) -> None:
        """Hand out no more jobs; the rest stays in `left()`."""
        self._stopped = True
        self._changed.set()

    def _take(self, rollout_id: str) -> Job:
        job = self._traces[rollout_id].popleft()
        self._left -= 1
        self._latest[rollout_id] = job
        if not self._left:
            self._changed.set()
        return job
