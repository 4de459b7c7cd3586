"""The request body for one question, and the key of its answer.

**The key hashes the whole request and the teacher's identity**: a different request is a different purchase,
and the same request is never paid for twice.
**A teacher sees the student's context unchanged**, in the message fields that every endpoint accepts. Other
fields of a recording, such as a provider's own reasoning, are not sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracelake.producers.teachers.spec.teacher_file import TeacherSpec
from tracelake.schemas.canonical import hash_of
from tracelake.schemas.message import Message, tool_calls_of

MESSAGE_FIELDS = ("role", "content", "name", "tool_call_id")
LONG_PARTS = ("messages", "tools")
CACHE_CONTROL = {"type": "ephemeral"}


def request_body(
    spec: TeacherSpec, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], sample_index: int
) -> dict[str, Any]:
    """The body as it is sent, except for `stream`."""
    body: dict[str, Any] = {"model": spec.model, "messages": [_chat_fields(message) for message in messages]}
    if tools:
        body["tools"] = list(tools)
    body |= spec.sampling.request_fields()
    if "seed" in body:
        # With one seed for all samples, every sample would be the same answer.
        body["seed"] += sample_index
    if spec.marks_cache:
        _mark_cache(body["messages"])
    return body | spec.routing.extra_body()


def request_key(spec: TeacherSpec, body: Mapping[str, Any]) -> str:
    """Raises EventInvalidError for a body that JSON cannot represent."""
    # Long parts are hashed on their own: a float in the rest would put all of it on the slow path.
    parts = {name: hash_of(body[name]) for name in LONG_PARTS if name in body}
    rest = {name: value for name, value in body.items() if name not in parts}
    return hash_of({"teacher": spec.identity(), "request": rest, "parts": parts})


def teacher_name(spec: TeacherSpec) -> str:
    """The teacher's name in the lake: its model, and its revision if there is one."""
    return spec.model if spec.revision is None else f"{spec.model}@{spec.revision}"


def _chat_fields(message: Message) -> Message:
    sent = {name: message[name] for name in MESSAGE_FIELDS if message.get(name) is not None}
    calls = tool_calls_of(message)
    if calls:
        sent["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in calls
        ]
    if "content" not in sent:
        sent["content"] = None if calls else ""
    return sent


def _mark_cache(messages: list[Message]) -> None:
    """Mark the ends of both prefixes that later requests share: the opening, and the whole prompt."""
    opening = next((index for index, each in enumerate(messages) if each["role"] != "system"), 0)
    for index in sorted({max(opening - 1, 0), len(messages) - 1}):
        messages[index] = _marked(messages[index])


def _marked(message: Message) -> Message:
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])
    if not parts or not isinstance(parts[-1], dict) or parts[-1].get("text") == "":
        # Endpoints refuse to cache an empty part.
        return message
    return message | {"content": [*parts[:-1], parts[-1] | {"cache_control": CACHE_CONTROL}]}
