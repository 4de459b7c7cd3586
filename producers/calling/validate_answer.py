"""Whether an answer is fit to learn from, and by the requested model; if not, its flaw."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from tracelake.producers.calling.answer_reader import AnswerReader
from tracelake.producers.calling.answer_shape import AnswerShapeError, ToolCallError, shown
from tracelake.producers.calling.failures import FailureClass, class_of_embedded

_DATE = re.compile(r"[-@](20\d\d-\d\d-\d\d|20\d{6}|\d{6}|\d\d-\d\d|\d{4})$")
_VARIANT = re.compile(r":(free|batch|nitro|floor|exacto|extended|beta)$")
_WORD = re.compile(r"[a-z0-9]+")


class Flaw(NamedTuple):
    """Why an answer cannot be used."""

    failure: FailureClass
    detail: str


def validate_answer(reader: AnswerReader, model_requested: str) -> dict[str, Any] | Flaw:
    """The assistant message of an answer that has come, or its flaw.

    Flaws of the exchange come before those of the message: an error, a missing end, another model.
    """
    parts = reader.parts
    if parts.error or parts.finish_reason == "error":
        failure = class_of_embedded(parts.error, in_stream=reader.is_stream, had_content=parts.has_content)
        return Flaw(failure, f"{shown(parts.error)} {parts.text_so_far()}")
    if reader.is_stream and not reader.is_whole:
        return Flaw(FailureClass.TRUNCATED_STREAM, f"no end; {parts.text_so_far()}")
    if not parts.has_choice:
        return Flaw(FailureClass.EMPTY_CHOICES, f"no choices; {reader.beginning()}")
    served = parts.model_served
    if served is not None and (parts.models_differ or not is_same_model(model_requested, served)):
        detail = f"served by {served}, asked {model_requested}; {parts.text_so_far()}"
        return Flaw(FailureClass.MODEL_MISMATCH, detail)
    if parts.finish_reason == "content_filter":
        return Flaw(FailureClass.MODERATION, f"cut by a filter; {parts.text_so_far()}")
    try:
        message = parts.message()
    except ToolCallError as error:
        return Flaw(FailureClass.MALFORMED_TOOL_CALL, f"{error}; {parts.text_so_far()}")
    except AnswerShapeError as error:
        return Flaw(FailureClass.MALFORMED_ANSWER, f"{error}; {parts.text_so_far()}")
    if message["content"] or message.get("tool_calls"):
        return message
    if message.get("refusal"):
        return Flaw(FailureClass.REFUSAL, str(message["refusal"]))
    ended = f"finish reason {parts.finish_reason}"
    return Flaw(FailureClass.EMPTY_CHOICES, f"an empty message, {ended}; {parts.text_so_far()}")


class _Name(NamedTuple):
    author: str | None
    words: list[str]
    numbers: list[str]
    date: str | None


@lru_cache(maxsize=1024)
def is_same_model(asked: str, served: str) -> bool:
    """Whether an answer by `served` counts as one by `asked`.

    Names are compared without case and without a router's variant (`:free`). They are of one model if their
    authors agree, where both name one; their words agree in any order and their numbers in the same order
    (`claude-sonnet-4.5`, `claude-4.5-sonnet`); and their dates agree, where both have one. So a dated name of
    the requested family is the requested model, and so is an answer without a date; another date is not.
    """
    if asked == served:
        return True
    one, other = _parsed(asked), _parsed(served)
    if one.author and other.author and one.author != other.author:
        return False
    if one.date and other.date and not (one.date.endswith(other.date) or other.date.endswith(one.date)):
        return False
    return (one.words, one.numbers) == (other.words, other.numbers)


def _parsed(name: str) -> _Name:
    author, _, rest = name.lower().rpartition("/")
    rest = _VARIANT.sub("", rest)
    dated = _DATE.search(rest)
    words = _WORD.findall(rest[: dated.start()] if dated else rest)
    numbers = [word for word in words if word[0].isdecimal()]
    letters = sorted(word for word in words if not word[0].isdecimal())
    date = dated[1].replace("-", "") if dated else None
    return _Name(author.rpartition("/")[2] or None, letters, numbers, date)
