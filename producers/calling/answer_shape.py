"""The shapes that parts of an answer must have, and what is raised where they have not."""

from __future__ import annotations

from typing import Any, cast

import orjson

from tracelake.producers.calling.answer_json import mended

LABEL_LENGTH_MAX = 256
SHOWN_LENGTH_MAX = 1000


class AnswerShapeError(ValueError):
    """A part of an answer is not what the interface says; inside of this package only."""


class ToolCallError(AnswerShapeError):
    """A tool call that nobody could carry out."""


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
    """A foreign value for a reader: as JSON where it is some, cut, well-formed."""
    try:
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
    except TypeError:
        try:
            text = repr(value)
        except RecursionError:
            text = "nested too deep"
    return text[:SHOWN_LENGTH_MAX].encode("utf-8", "backslashreplace").decode()


def well_formed(text: str) -> str:
    """Raises AnswerShapeError for text that no UTF-8 can say."""
    try:
        return mended(text)
    except UnicodeError as error:
        raise AnswerShapeError("half of a surrogate pair") from error
