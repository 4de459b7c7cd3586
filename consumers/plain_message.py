"""A message as every chat template understands it."""

from __future__ import annotations

from tracelake.schemas.message import Message, canonical_arguments, content_text, tool_calls_of


def plain_message(message: Message) -> Message:
    """Role, text, and calls with parsed arguments; everything else is left out."""
    plain: Message = {"role": message["role"], "content": content_text(message.get("content"))}
    calls = tool_calls_of(message)
    if calls:
        plain["tool_calls"] = [
            {
                "id": call_id,
                "type": "function",
                "function": {"name": name, "arguments": canonical_arguments(arguments)},
            }
            for call_id, name, arguments in calls
        ]
    if message["role"] == "tool" and message.get("tool_call_id"):
        plain["tool_call_id"] = message["tool_call_id"]
    return plain
