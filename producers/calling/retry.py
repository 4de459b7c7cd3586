"""Asking again: which failures, how often, after what wait.

**The endpoint's own wait is kept to**, up to `wait_max_s`; without one the wait doubles. Nobody waits in a
slot.
**What may have been paid is asked again less often** than what surely was not.
**Waits are jittered**, so that callers who failed together do not come back together.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tracelake.producers.calling.concurrency import AdaptiveLimit, Clock, LoopClock
from tracelake.producers.calling.failures import Reaction
from tracelake.producers.calling.outcome import Answered, Outcome

_JITTER = 0.25
# An endpoint's own wait keeps callers apart already, and is the whole of it at the end of a run.
_JITTER_OF_TOLD = 0.05
# An endpoint that asks for no wait at all is not asked at full speed.
_LEAST_PART = 0.1


class RetryPolicy(NamedTuple):
    """Bounds of the attempts at one sample."""

    attempt_max: int = 6
    paid_attempt_max: int = 2
    """Attempts that may each have been charged."""
    wait_first_s: float = 1.0
    wait_max_s: float = 120.0
    seed: int = 0


DEFAULT_POLICY = RetryPolicy()


async def answered(
    attempt: Callable[[int], Awaitable[Outcome]],
    limit: AdaptiveLimit,
    policy: RetryPolicy = DEFAULT_POLICY,
    clock: Clock | None = None,
    *,
    key: str | None = None,
    ready: Callable[[], Awaitable[None]] | None = None,
    kept: Callable[[], Awaitable[None]] | None = None,
) -> Outcome:
    """The outcome of attempt 0, 1, … until one is final; each holds a slot of the limit while it runs.

    `ready` is awaited before each of them, when a slot is near; `kept` after each, when its slot is free:
    storing is no work of the endpoint. `key` and the policy's seed make the jitter of this sample repeatable.
    Raises what the functions raise.
    """
    dice: random.Random | None = None
    paid_count = index = 0
    while True:
        outcome = await _attempted(attempt, limit, index, ready)
        if kept is not None:
            await kept()
        index += 1
        if isinstance(outcome, Answered):
            return outcome
        reaction = outcome.reaction
        paid_count += reaction.billed != "no"
        if not reaction.retry or index >= policy.attempt_max or paid_count >= policy.paid_attempt_max:
            return outcome
        # Made only where it is needed: seeding takes longer than most of what else is done for a call.
        dice = dice or random.Random(None if key is None else f"{policy.seed}:{key}")
        await (clock or LoopClock()).sleep(_wait_s(reaction, index, policy, dice))


async def _attempted(
    attempt: Callable[[int], Awaitable[Outcome]],
    limit: AdaptiveLimit,
    index: int,
    ready: Callable[[], Awaitable[None]] | None,
) -> Outcome:
    async with limit.place():
        if ready is not None:
            await ready()
        async with limit.slot() as slot:
            outcome = await attempt(index)
            if isinstance(outcome, Answered):
                slot.succeeded()
            elif outcome.reaction.shrink:
                slot.rate_limited()
            return outcome


def _wait_s(reaction: Reaction, attempt_count: int, policy: RetryPolicy, dice: random.Random) -> float:
    """Never less than what was asked for, but for its bound; never more than the bound and its jitter."""
    doubled_s = policy.wait_first_s * 2.0 ** min(attempt_count - 1, 60)
    wanted_s = doubled_s if reaction.wait_s is None else max(reaction.wait_s, _LEAST_PART * doubled_s)
    jitter = _JITTER if reaction.wait_s is None else _JITTER_OF_TOLD
    return min(wanted_s, policy.wait_max_s) * (1 + jitter * dice.random())
