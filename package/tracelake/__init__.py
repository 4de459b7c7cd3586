"""tracelake: the lake behind agentic LLM post-training.

Flow: `producers` turn the world into events → `lake` stores them (`schemas` says what they are) → `assets`
derive tables and verdicts → `consumers` train and evaluate on pins. `cli` is the command line over all of it.

**This folder links to the six folders of the project's top**: installed they are `tracelake.lake`,
`tracelake.schemas` and so on, and no other name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracelake.lake.lake import Lake
    from tracelake.producers import recording as record

__all__ = ["Lake", "record"]


def __getattr__(name: str) -> Any:
    # Lazy: importing one module of the package does not load the store.
    if name == "Lake":
        from tracelake.lake.lake import Lake

        return Lake
    if name == "record":
        from tracelake.producers import recording

        return recording
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
