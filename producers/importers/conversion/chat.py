"""Chat messages of any source in OpenAI's shape.

**A message contains what the model could see**: role, content, calls with their arguments as text, call id,
name, refusal, and its own reasoning, with the signed or encrypted blocks that a provider wants back.
Everything else in a source's message stays in the rest of its `Record`.
**Marks for the transport are no content**: a part's `cache_control` does not change the state.
**Blocks of Anthropic's API become messages of OpenAI's**: `tool_use` a call, `tool_result` a message of its
own, `thinking` the reasoning.
"""

from __future__ import annotations

from typing import Any, cast

import orjson

from tracelake.producers.importers.conversion.fields import mapping, sequence, text
from tracelake.producers.importers.conversion.record import Record
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message, content_text

ROLES = "system, developer, user, assistant, tool"
_TEXT_PARTS = ("text", "input_text", "output_text")
_THINKING_PARTS = ("thinking", "redacted_thinking")
_MESSAGE_KEYS = ("role", "content", "tool_call_id", "name", "tool_calls")
# `index` is the position in a stream of pieces, which the position in the list repeats.
_CALL_KEYS = frozenset(("id", "type", "function", "name", "arguments", "index"))
_CACHE_MARK = "mark for the provider's cache"


def read_messages(records: list[Record]) -> list[Message]:
    """The messages of a list, without the sources of each."""
    return [message for record in records for message in read_message(record)]


def read_message(record: Record) -> list[Message]:
    """The message of a record; more than one if its content has results of tools as blocks.

    Raises SourceFormatError if it is no chat message."""
    source = record.source
    role, content = source.get("role"), source.get("content")
    if type(role) is not str:
        raise SourceFormatError(
            "a message without a role", got=f"keys {', '.join(sorted(source))[:100]}", expected=ROLES
        )
    record.has_read(*_MESSAGE_KEYS)
    message: Message = {"role": role, "content": content if type(content) is str else None}
    results: list[Message] = []
    if content is not None and type(content) is not str:
        results = _read_parts(record, message, content)
    call_id, name = source.get("tool_call_id"), source.get("name")
    if call_id is not None:
        message["tool_call_id"] = text(call_id, "tool_call_id")
    if name is not None:
        message["name"] = text(name, "name")
    if role == "assistant":
        _read_reasoning(record, message)
        if source.get("refusal") is not None:
            message["refusal"] = record.text("refusal")
        calls = [chat_call(call, record) for call in sequence(source.get("tool_calls"), "tool_calls")]
        if source.get("function_call") is not None:
            calls.append(_legacy_call(record))
        if calls:
            message["tool_calls"] = [*message.get("tool_calls", []), *calls]
    elif source.get("tool_calls"):
        raise SourceFormatError("tool calls in a message of another role", got=role, expected="assistant")
    if not results:
        return [message]
    # The results answer the calls of the message before, hence they come first.
    return [*results, message] if message["content"] else results


def _read_reasoning(record: Record, message: Message) -> None:
    """`reasoning_content` of most servers, `reasoning` of OpenRouter and vLLM, with their blocks."""
    source = record.source
    reasoning = source.get("reasoning_content")
    if reasoning is None:
        reasoning = record.text("reasoning") if type(source.get("reasoning")) is str else None
    elif source.get("reasoning") == reasoning:
        record.has_read("reasoning")
    record.has_read("reasoning_content")
    if reasoning:
        message["reasoning_content"] = text(reasoning, "reasoning_content")
    for key in ("thinking_blocks", "reasoning_details"):
        found = sequence(record.take(key), key)
        if found:
            message[key] = found


def _legacy_call(record: Record) -> Message:
    """OpenAI's call of 2023, which had no id."""
    function = mapping(record.take("function_call"), "function_call")
    return chat_call({"id": None, "function": function}, record)


def _read_parts(record: Record, message: Message, content: object) -> list[Message]:
    """Fill the message from a list of parts; returns the results of tools among them as messages."""
    parts: list[Any] = []
    results: list[Message] = []
    thinking: list[dict[str, Any]] = []
    calls: list[Message] = []
    for item in sequence(content, "content"):
        if type(item) is str:
            parts.append({"type": "text", "text": item})
            continue
        part = mapping(item, "content[]")
        kind = part.get("type")
        if "cache_control" in part:
            record.losses.dropped[f"{record.where}.content[].cache_control", _CACHE_MARK] += 1
            part = {key: value for key, value in part.items() if key != "cache_control"}
        if kind in _TEXT_PARTS:
            parts.append({"type": "text", "text": text(part.get("text"), "content[].text") or ""})
            _keep_rest(record, part, ("type", "text"))
        elif kind in _THINKING_PARTS:
            thinking.append(part)
        elif kind == "tool_use":
            arguments = canonical_text(part.get("input") or {})
            function = {"name": text(part.get("name"), "content[].name"), "arguments": arguments}
            call_id = text(part.get("id"), "content[].id")
            calls.append({"id": call_id, "type": "function", "function": function})
            _keep_rest(record, part, ("type", "id", "name", "input"))
        elif kind == "tool_result":
            call_id = text(part.get("tool_use_id"), "content[].tool_use_id")
            inner = chat_content(part.get("content"), record)
            results.append({"role": "tool", "content": inner, "tool_call_id": call_id})
            _keep_rest(record, part, ("type", "tool_use_id", "content"))
        else:
            parts.append(part)
    message["content"] = parts or None
    if thinking:
        message["thinking_blocks"] = thinking
        spoken = "\n".join(str(block["thinking"]) for block in thinking if block.get("thinking"))
        if spoken:
            message["reasoning_content"] = spoken
    if calls:
        message["tool_calls"] = calls
    return results


def _keep_rest(record: Record, part: dict[str, Any], known: tuple[str, ...]) -> None:
    """Unknown keys of a part go into the rest of the message."""
    unknown = {key: value for key, value in part.items() if key not in known and value not in (None, [])}
    if unknown:
        record.add_rest("content", unknown)


def chat_content(content: object, record: Record | None = None) -> str | list[Any] | None:
    """Text, null, or a list of parts; text parts of the Responses API get the shape of the chat API. Unknown
    keys of a text part go into the rest of `record`; without one the part stays as it is."""
    if content is None or type(content) is str:
        return content
    return [_part(part, record) for part in sequence(content, "content")]


def _part(part: Any, record: Record | None) -> Any:
    if type(part) is str:
        return {"type": "text", "text": part}
    found = mapping(part, "content[]")
    if found.get("type") not in _TEXT_PARTS:
        return found
    known = ("type", "text", "cache_control")
    unknown = {key: value for key, value in found.items() if key not in known and value not in (None, [])}
    if unknown and record is None:
        return found
    if record is not None:
        _keep_rest(record, found, known)
    return {"type": "text", "text": text(found.get("text"), "content[].text") or ""}


def chat_call(call: Any, record: Record | None = None) -> Message:
    """A tool call in OpenAI's shape; some recorders write it as JSON text, or its arguments as an object.
    Unknown keys of the call go into the rest of `record`."""
    if type(call) is not dict:
        call = mapping(_json(call) if type(call) is str else call, "tool_calls[]")
    function = call.get("function")
    body = call if function is None else mapping(function, "tool_calls[].function")
    arguments = body.get("arguments")
    if type(arguments) is not str:
        arguments = canonical_text({} if arguments is None else arguments)
    called = {"name": text(body.get("name"), "tool_calls[].function.name"), "arguments": arguments}
    if record is not None and not (call.keys() <= _CALL_KEYS and body.keys() <= _CALL_KEYS):
        _keep_rest_of_call(call, body, record)
    return {"id": text(call.get("id"), "tool_calls[].id"), "type": "function", "function": called}


def _keep_rest_of_call(call: dict[str, Any], body: dict[str, Any], record: Record) -> None:
    rest = {key: value for key, value in call.items() if key not in _CALL_KEYS and value is not None}
    if body is not call:
        rest |= {key: value for key, value in body.items() if key not in _CALL_KEYS and value is not None}
    if rest:
        record.add_rest("tool_calls", rest)


def _json(data: str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise SourceFormatError(
            "JSON text expected", got="other text", expected="a JSON value as text"
        ) from error


def call_names(action: Message) -> dict[str, str]:
    """Tool name by call id."""
    calls = cast("list[Message]", action.get("tool_calls") or [])
    return {call["id"]: call["function"]["name"] for call in calls if call["id"] and call["function"]["name"]}


def result_text(message: Message) -> str:
    """What a message of the role `tool` says."""
    return content_text(message["content"])


def tools_text(tools: Any) -> str | None:
    """Tool definitions in OpenAI's function shape, as canonical JSON; null if there are none."""
    found = [
        mapping(_json(tool) if type(tool) is str else tool, "tools") for tool in sequence(tools, "tools")
    ]
    shaped = [tool if "function" in tool else {"type": "function", "function": tool} for tool in found]
    return canonical_text(shaped) if shaped else None


def message_text(message: Message) -> str:
    """Canonical JSON of one message of this module."""
    if len(message) > 4 or type(message["content"]) is list or "thinking_blocks" in message:
        return canonical_text(message)
    return orjson.dumps(message, option=orjson.OPT_SORT_KEYS).decode()


def messages_text(messages: list[Message]) -> str:
    """Canonical JSON of messages of this module."""
    for message in messages:
        if len(message) > 4 or type(message["content"]) is list or "thinking_blocks" in message:
            return canonical_text(messages)
    # Only text and nulls under ASCII keys: sorting the keys gives the canonical form.
    return orjson.dumps(messages, option=orjson.OPT_SORT_KEYS).decode()
