"""JSON from an endpoint that nobody vouches for.

**A number that JSON cannot say, and a key told twice, are kept so that nobody can believe them**: NaN,
infinities and 1e309 as their text, the values of a repeated key as a list. Parsers differ on them, and money
must not hang on which one is used.
**The fast parser reads what holds no money**; only texts with a usage are read by the careful one.
"""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

_USAGE = b'"usage"'
_NULL_USAGES = (b'"usage":null', b'"usage": null')


def decoded(text: bytes) -> Any:
    """The value. Raises ValueError for what is no JSON, is nested too deep, or is no UTF-8."""
    if _holds_usage(text):
        return _carefully(text)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _carefully(text)


def mended(text: str) -> str:
    """Text whose surrogate pairs may have been cut by chunks. Raises ValueError if one stays alone."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16")


def _holds_usage(text: bytes) -> bool:
    return _USAGE in text and not any(null in text for null in _NULL_USAGES)


def _carefully(text: bytes) -> Any:
    try:
        return _decode(text.decode())
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    told: dict[str, list[Any]] = {}
    for key, value in pairs:
        told.setdefault(key, []).append(value)
    return {key: values[0] if len(values) == 1 else values for key, values in told.items()}


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


_decode = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=str, parse_float=_finite).decode
