"""How long a call may take, how long it may be silent, and how much it may say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

# After the end of a stream, its connection is kept if it closes the answer this fast.
CLOSING_S = 0.25


@dataclass(slots=True)
class CallLimits:
    """Bounds of the calls of one teacher."""

    stream: bool = True
    """Whether to ask for a stream; `call` takes it back for an endpoint that refuses."""
    total_timeout_s: float = 120.0
    idle_timeout_s: float = 60.0
    """Between two pieces of an answer. The first may take all the time there is: models think."""
    connect_timeout_s: float = 10.0
    body_byte_max: int = 16 * 2**20
    """Decoded bytes of an answer."""


class Deadline:
    """Ends the call inside of it by TimeoutError: in all, when silent, or soon after its end was seen.

    One timer watches for silence, whatever the number of pieces.
    """

    def __init__(self, limits: CallLimits) -> None:
        self._idle_s = limits.idle_timeout_s
        self._timeout = asyncio.timeout(limits.total_timeout_s)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._heard_s = 0.0
        self.passed = f"no end after {limits.total_timeout_s:g} s"
        """What the call ran into, where it did."""

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def heard(self) -> None:
        """A piece of the answer has come."""
        self._heard_s = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._idle_s, self._check)

    def ended(self) -> None:
        """Nothing is awaited any more but that the connection be free."""
        self._bring_forward(self._loop.time() + CLOSING_S)

    def _check(self) -> None:
        silent_until_s = self._heard_s + self._idle_s
        if self._loop.time() >= silent_until_s:
            self.passed = f"silent for {self._idle_s:g} s"
            self._bring_forward(self._loop.time())
        else:
            self._timer = self._loop.call_at(silent_until_s, self._check)

    def _bring_forward(self, moment_s: float) -> None:
        due_s = self._timeout.when()
        if not self._timeout.expired() and (due_s is None or moment_s < due_s):
            self._timeout.reschedule(moment_s)
