"""Whether a failed attempt is repeated, and after which wait.

**The endpoint's own wait is respected**, up to `wait_max_s`; without one the wait doubles.
**Attempts that may have been billed are repeated less often** than those that certainly were not.
**Waits are jittered**, so that callers who failed together do not come back together.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from tracelake.producers.calling.outcome import Answered, CallOutcome

_JITTER = 0.25
# An endpoint's own wait already separates callers, and it is the whole wait at the end of a run.
_JITTER_OF_RETRY_AFTER = 0.05
# Back off even when `Retry-After` is 0.
_LEAST_PART = 0.1


class RetryPolicy(NamedTuple):
    """Bounds of the attempts at one sample."""

    attempt_max: int = 6
    paid_attempt_max: int = 2
    """Attempts that may each have been billed."""
    wait_first_s: float = 1.0
    wait_max_s: float = 120.0
    seed: int = 0


class Retries:
    """The attempts at one sample so far."""

    def __init__(self, policy: RetryPolicy, key: str) -> None:
        """`key` and the policy's seed make the jitter of this sample repeatable."""
        self._policy, self._key = policy, key
        self._attempt_count = self._paid_count = 0

    def wait_s_after(self, outcome: CallOutcome) -> float | None:
        """Seconds until the next attempt; null if the outcome is final.

        Never less than the endpoint asked for, within the policy's bound.
        """
        policy = self._policy
        self._attempt_count += 1
        if isinstance(outcome, Answered):
            return None
        reaction = outcome.reaction
        self._paid_count += reaction.billed != "no"
        is_spent = self._attempt_count >= policy.attempt_max or self._paid_count >= policy.paid_attempt_max
        if not reaction.retry or is_spent:
            return None
        doubled_s = policy.wait_first_s * 2.0 ** min(self._attempt_count - 1, 60)
        wait_s, jitter = doubled_s, _JITTER
        if reaction.wait_s is not None:
            wait_s, jitter = max(reaction.wait_s, _LEAST_PART * doubled_s), _JITTER_OF_RETRY_AFTER
        draw = random.Random(f"{policy.seed}:{self._key}:{self._attempt_count}").random()
        return min(wait_s, policy.wait_max_s) * (1 + jitter * draw)
