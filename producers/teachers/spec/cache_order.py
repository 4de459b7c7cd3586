"""How strictly the turns of a trace follow each other."""

from __future__ import annotations

from enum import StrEnum


class CacheOrder(StrEnum):
    """`PREFER` never lets a free slot wait; `STRICT` waits until the turn before has begun to be answered."""

    PREFER = "prefer"
    STRICT = "strict"
