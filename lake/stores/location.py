"""Addresses for Lance.

**Credentials come from the environment alone**: no address contains one.
"""

from __future__ import annotations

from collections.abc import Mapping


class Location(str):
    """The address by which Lance opens a path. A string, so that a local one is an ordinary path."""

    options: Mapping[str, str]
    """Lance's connection options: endpoint, region, retries; empty for a local store."""

    def __new__(cls, uri: str, options: Mapping[str, str] | None = None) -> Location:
        location = super().__new__(cls, uri)
        location.options = dict(options or {})
        return location
