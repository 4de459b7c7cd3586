"""Failed requests to a store, as Lance and obstore report them: both use the `object_store` library, and its
error texts are matched here alone.

**No message contains credentials**: a server may quote keys in its answer.
"""

from __future__ import annotations

import os

from tracelake.schemas.errors import StoreUnavailableError

SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
SECRET_LENGTH_MIN = 4


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
