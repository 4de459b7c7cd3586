"""Whether an answer is fit to learn from; if not, its flaw."""

from __future__ import annotations

from typing import Any, NamedTuple

from tracelake.producers.calling.answer_reader import AnswerReader
from tracelake.producers.calling.answer_shape import AnswerShapeError, ToolCallError, shown
from tracelake.producers.calling.failures import FailureClass, class_of_embedded
from tracelake.producers.calling.served_model import is_same_model


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
