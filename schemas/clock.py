"""How long things took, as events tell it.

**A clock that stands still makes a run repeatable to the digest**: durations are part of facts, and no two
runs take equally long. With `TRACELAKE_CLOCK=still` all of them are told as 0.
"""

from __future__ import annotations

import os
import time

VARIABLE = "TRACELAKE_CLOCK"
STILL = "still"


def is_still() -> bool:
    return os.environ.get(VARIABLE) == STILL


def now_s() -> float:
    """Seconds of a clock that only goes forward; only differences mean anything."""
    return 0.0 if is_still() else time.perf_counter()


def since_ms(began_s: float) -> float:
    """Milliseconds since a moment of this clock."""
    return (now_s() - began_s) * 1000
