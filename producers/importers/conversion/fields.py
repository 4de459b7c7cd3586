"""Reads single fields of foreign records. Each function returns the expected type or null, or raises
SourceFormatError, which names the field and the type.

**Nothing is coerced.** A number in quotes is not a number, and `true` is not 1: such a record is refused
rather than misread.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast

from tracelake.schemas.errors import SourceFormatError

INT_64 = 2**63
FLOAT_32_MAX = 3.4e38
CACHED_KEY_LENGTH = 64
SECONDS_MAX = 253402300799
"""The last second of the year 9999."""

_SECRET_KEY = re.compile(
    r"(api[_-]?key|secret|password|passwd|authorization|credential|private[_-]?key|access[_-]?token|auth[_-]?token"
    r"|bearer|cookie)|(^|_)(token|key)$",
    re.IGNORECASE,
)
_URL_USER = re.compile(r"(?<=://)[^/@\s]+@")


def text(value: object, where: str) -> str | None:
    if value is None or type(value) is str:
        return value
    raise _wrong(value, where, "text")


def label(value: object, where: str) -> str | None:
    """Text, or an integer as text: recorders write ids as either."""
    if type(value) is int:
        return str(value)
    return text(value, where)


def number(value: object, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, (float, int)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise _wrong(value, where, "a finite number")


def milliseconds(value: object, where: str) -> float | None:
    """Of a time in seconds."""
    time_s = number(value, where)
    return None if time_s is None else number(time_s * 1000, where)


def integer(value: object, where: str) -> int | None:
    if value is None or (type(value) is int and -INT_64 <= value < INT_64):
        return value
    raise _wrong(value, where, "a 64-bit integer")


def flag(value: object, where: str) -> bool | None:
    if value is None or type(value) is bool:
        return value
    raise _wrong(value, where, "true or false")


def mapping(value: object, where: str) -> dict[str, Any]:
    """Null is empty."""
    if value is None:
        return {}
    if type(value) is dict:
        return cast("dict[str, Any]", value)
    raise _wrong(value, where, "an object")


def sequence(value: object, where: str) -> list[Any]:
    """Null is empty."""
    if value is None:
        return []
    if type(value) is list:
        return cast("list[Any]", value)
    raise _wrong(value, where, "a list")


def moment(value: object, where: str) -> datetime | None:
    """Seconds since 1970 as a time in UTC; 0 counts as null."""
    if value is None:
        return None
    if type(value) is float and 0 < value <= SECONDS_MAX:
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, (float, int)) and not isinstance(value, bool) and 0 <= value <= SECONDS_MAX:
        return datetime.fromtimestamp(value, UTC) if value else None
    raise _wrong(value, where, "seconds since 1970")


def any_moment(value: object, where: str) -> datetime | None:
    """Seconds since 1970, or ISO 8601 text with a zone; text without a zone is refused, because it names no
    point in time."""
    if type(value) is not str:
        return moment(value, where)
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise _wrong(value, where, "a date and time of ISO 8601") from error
    if found.tzinfo is None:
        raise SourceFormatError(
            f"a time without a zone in {where}", expected="an offset or Z", cure="Its zone is unknown."
        )
    return found.astimezone(UTC)


def token_ids(value: object, where: str) -> list[int] | None:
    """Null for an empty list, which some recorders write when they have no token ids."""
    found = sequence(value, where)
    if all(type(item) is int and 0 <= item < 2**31 for item in found):
        return found or None
    raise _wrong(value, where, "a list of token ids")


def logprobs(value: object, where: str) -> list[float] | None:
    """Natural-log probabilities; null for an empty list, and if any of them is missing."""
    found = sequence(value, where)
    if not found or any(item is None for item in found):
        return None
    numbers = [cast("float", number(item, where)) for item in found]
    if max(map(abs, numbers)) > FLOAT_32_MAX:
        raise SourceFormatError(f"a number that is no log-probability in {where}", expected="32 bits")
    return numbers


def without_secrets(value: Any) -> Any:
    """A configuration without entries whose key names a secret, and without users in URLs. Numbers stay:
    limits such as `max_tokens` have such keys too."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: without_secrets(item) for key, item in items if not _is_secret(key, item)}
    if isinstance(value, list):
        return [without_secrets(item) for item in cast("list[Any]", value)]
    if isinstance(value, str) and "@" in value:
        return _URL_USER.sub("", value)
    return value


def _is_secret(key: str, value: object) -> bool:
    if not value or not isinstance(value, (str, list, dict)):
        return False
    # The keys of a format repeat in each of its records.
    return _names_secret(key) if len(key) <= CACHED_KEY_LENGTH else _SECRET_KEY.search(key) is not None


@lru_cache(maxsize=4096)
def _names_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def _wrong(value: object, where: str, expected: str) -> SourceFormatError:
    # The type and not the value: a value may be a secret, and a message is printed.
    return SourceFormatError(f"wrong type in {where}", got=_kind(value), expected=expected)


def _kind(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    names = {str: "text", dict: "an object", list: "a list", bool: "true or false", int: "an integer"}
    return names.get(type(value), type(value).__name__)
