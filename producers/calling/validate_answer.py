"""Whether what an endpoint said is an answer to learn from, and if not, why not."""

from __future__ import annotations

from typing import Any, NamedTuple

from tracelake.producers.calling.answer_shape import AnswerShapeError, ToolCallError, shown
from tracelake.producers.calling.failures import FailureClass, class_of_embedded
from tracelake.producers.calling.reading import Reading
from tracelake.producers.calling.served_model import is_same_model


class Flaw(NamedTuple):
    """Why an answer cannot be used."""

    failure: FailureClass
    detail: str


def judged(reading: Reading, asked: str) -> dict[str, Any] | Flaw:
    """The assistant message of a reading that came to its end, or what is wrong with it.

    What the endpoint says of itself goes before what it said: an error, an end that is missing, a model that
    was not asked.
    """
    parts = reading.parts
    if parts.error or parts.finish_reason == "error":
        failure = class_of_embedded(parts.error, in_stream=reading.is_stream, had_content=parts.has_content)
        return Flaw(failure, f"{shown(parts.error)} {parts.said()}")
    if reading.is_stream and not reading.is_whole:
        return Flaw(FailureClass.TRUNCATED_STREAM, f"no end; {parts.said()}")
    if not parts.has_choice:
        return Flaw(FailureClass.EMPTY_CHOICES, f"no choices; {reading.beginning()}")
    served = parts.model_served
    if served is not None and (parts.models_differ or not is_same_model(asked, served)):
        return Flaw(FailureClass.MODEL_MISMATCH, f"served by {served}, asked {asked}; {parts.said()}")
    if parts.finish_reason == "content_filter":
        return Flaw(FailureClass.MODERATION, f"cut by a filter; {parts.said()}")
    return _message(reading)


def _message(reading: Reading) -> dict[str, Any] | Flaw:
    parts = reading.parts
    try:
        message = parts.message()
    except ToolCallError as error:
        return Flaw(FailureClass.MALFORMED_TOOL_CALL, f"{error}; {parts.said()}")
    except AnswerShapeError as error:
        return Flaw(FailureClass.MALFORMED_ANSWER, f"{error}; {parts.said()}")
    if message["content"] or message.get("tool_calls"):
        return message
    if message.get("refusal"):
        return Flaw(FailureClass.REFUSAL, str(message["refusal"]))
    ended = f"finish reason {parts.finish_reason}"
    return Flaw(FailureClass.EMPTY_CHOICES, f"a message that says nothing, {ended}; {parts.said()}")
