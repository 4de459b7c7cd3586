"""The request that a teacher is sent for one question, and the key under which its answer is bought.

**The key is over the whole request and the teacher's identity**: whatever else is sent is another purchase,
and the same is never bought twice.
**A teacher sees the student's context as it was**, in the fields that every endpoint takes: what a recording
keeps beside them, such as a provider's own reasoning, is no part of a chat.
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
    """The body as it goes over the wire, but for how it is transported (`stream`)."""
    body: dict[str, Any] = {"model": spec.model, "messages": [_sent(message) for message in messages]}
    if tools:
        body["tools"] = list(tools)
    body |= spec.sampling.request_fields()
    if "seed" in body:
        # One seed for all samples would buy one answer several times.
        body["seed"] += sample_index
    if spec.marks_cache:
        _mark_cache(body["messages"])
    return body | spec.routing.extra_body()


def request_key(spec: TeacherSpec, body: Mapping[str, Any]) -> str:
    """Raises EventInvalidError for a body that JSON cannot say."""
    # Long parts are hashed on their own: one number with a point in it would slow down the naming of all.
    parts = {name: hash_of(body[name]) for name in LONG_PARTS if name in body}
    rest = {name: value for name, value in body.items() if name not in parts}
    return hash_of({"teacher": spec.identity(), "request": rest, "parts": parts})


def teacher_name(spec: TeacherSpec) -> str:
    """The teacher in the lake: its model, with the revision where one is known."""
    return spec.model if spec.revision is None else f"{spec.model}@{spec.revision}"


def _sent(message: Message) -> Message:
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
    """Ends of the two prefixes that later requests share: the opening, and everything up to this turn."""
    opening = next((index for index, each in enumerate(messages) if each["role"] != "system"), 0)
    for index in sorted({max(opening - 1, 0), len(messages) - 1}):
        messages[index] = _marked(messages[index])


def _marked(message: Message) -> Message:
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])
    if not parts or not isinstance(parts[-1], dict) or parts[-1].get("text") == "":
        # An empty part cannot be cached.
        return message
    return message | {"content": [*parts[:-1], parts[-1] | {"cache_control": CACHE_CONTROL}]}
