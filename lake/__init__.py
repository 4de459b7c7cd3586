"""The store: landing, projection, pins, scans, audit. The only writer of Parquet and Lance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracelake.lake.lake import Lake

if __name__ != "tracelake.lake":
    raise ImportError("import it as `tracelake.lake`: one module has one name")

__all__ = ["Lake"]


def __getattr__(name: str) -> Any:
    # Loaded when it is asked for: a process that seals for a writer needs a small part of the store.
    if name == "Lake":
        from tracelake.lake.lake import Lake

        return Lake
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
