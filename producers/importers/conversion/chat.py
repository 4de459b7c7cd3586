"""Chat messages of any source in OpenAI's shape.

**A message contains what the model could see**: role, content, calls with their arguments as text, call id,
name, reasoning. Provider fields and recorder metadata are left out.
"""

from __future__ import annotations

from typing import Any, cast

import orjson

from tracelake.producers.importers.conversion.fields import mapping, sequence, text
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message

_TEXT_PARTS = ("input_text", "output_text")


def chat_message(message: Any) -> Message:
    """Raises SourceFormatError if it is not a chat message."""
    # Runs once per message of every import: hence no loop over the fields, and no call for plain text.
    source = message if type(message) is dict else mapping(message, "message")
    role = source.get("role")
    content = source.get("content")
    call_id = source.get("tool_call_id")
    name = source.get("name")
    reasoning = source.get("reasoning_content")
    if type(role) is not str:
        raise SourceFormatError(
            "a message without a role", got=repr(role), expected="system, user, assistant, tool"
        )
    result: Message = {"role": role, "content": content if type(content) is str else chat_content(content)}
    if call_id is not None:
        result["tool_call_id"] = call_id if type(call_id) is str else text(call_id, "tool_call_id")
    if name is not None:
        result["name"] = text(name, "name")
    if reasoning is not None:
        result["reasoning_content"] = text(reasoning, "reasoning_content")
    if source.get("tool_calls"):
        result["tool_calls"] = [chat_call(call) for call in sequence(source["tool_calls"], "tool_calls")]
    return result


def chat_messages(messages: Any, where: str) -> list[Message]:
    return [chat_message(message) for message in sequence(messages, where)]


def chat_content(content: object) -> str | list[Any] | None:
    """Text, null, or a list of parts; text parts of the Responses API get the shape of the chat API."""
    if content is None or type(content) is str:
        return content
    return [_part(part) for part in sequence(content, "content")]


def _part(part: Any) -> Any:
    if type(part) is dict and cast("dict[str, Any]", part).get("type") in _TEXT_PARTS:
        return {"type": "text", "text": text(cast("dict[str, Any]", part).get("text"), "content") or ""}
    if type(part) is str:
        return {"type": "text", "text": part}
    return mapping(part, "content")


def chat_call(call: Any) -> Message:
    """A tool call in OpenAI's shape; some recorders write it as JSON text, or its arguments as an object."""
    source = (
        call
        if type(call) is dict
        else mapping(orjson.loads(call) if type(call) is str else call, "tool_calls")
    )
    function = source.get("function")
    body = source if function is None else mapping(function, "tool_calls.function")
    arguments = body.get("arguments")
    if type(arguments) is not str:
        arguments = canonical_text({} if arguments is None else arguments)
    called = {"name": text(body.get("name"), "tool_calls.function.name"), "arguments": arguments}
    return {"id": text(source.get("id"), "tool_calls.id"), "type": "function", "function": called}


def call_names(action: Message) -> dict[str, str]:
    """Tool name by call id."""
    calls = cast("list[Message]", action.get("tool_calls") or [])
    return {call["id"]: call["function"]["name"] for call in calls if call["id"] and call["function"]["name"]}


def tools_text(tools: Any) -> str | None:
    """Tool definitions in OpenAI's function shape, as canonical JSON; null if there are none."""
    found = [
        mapping(orjson.loads(tool) if type(tool) is str else tool, "tools")
        for tool in sequence(tools, "tools")
    ]
    shaped = [tool if "function" in tool else {"type": "function", "function": tool} for tool in found]
    return canonical_text(shaped) if shaped else None


def message_text(message: Message) -> str:
    """Canonical JSON of one message that `chat_message` returned."""
    if type(message["content"]) is list:
        return canonical_text(message)
    return orjson.dumps(message, option=orjson.OPT_SORT_KEYS).decode()


def messages_text(messages: list[Message]) -> str:
    """Canonical JSON of messages that `chat_message` returned."""
    for message in messages:
        if type(message["content"]) is list:
            return canonical_text(messages)
    # Only text and nulls under ASCII keys: sorting the keys gives the canonical form.
    return orjson.dumps(messages, option=orjson.OPT_SORT_KEYS).decode()
