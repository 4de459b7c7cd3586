"""How long a store that does not answer is asked again.

**Time ends patience, not a count**: what fails for longer is told.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping

from tracelake.schemas.errors import BadInputError

RETRY_TIMEOUT_VARIABLE = "TRACELAKE_STORE_RETRY_S"
PATIENCE_S = 30.0
PAUSE_S = 0.05
PAUSE_S_MAX = 2.0


def patience(environment: Mapping[str, str]) -> float:
    """Seconds after which a request is not tried again."""
    try:
        return max(float(environment.get(RETRY_TIMEOUT_VARIABLE) or PATIENCE_S), 0.0)
    except ValueError as error:
        got = environment[RETRY_TIMEOUT_VARIABLE]
        raise BadInputError(f"{RETRY_TIMEOUT_VARIABLE} is no time", got=got, expected="seconds") from error


def tries(patience_s: float) -> Iterator[None]:
    """Again and again, with growing pauses, until patience ends; once at least."""
    end, pause = time.monotonic() + patience_s, PAUSE_S
    yield
    while time.monotonic() + pause < end:
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, PAUSE_S_MAX)
        yield
