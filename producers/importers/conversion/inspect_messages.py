"""Inspect's chat messages and references in the shapes of OpenAI's API.

**A reference is replaced by what it stands for**: long texts and images lie in a sample's `attachments`, the
contexts of its model calls in its `message_pool`. What all replacements add is bounded.
**Reasoning becomes the message's reasoning**; its signature, or that it was redacted, stays as a block.
"""

from __future__ import annotations

from typing import Any, cast

from tracelake.producers.importers.conversion.fields import mapping, sequence
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.losses import Losses
from tracelake.schemas.errors import SourceFormatError

# The second is that of logs before November 2024.
PREFIXES = ("attachment://", "tc://")
ADDED_CHARACTERS_MAX = 256 * 2**20
DEPTH_MAX = 200
_OF_CALL = ("view", "parse_error", "type", "internal")
_EXTRA_OF_MESSAGE = (
    "id",
    "source",
    "model",
    "metadata",
    "internal",
    "tool_call_details",
    "function",
    "error",
)


class Attachments:
    """What the references of one sample stand for."""

    def __init__(self, by_name: dict[str, Any]) -> None:
        self._by_name = by_name
        self._added_characters = 0
        self.used: set[str] = set()

    def resolve(self, value: Any, depth: int = 0) -> Any:
        """A value with its references replaced, itself where it has none. Raises SourceFormatError if it
        expands beyond measure."""
        if depth > DEPTH_MAX:
            raise SourceFormatError("a sample nested too deeply", got=f"{DEPTH_MAX} levels", expected="fewer")
        if type(value) is str:
            return self._text(value) if value.startswith(PREFIXES) else value
        if type(value) is list:
            items = cast("list[Any]", value)
            found = [self.resolve(item, depth + 1) for item in items]
            return found if any(map(_is_other, found, items)) else items
        if type(value) is dict:
            entries = cast("dict[str, Any]", value)
            resolved = {key: self.resolve(item, depth + 1) for key, item in entries.items()}
            return resolved if any(map(_is_other, resolved.values(), entries.values())) else entries
        return value

    def _text(self, reference: str) -> str:
        name = reference.split("://", 1)[1]
        found = self._by_name.get(name)
        if type(found) is not str:
            return reference
        self.used.add(name)
        self._added_characters += len(found)
        if self._added_characters > ADDED_CHARACTERS_MAX:
            raise SourceFormatError(
                "a sample whose references expand beyond measure",
                got=f"more than {ADDED_CHARACTERS_MAX} characters",
                expected=f"{ADDED_CHARACTERS_MAX} at most",
            )
        return found


def _is_other(found: Any, given: Any) -> bool:
    return found is not given


def pooled_messages(event: dict[str, Any], pool: list[Any]) -> list[Any]:
    """The context of a model call: given, or ranges of the sample's pool. Raises SourceFormatError for a
    range outside of it."""
    given = sequence(event.get("input"), "events[].input")
    references = event.get("input_refs")
    if given or not references:
        return given
    found: list[Any] = []
    for reference in sequence(references, "events[].input_refs"):
        bounds = sequence(reference, "events[].input_refs[]")
        whole = len(bounds) == 2 and all(type(bound) is int for bound in bounds)
        if not whole or not 0 <= bounds[0] <= bounds[1] <= len(pool) or len(found) > len(pool) * 2:
            raise SourceFormatError(
                "a reference outside of the message pool", expected=f"a range within {len(pool)} messages"
            )
        found += pool[bounds[0] : bounds[1]]
    return found


def message_record(value: Any, where: str, losses: Losses) -> Record:
    """A message in OpenAI's shape; `read_message` reads it."""
    message = dict(mapping(value, where))
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        shaped = [mapping(call, f"{where}.tool_calls[]") for call in cast("list[Any]", calls)]
        message["tool_calls"] = [_call(call) for call in shaped]
        details = [{key: call[key] for key in _OF_CALL if call.get(key)} for call in shaped]
        if any(detail.keys() - {"type"} for detail in details):
            message["tool_call_details"] = details
    if isinstance(message.get("content"), list):
        _shape_parts(message, where)
    record = Record(message, where, losses)
    record.keep(*_EXTRA_OF_MESSAGE)
    return record


def _call(call: dict[str, Any]) -> dict[str, Any]:
    if isinstance(call.get("function"), dict):
        return call
    function = {"name": call.get("function"), "arguments": call.get("arguments")}
    used = ("id", "function", "arguments", *_OF_CALL)
    rest = {key: value for key, value in call.items() if key not in used}
    return {"id": call.get("id"), "type": "function", "function": function, **rest}


def _shape_parts(message: dict[str, Any], where: str) -> None:
    """Parts of the content: reasoning is its own field, images get OpenAI's shape."""
    content: list[Any] = []
    reasoning: list[str] = []
    blocks: list[Any] = []
    for item in cast("list[Any]", message["content"]):
        given = {"type": "text", "text": item} if type(item) is str else item
        part = dict(mapping(given, f"{where}.content[]"))
        kind = part.get("type")
        if kind == "reasoning":
            said = part.get("reasoning")
            if type(said) is str and said and not part.get("redacted"):
                reasoning.append(said)
            elif type(part.get("summary")) is str:
                reasoning.append(part["summary"])
            if part.keys() - {"type", "reasoning"}:
                blocks.append(part)
        elif kind == "image" and type(part.get("image")) is str:
            url = {"url": part.pop("image"), "detail": part.pop("detail", None)}
            image = {key: value for key, value in url.items() if value is not None}
            content.append({**part, "type": "image_url", "image_url": image})
        else:
            content.append({key: value for key, value in part.items() if value is not None})
    texts = [part for part in content if part.keys() == {"type", "text"} and type(part["text"]) is str]
    message["content"] = "".join(part["text"] for part in texts) if len(texts) == len(content) else content
    if reasoning:
        message["reasoning_content"] = "\n".join(reasoning)
    if blocks:
        message["reasoning_details"] = blocks
