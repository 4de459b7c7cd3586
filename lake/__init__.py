"""The store: landing, projection, pins, scans, audit. The only writer of Parquet and Lance."""

from lake.lake import Lake

__all__ = ["Lake"]
