"""So many at a time, first come, first served; for one event loop.

**A caller that is cancelled leaves no room taken.**
**The size may change at any time**: after it grew, `admit` lets in who waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Gate:
    """Whoever entered leaves, once."""

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.inside = 0

    async def enter(self) -> None:
        if self.inside < self._size():
            self.inside += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            elif turn in self._waiting:
                # Whoever left meanwhile may have passed over it already.
                self._waiting.remove(turn)
            raise

    def leave(self) -> None:
        self.inside -= 1
        self.admit()

    def admit(self) -> None:
        while self._waiting and self.inside < self._size():
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self.inside += 1
