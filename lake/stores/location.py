"""Addresses for Lance, and error messages about stores without credentials.

**Credentials come from the environment alone**: no address, `Location` or message contains one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from tracelake.schemas.errors import StoreUnavailableError

SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
SECRET_LENGTH_MIN = 4


class Location(str):
    """The address by which Lance opens a path. A string, so that a local one is an ordinary path."""

    options: Mapping[str, str]
    """Lance's connection options: endpoint, region, retries; empty for a local store."""

    def __new__(cls, uri: str, options: Mapping[str, str] | None = None) -> Location:
        location = super().__new__(cls, uri)
        location.options = dict(options or {})
        return location


def error_reason(error: Exception) -> str:
    """The reason in a library's message about a failed request, without the values of credentials."""
    # The text before the reason is the address, the text behind it a place in the library's source.
    text = str(error).partition("\n")[0].rpartition(" - ")[2].partition(", /")[0]
    for name in SECRET_VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= SECRET_LENGTH_MIN:
            text = text.replace(value, f"<{name}>")
    return text


def was_reset(error: Exception) -> bool:
    """Whether the connection was reset during a request that may have been done. The library does not resend
    such a request, so its message mentions no retries."""
    text = str(error)
    return "HTTP error:" in text and " retries, " not in text


def raise_if_unavailable(location: str, error: Exception) -> None:
    """Raise StoreUnavailableError if the library's message says that a request failed. The message itself is
    not quoted: a server may have put keys into it."""
    text = str(error)
    if "error performing" in text.lower() and "not found" not in text.lower():
        raise StoreUnavailableError(
            f"the store did not answer for {location}",
            got=error_reason(error),
            expected="an answer",
            cure="Look at AWS_ENDPOINT_URL, AWS_REGION and the keys, then try again.",
        ) from None
