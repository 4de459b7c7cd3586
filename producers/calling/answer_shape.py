"""JSON from an untrusted endpoint, and the shapes that its parts must have.

**A number outside JSON, and a repeated key, stay visible**: NaN, infinities and 1e309 become their text, a
repeated key becomes the list of its values. Parsers differ on both, and money must not depend on the parser.
**The fast parser reads what carries no money**: only texts with a usage go through the careful one.
"""

from __future__ import annotations

import json
import math
from typing import Any, cast

import orjson

LABEL_LENGTH_MAX = 256
SHOWN_LENGTH_MAX = 1000
_USAGE = b'"usage"'
_NULL_USAGES = (b'"usage":null', b'"usage": null')


class AnswerShapeError(ValueError):
    """A part of an answer does not have the shape of the interface."""


class ToolCallError(AnswerShapeError):
    """A tool call that cannot be executed."""


def decoded(text: bytes) -> Any:
    """The JSON value. Raises AnswerShapeError for text that is no JSON, no UTF-8, or nested too deep."""
    has_usage = _USAGE in text and not any(null in text for null in _NULL_USAGES)
    if not has_usage:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
    try:
        return _decode(text.decode())
    except RecursionError as error:
        raise AnswerShapeError("nested too deep") from error
    except ValueError as error:
        raise AnswerShapeError(str(error)) from error


def label(value: Any) -> str | None:
    """A short text, cut; null for anything else."""
    if not isinstance(value, str) or not value:
        return None
    return value[:LABEL_LENGTH_MAX].encode("utf-8", "replace").decode()


def text_in(value: Any) -> str:
    """Raises AnswerShapeError."""
    if not isinstance(value, str):
        raise AnswerShapeError(f"text is expected, not {type(value).__name__}")
    return value


def list_in(value: Any) -> list[Any]:
    """Raises AnswerShapeError."""
    if not isinstance(value, list):
        raise AnswerShapeError(f"a list is expected, not {type(value).__name__}")
    return cast("list[Any]", value)


def fields_in(value: Any, what: str) -> dict[str, Any]:
    """Raises AnswerShapeError."""
    if not isinstance(value, dict):
        raise AnswerShapeError(f"{what} is no object")
    return cast("dict[str, Any]", value)


def shown(value: Any) -> str:
    """An untrusted value for people: as JSON if possible, cut, well-formed."""
    try:
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
    except TypeError:
        try:
            text = repr(value)
        except RecursionError:
            text = "nested too deep"
    return text[:SHOWN_LENGTH_MAX].encode("utf-8", "backslashreplace").decode()


def well_formed(text: str) -> str:
    """Joins surrogate pairs that chunks had cut. Raises AnswerShapeError for half of a pair."""
    try:
        return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeError as error:
        raise AnswerShapeError("half of a surrogate pair") from error


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    values: dict[str, list[Any]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    return {key: each[0] if len(each) == 1 else each for key, each in values.items()}


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


_decode = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=str, parse_float=_finite).decode
