"""Whether a model name can point to another model later, and where an endpoint is.

**Only the text of a name is read**: no endpoint is contacted.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import date
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

# Variants that choose a provider, or add web search, per call.
FLOATING_VARIANTS = ("online", "nitro", "floor", "exacto", "latest")
_LATEST = re.compile(r"(?:^|[-/:@_.])(latest|current|newest)(?:$|[-:@])")
_DIGITS = re.compile(r"(?:^|(?<=[-@:/_]))(\d{4}|\d{6}|\d{8})(?=$|[-:@])")
_DASHED = re.compile(r"(?<!\d)(20\d\d)-(\d\d)-(\d\d)(?!\d)")
_MONTH_AND_YEAR = re.compile(r"(?<![\d])(0[1-9]|1[0-2])-20\d\d(?!\d)")
_MONTH_AND_DAY = re.compile(r"(?<=-)(\d\d)-(\d\d)$")
# Four digits that are not a month and day may be a year and month, if language models existed that year.
_YEARS = range(22, 40)


class Endpoint(NamedTuple):
    host: str
    is_plain: bool
    """Traffic is not encrypted."""
    is_local: bool
    """The host is this machine."""
    is_private: bool
    """The host is this machine or in a private network."""


def endpoint_of(base_url: str) -> Endpoint:
    """Raises ValueError for anything else than an endpoint; its message never quotes a possible password."""
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("base_url is not a URL") from error
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError("base_url must be http(s)://host[:port][/path]")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("base_url must not contain a user, password, query or fragment")
    if any(letter.isspace() or not letter.isprintable() for letter in base_url):
        raise ValueError("base_url contains white space or control characters")
    is_local, is_private = _reach(host)
    return Endpoint(host, parts.scheme == "http", is_local, is_private)


@cache
def without_local_port(base_url: str) -> str:
    """The URL, without the port if the host is this machine: local ports are usually random."""
    parts = urlsplit(base_url)
    if not endpoint_of(base_url).is_local or parts.port is None:
        return base_url
    return parts._replace(netloc=parts.netloc.rpartition(":")[0]).geturl()


def floating_reason(model: str) -> str | None:
    """Why this name can point to another model later; None if nothing in it says so."""
    name = model.lower()
    if name.startswith("~"):
        return "`~` marks an alias"
    if name.startswith("openrouter/"):
        return "the router chooses the model"
    if "@preset" in name:
        return "a preset can be edited"
    latest = _LATEST.search(name)
    if latest:
        return f"`{latest[1]}`"
    variant = name.rpartition(":")[2] if ":" in name else ""
    return f"`:{variant}`" if variant in FLOATING_VARIANTS else None


def is_dated(model: str) -> bool:
    """Whether the name contains a date: a day, a month and day, or a year and month."""
    dashed = any(_is_day(*map(int, found)) for found in _DASHED.findall(model))
    month_and_day = any(_is_day(2000, *map(int, found)) for found in _MONTH_AND_DAY.findall(model))
    digits = any(_is_date(text) for text in _DIGITS.findall(model))
    return dashed or month_and_day or digits or _MONTH_AND_YEAR.search(model) is not None


def _is_date(digits: str) -> bool:
    first, second = int(digits[:2]), int(digits[2:4])
    if len(digits) == 8:
        return _is_day(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    if len(digits) == 6:
        return first in _YEARS and _is_day(2000 + first, second, int(digits[4:]))
    return _is_day(2000, first, second) or (first in _YEARS and 1 <= second <= 12)


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return 2000 <= year < 2100


def _reach(host: str) -> tuple[bool, bool]:
    """(is this machine, is this machine or in a private network)"""
    if host == "localhost" or host.endswith(".localhost"):
        return True, True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False, False
    return address.is_loopback, address.is_loopback or address.is_private
