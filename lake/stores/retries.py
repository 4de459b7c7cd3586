"""Retries of requests to a store that does not answer.

**Time limits the retries, not their count.** An error that lasts longer is raised.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping

from tracelake.schemas.errors import BadInputError

RETRY_TIMEOUT_VARIABLE = "TRACELAKE_STORE_RETRY_S"
RETRY_TIMEOUT_S = 30.0
PAUSE_S = 0.05
PAUSE_S_MAX = 2.0


def retry_timeout_s(environment: Mapping[str, str]) -> float:
    """Seconds after which a failed request is not tried again. Raises BadInputError."""
    try:
        return max(float(environment.get(RETRY_TIMEOUT_VARIABLE) or RETRY_TIMEOUT_S), 0.0)
    except ValueError as error:
        got = environment[RETRY_TIMEOUT_VARIABLE]
        raise BadInputError(
            f"{RETRY_TIMEOUT_VARIABLE} is not a number", got=got, expected="seconds"
        ) from error


def tries(timeout_s: float) -> Iterator[None]:
    """Yield once per try, with growing pauses, until the timeout; at least once."""
    end, pause = time.monotonic() + timeout_s, PAUSE_S
    yield
    while time.monotonic() + pause < end:
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, PAUSE_S_MAX)
        yield
