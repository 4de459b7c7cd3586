"""The input of a request to OpenAI's Responses API as chat messages.

**Items of one reply are one message**: reasoning, text and calls that follow each other are what the model
said in one turn, and equal the message that was recorded for it.
"""

from __future__ import annotations

from typing import Any, cast

from tracelake.producers.importers.conversion.fields import mapping, sequence
from tracelake.producers.importers.conversion.model_response import response_message
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.losses import Losses
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.message import Message

_OUTPUT_KINDS = ("reasoning", "function_call")


def input_messages(instructions: object, given: object) -> list[Message]:
    """Instructions and input as messages. Raises SourceFormatError."""
    messages: list[Message] = []
    if isinstance(instructions, str):
        messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    reply: list[dict[str, Any]] = []
    for item in sequence(given, "input"):
        fields = mapping(item, "input[]")
        if _is_of_reply(fields):
            reply.append(fields)
            continue
        messages += _reply_message(reply)
        reply = []
        messages.append(_message(fields))
    return messages + _reply_message(reply)


def _is_of_reply(item: dict[str, Any]) -> bool:
    return item.get("type") in _OUTPUT_KINDS or item.get("role") == "assistant"


def _reply_message(items: list[dict[str, Any]]) -> list[Message]:
    if not items:
        return []
    output = [{"type": "message", **item} if "role" in item else item for item in items]
    return [response_message(Record({"output": output}, "input", Losses()))]


def _message(item: dict[str, Any]) -> Message:
    kind = item.get("type")
    if kind == "function_call_output":
        return {"role": "tool", "content": _output(item.get("output")), "tool_call_id": item.get("call_id")}
    if "role" in item:
        return {"role": item["role"], "content": item.get("content")}
    # Any other item is what the model saw, whatever it is: a result of a hosted tool, a reference.
    return {"role": "user", "content": [item]}


def _output(output: object) -> str | list[Any]:
    if isinstance(output, (str, list)):
        return cast("str | list[Any]", output)
    return canonical_text(output)
