"""Canonical JSON (RFC 8785), and hashes over it.

**Equal values have equal bytes.** Keys in UTF-16 order, numbers as ECMAScript prints them, no white space.
**No digit is lost.** An integer beyond 2^53 keeps all digits, where RFC 8785 would round it: tool arguments
contain such ids.
**Only valid JSON passes.** NaN, infinities and lone surrogates raise `EventInvalidError`.
"""

from __future__ import annotations

import hashlib
from typing import Any, cast

import orjson
import rfc8785

from tracelake.schemas.errors import EventInvalidError

INT_64_MAX = 2**63 - 1
# Below this code point UTF-8 order and UTF-16 order agree.
UTF16_ORDER_SAFE_BELOW = "\ud800"


def canonical_json(value: object) -> bytes:
    """RFC 8785 bytes of a JSON value. Raises EventInvalidError for a value that JSON cannot represent."""
    try:
        plain = _is_plain(value)
        return orjson.dumps(value if plain else _prepared(value), option=orjson.OPT_SORT_KEYS if plain else 0)
    except (TypeError, ValueError, RecursionError) as error:
        raise EventInvalidError(
            "a value has no canonical JSON form",
            got=f"{type(value).__name__}: {error}",
            expected="JSON: finite numbers, well-formed text, text keys",
            cure="Refuse the record, or repair it in its importer.",
        ) from error


def canonical_text(value: object) -> str:
    """`canonical_json` as text. Nested payloads are stored in this form."""
    return canonical_json(value).decode()


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def hash_of(value: object) -> str:
    """SHA-256 over the canonical JSON of a value."""
    return sha256_hex(canonical_json(value))


def number_text(number: float) -> bytes:
    """A finite float as ECMAScript prints it. Raises ValueError otherwise."""
    # Between these bounds Python and ECMAScript print the same shortest text, without an exponent.
    if 1e-4 <= abs(number) < 1e15 and number != int(number):
        return repr(number).encode()
    # Python switches to exponents two digits before ECMAScript does. Costs of calls are often in this range.
    if 1e-6 <= number < 1e-4:
        digits, _, exponent = repr(number).partition("e-")
        return f"0.{'0' * (int(exponent) - 1)}{digits.replace('.', '')}".encode()
    return rfc8785.dumps(number)


def number_json(number: float) -> float | orjson.Fragment:
    """A value that orjson prints as `number_text`. Raises ValueError for a number that is not finite."""
    # Between these bounds orjson prints the same text, and a fragment costs more. Most prices lie here.
    if 1e-4 <= number < 1e15 and number != int(number):
        return number
    return orjson.Fragment(number_text(number))


def _is_plain(value: object) -> bool:
    """True if orjson, with its keys sorted as UTF-8, already prints the canonical form."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return abs(cast(int, value)) <= INT_64_MAX
    # Text needs no recursive call: this function runs over every message and every tool argument.
    if kind is list or kind is tuple:
        return all(type(item) is str or _is_plain(item) for item in cast("list[Any]", value))
    if kind is dict:
        for key, item in cast("dict[Any, Any]", value).items():
            if type(key) is not str or not (key.isascii() or max(key) < UTF16_ORDER_SAFE_BELOW):
                return False
            if type(item) is not str and not _is_plain(item):
                return False
        return True
    return False


def _prepared(value: Any) -> Any:
    """The value with numbers as canonical text and keys in UTF-16 order."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return orjson.Fragment(str(value).encode())
    if isinstance(value, float):
        return number_json(value)
    if isinstance(value, (list, tuple)):
        return [_prepared(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        mapping = cast("dict[Any, Any]", value)
        if not all(isinstance(key, str) for key in mapping):
            raise TypeError("a key that is not text")
        ordered = sorted(mapping, key=lambda key: key.encode("utf-16-be"))
        return {key: _prepared(mapping[key]) for key in ordered}
    raise TypeError(f"{type(value).__name__} is not JSON")
