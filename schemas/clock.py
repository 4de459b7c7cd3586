"""The clock for durations in events.

**A still clock makes runs repeatable to the digest**: durations are part of payloads, and no two runs take
equally long. With `TRACELAKE_CLOCK=still` every duration is 0.
"""

from __future__ import annotations

import os
import time

CLOCK_VARIABLE = "TRACELAKE_CLOCK"
STILL = "still"


def is_still() -> bool:
    return os.environ.get(CLOCK_VARIABLE) == STILL


def now_s() -> float:
    """Seconds of a monotonic clock; only differences have a meaning."""
    return 0.0 if is_still() else time.perf_counter()


def since_ms(start_s: float) -> float:
    """Milliseconds since `start_s`, a time of this clock."""
    return (now_s() - start_s) * 1000
