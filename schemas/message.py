"""Chat messages in OpenAI's shape: their canonical forms, and the key of a state.

**A state is what the policy saw**: tool definitions and the ordered messages before its action. Two rollouts that saw
the same share the `state_key`, whatever call ids, key order or provider fields their recordings differ in.
**The key is one running hash**, so that a rollout of n turns costs one pass over its text and not n.
"""

from __future__ import annotations

import hashlib
from typing import Any, cast

import orjson

from schemas.canonical import canonical_json, canonical_text
from schemas.errors import EventInvalidError

Message = dict[str, Any]


def tool_calls_of(message: Message) -> list[tuple[str, str | None, str]]:
    """(call id or '', tool name, arguments as recorded text) of each call, in order."""
    calls: list[tuple[str, str | None, str]] = []
    for call in cast("list[Any]", message.get("tool_calls") or []):
        function = call.get("function") or call
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else canonical_text({} if arguments is None else arguments)
        calls.append((call.get("id") or "", function.get("name"), text))
    return calls


def canonical_arguments(text: str) -> Any:
    """Parsed arguments where they are a JSON value, else the text itself."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def canonical_action(message: Message) -> str:
    """An assistant message as folds compare it: content and calls, without ids and provider fields."""
    calls = [
        {"name": name, "arguments": canonical_arguments(arguments)}
        for _, name, arguments in tool_calls_of(message)
    ]
    return canonical_text({"content": content_text(message.get("content")), "tool_calls": calls})


def content_text(content: object) -> str:
    """Text of a message's content: null is empty, a lone list of text parts is joined, other parts are canonical JSON."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = cast("list[Any]", content) if isinstance(content, list) else [content]
    if all(isinstance(part, dict) and part.get("type") == "text" and len(part) == 2 for part in parts):
        return "".join(str(part["text"]) for part in parts)
    return canonical_text(content)


def tools_key(tools_json: str | None) -> str | None:
    """Hash of tool definitions; null where the source has none."""
    return None if tools_json is None else hashlib.sha256(tools_json.encode()).hexdigest()


class StateHasher:
    """The running `state_key` of one rollout."""

    def __init__(self, tools_json: str | None = None) -> None:
        self._hash = hashlib.sha256(f"tools:{tools_json or ''}".encode())
        self._ordinal_of_call: dict[str, int] = {}
        self.context_length = 0

    def add(self, message: Message) -> None:
        """Extend the context by one message. Raises EventInvalidError for text that is not well-formed."""
        try:
            line = orjson.dumps(self._canonical(message))
        except (TypeError, ValueError):
            line = canonical_json(self._canonical(message))
        self._hash.update(len(line).to_bytes(8, "big"))
        self._hash.update(line)
        self.context_length += 1

    def key(self) -> str:
        return self._hash.hexdigest()

    def _canonical(self, message: Message) -> list[Any]:
        role = message.get("role")
        if not isinstance(role, str):
            raise EventInvalidError("a message without a role", got=repr(role), expected="system, user, assistant or tool")
        content = content_text(message.get("content"))
        if role == "tool":
            call_id = message.get("tool_call_id") or ""
            return [role, content, self._ordinal_of_call.get(call_id, -1)]
        if role != "assistant":
            return [role, content, message.get("name")]
        calls: list[Any] = []
        for call_id, name, arguments in tool_calls_of(message):
            ordinal = self._ordinal_of_call.setdefault(call_id, len(self._ordinal_of_call))
            calls.append([ordinal, name, _sorted_arguments(arguments)])
        return [role, content, calls]


def _sorted_arguments(text: str) -> str:
    """Arguments text with sorted keys where it is a JSON object."""
    if not text.startswith("{"):
        return text
    parsed = canonical_arguments(text)
    return text if isinstance(parsed, str) else canonical_text(parsed)
