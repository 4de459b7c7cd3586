"""The store: landing, projection, pins, scans, audits. The only writer of Parquet and Lance files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracelake.lake.lake import Lake

if __name__ != "tracelake.lake":
    raise ImportError("import it as `tracelake.lake`, so that each module has one name")

__all__ = ["Lake"]


def __getattr__(name: str) -> Any:
    # Imported on first use: the sealing process of a writer needs only a small part of this package.
    if name == "Lake":
        from tracelake.lake.lake import Lake

        return Lake
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
