"""Chat messages in OpenAI's format: their canonical forms, and the key of a state.

**A state is what the policy saw**: tool definitions and the ordered messages before its action. Two
rollouts with equal states share the `state_key`, even if their recordings differ in call ids, key order or
provider fields.
**The key is one running hash**, so that a rollout of n turns costs one pass over its text and not n.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, cast

import orjson

from tracelake.schemas.canonical import canonical_json, canonical_text
from tracelake.schemas.errors import EventInvalidError

Message = dict[str, Any]


def tool_calls_of(message: Message) -> list[tuple[str, str | None, str]]:
    """(call id or '', tool name, arguments as recorded text) of each call, in order.

    Raises EventInvalidError for calls that are not in OpenAI's format.
    """
    calls: list[tuple[str, str | None, str]] = []
    try:
        recorded: list[Any] = message.get("tool_calls") or []
        for call in recorded:
            function = call.get("function") or call
            arguments = function.get("arguments")
            if not isinstance(arguments, str):
                arguments = canonical_text({} if arguments is None else arguments)
            calls.append((str(call.get("id") or ""), function.get("name"), arguments))
    except (AttributeError, TypeError) as error:
        raise EventInvalidError(
            "a tool call is not in OpenAI's format",
            got=repr(message.get("tool_calls")),
            expected="a list of {id, type, function: {name, arguments}}",
        ) from error
    return calls


def canonical_arguments(text: str) -> Any:
    """Parsed arguments if they are JSON, integers with all digits; otherwise the text itself."""
    try:
        parsed = orjson.loads(text)
        # orjson parses an integer beyond 64 bits as a float; the slower standard parser keeps all digits.
        return json.loads(text) if _contains_float(parsed) else parsed
    except (ValueError, RecursionError):
        return text


def canonical_action(message: Message) -> str:
    """An assistant message for comparison in folds: content and calls, without ids and provider fields.

    Arguments without a canonical form, such as very deep ones, are compared as text.
    """
    content, calls = content_text(message.get("content")), tool_calls_of(message)
    parsed = [{"name": name, "arguments": canonical_arguments(text)} for _, name, text in calls]
    try:
        return canonical_text({"content": content, "tool_calls": parsed})
    except EventInvalidError:
        recorded = [{"name": name, "arguments": text} for _, name, text in calls]
        return canonical_text({"content": content, "tool_calls": recorded})


def content_text(content: object) -> str:
    """Text of a message's content.

    Null is empty, a list of nothing but text parts is joined, any other content is canonical JSON.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = cast("list[Any]", content) if isinstance(content, list) else [content]
    texts = [_text_of_part(part) for part in parts]
    return canonical_text(content) if None in texts else "".join(cast("list[str]", texts))


def tools_key(tools_json: str | None) -> str | None:
    """Hash of tool definitions; null if the source has none."""
    return None if tools_json is None else hashlib.sha256(tools_json.encode()).hexdigest()


class StateHasher:
    """Computes the `state_key` of one rollout, message by message."""

    def __init__(self, tools_json: str | None = None) -> None:
        self._hash = hashlib.sha256(f"tools:{tools_json or ''}".encode())
        self._open_calls: list[tuple[str, int]] = []
        """(call id, ordinal) of each call without a result, of the latest message with calls."""
        self.context_length = 0

    def add(self, message: Message) -> None:
        """Extend the context by one message. Raises EventInvalidError for text that is not well-formed."""
        parts = self._canonical(message)
        try:
            line = orjson.dumps(parts)
        except (TypeError, ValueError):
            line = canonical_json(parts)
        self._hash.update(len(line).to_bytes(8, "big"))
        self._hash.update(line)
        self.context_length += 1

    def key(self) -> str:
        return self._hash.hexdigest()

    def copy(self) -> StateHasher:
        """A hasher of the same context that can be extended on its own."""
        other = StateHasher.__new__(StateHasher)
        other._hash = self._hash.copy()
        other._open_calls = self._open_calls.copy()
        other.context_length = self.context_length
        return other

    def _canonical(self, message: Message) -> list[Any]:
        role = message.get("role")
        if not isinstance(role, str):
            raise EventInvalidError(
                "a message without a role", got=repr(role), expected="system, user, assistant or tool"
            )
        content = message.get("content")
        if type(content) is not str:
            content = content_text(content)
        if role == "tool":
            return [role, content, self._close_call(str(message.get("tool_call_id") or ""))]
        if role != "assistant":
            return [role, content, message.get("name")]
        calls = tool_calls_of(message)
        if calls:
            self._open_calls = [(call_id, ordinal) for ordinal, (call_id, _, _) in enumerate(calls)]
        return [role, content, [[name, _sorted_arguments(arguments)] for _, name, arguments in calls]]

    def _close_call(self, call_id: str) -> int:
        """Ordinal of the call that a result belongs to, without an id the first open one; -1 if none."""
        for index, (open_id, ordinal) in enumerate(self._open_calls):
            if call_id in ("", open_id):
                del self._open_calls[index]
                return ordinal
        return -1


def _contains_float(value: object) -> bool:
    kind = type(value)
    if kind is not dict and kind is not list:
        return kind is float
    for item in cast("dict[str, Any]", value).values() if kind is dict else cast("list[Any]", value):
        if type(item) is not str and _contains_float(item):
            return True
    return False


def _sorted_arguments(text: str) -> str:
    """Arguments text, with sorted keys if it is a JSON object."""
    if not text.startswith("{"):
        return text
    parsed = canonical_arguments(text)
    try:
        if type(parsed) is dict and len(parsed) == 1:
            # Fast path: most calls have one argument, and imports parse one or more calls per turn.
            [(key, value)] = parsed.items()
            if type(value) is str and key.isascii():
                return orjson.dumps(parsed).decode()
        return text if isinstance(parsed, str) else canonical_text(parsed)
    except EventInvalidError:
        return text


def _text_of_part(part: Any) -> str | None:
    """The text of a plain text part; null for any other part."""
    if not isinstance(part, dict):
        return None
    fields = cast("dict[str, Any]", part)
    text = fields.get("text")
    return text if fields.get("type") == "text" and len(fields) == 2 and isinstance(text, str) else None
