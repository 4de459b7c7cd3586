"""An address with the way to reach it, and what may be told when it cannot be reached.

**Credentials come from the environment alone**: an address, a `Location` and a message hold none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from tracelake.schemas.errors import StoreUnavailableError

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


def was_reset(error: Exception) -> bool:
    """Whether a connection was reset under a request that may have been done: the library does not send it
    again, and tells of no retries."""
    text = str(error)
    return "HTTP error:" in text and " retries, " not in text


def raise_if_unavailable(location: str, error: Exception) -> None:
    """Raises StoreUnavailableError for a request that failed, as the library's text tells; a server may have
    quoted keys in it."""
    text = str(error)
    if "error performing" in text.lower() and "not found" not in text.lower():
        raise StoreUnavailableError(
            f"the store did not answer for {location}",
            got=told_by(error),
            expected="an answer",
            cure="Look at AWS_ENDPOINT_URL, AWS_REGION and the keys, then try again.",
        ) from None
