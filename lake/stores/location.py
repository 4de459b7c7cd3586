"""An address with the way to reach it, and what may be told when it cannot be reached.

**Credentials come from the environment alone**: an address, a `Location` and a message hold none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
SECRET_LENGTH_MIN = 4


class Location(str):
    """The address under which Lance opens a path; text, so that a local one is a path like any other."""

    options: Mapping[str, str]
    """How Lance reaches the store: endpoint, region, patience; empty for a local one."""

    def __new__(cls, uri: str, options: Mapping[str, str] | None = None) -> Location:
        location = super().__new__(cls, uri)
        location.options = dict(options or {})
        return location


def told_by(error: Exception) -> str:
    """The reason that a library gives for a failed request, without the values of credentials."""
    # What comes before is the address, what follows a place in the library's own source.
    text = str(error).partition("\n")[0].rpartition(" - ")[2].partition(", /")[0]
    for name in SECRET_VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= SECRET_LENGTH_MIN:
            text = text.replace(value, f"<{name}>")
    return text
