"""Texts, calls and times of the lake in ATIF's form."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.message import Message, canonical_arguments, tool_calls_of

OWN = "tracelake"
"""Key in `extra` of what ATIF has no field for."""
ARGUMENTS_AS_TEXT = "tracelake_arguments"
"""The one argument of a call whose arguments are no JSON object."""
_DATA_ADDRESS = re.compile(r"data:(image/(?:jpeg|png|gif|webp))[;,]")
_SUFFIXES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif"}
_SUFFIXES |= {"webp": "image/webp"}


def atif_content(content: Any) -> str | list[dict[str, Any]]:
    """A message's content: text, or parts in ATIF's form; a part that ATIF does not know is JSON text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return [_part(part) for part in parts]


def atif_tool_calls(action: Message, turn_index: int | None) -> list[dict[str, Any]]:
    """Calls with arguments as objects. A call without an id gets one made from its turn and position."""
    calls: list[dict[str, Any]] = []
    for position, (call_id, name, text) in enumerate(tool_calls_of(action)):
        arguments = canonical_arguments(text)
        call: dict[str, Any] = {
            "tool_call_id": call_id or f"call_{turn_index or 0}_{position}",
            "function_name": name or "",
            "arguments": arguments if isinstance(arguments, dict) else {ARGUMENTS_AS_TEXT: text},
        }
        rest = {
            key: value
            for key, value in action["tool_calls"][position].items()
            if key not in ("id", "function") and (key, value) != ("type", "function")
        }
        calls.append(call | ({"extra": {OWN: rest}} if rest else {}))
    return calls


def moment_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, dict):
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            return {"type": "text", "text": part["text"]}
        source = part.get("source")
        if part.get("type") in ("image", "audio") and isinstance(source, dict) and "path" in source:
            # From an ATIF source.
            return {"type": part["type"], "source": source}
        address = part.get("image_url")
        path = address.get("url") if isinstance(address, dict) else address
        media_type = _media_type(path) if isinstance(path, str) else None
        if media_type is not None:
            return {"type": "image", "source": {"media_type": media_type, "path": path}}
    return {"type": "text", "text": part if isinstance(part, str) else canonical_text(part)}


def _media_type(path: str) -> str | None:
    found = _DATA_ADDRESS.match(path)
    return found[1] if found else _SUFFIXES.get(path.partition("?")[0].rpartition(".")[2].lower())
