"""Text that leaves the process without a lake: addresses, paths, labels of ids, refusals, messages.

**Redact first, then cut**: half a key matches no pattern, so `redacted_excerpt` redacts more than it shows.
**Tokens have no digest here** (`⟦secret:TYPE⟧`): without a lake's key a digest would confirm a guess.
**Deterministic**: the same text gives the same text, in any process with the same secrets in its environment.
"""

from __future__ import annotations

import os
import re
from functools import cache

from tracelake.lake.secrets.redaction import Redactor

CUT_MARGIN = 4096
"""So many characters behind the end of an excerpt are searched too; keys of many lines need no end."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_CHAINED = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_AUTHORITY_END = re.compile(r"[/?#]")
_HOST_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::\d*)?")
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_USER_AT_HOST = re.compile(r"[^/\\\s:@]+:[^/\\\s]*@(?=[\w\[])")


def redact_text(text: str) -> str:
    """The text without its secrets; the same object if it has none."""
    return _redactor().redact_text(text).text


def redacted_excerpt(text: str, length: int) -> str:
    """The beginning of the redacted text, at most `length` characters."""
    return redact_text(text[: length + CUT_MARGIN])[:length]


def public_uri(address: str) -> str:
    """An address or path to store and to show: redacted, without user, password, query and fragment."""
    return redact_text(without_credentials(address))


def without_credentials(address: str) -> str:
    """An address without user, password, query and fragment; not redacted yet."""
    return "::".join(_without_credentials(part) for part in _CHAINED.split(address))


def _without_credentials(address: str) -> str:
    scheme = _SCHEME.match(address)
    if scheme is None:
        return address if _WINDOWS_PATH.match(address) else _USER_AT_HOST.sub("", address, count=1)
    rest = address[scheme.end() :]
    end = _AUTHORITY_END.search(rest)
    authority = rest[: end.start()] if end else rest
    if "@" in authority:
        rest = rest[authority.rindex("@") + 1 :]
    elif "@" in rest and not _HOST_PORT.fullmatch(authority):
        # A password that contains `/`, `?` or `#` as it is.
        rest = rest[rest.rindex("@") + 1 :]
    return scheme[0] + re.split(r"[?#]", rest, maxsplit=1)[0]


@cache
def _redactor() -> Redactor:
    return Redactor.from_environment(None, os.environ)
