"""Items of OpenAI's Responses API as chat messages.

**Items of the model that follow each other are one assistant message**: reasoning, text and calls. The result
of a call, or a message of somebody else, ends it; so does an item with the token ids of a whole completion.
**An item with a `call_id` is a call or the result of one**, whatever its type: functions, shells, patches.
**Every other item stays whole** in the rest of the message that it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tracelake.producers.importers.conversion.chat import chat_content, read_message
from tracelake.producers.importers.conversion.fields import mapping, sequence, text
from tracelake.producers.importers.conversion.record import Record, rests_of
from tracelake.producers.importers.conversion.rollout_builder import RolloutBuilder
from tracelake.producers.importers.losses import Losses
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.message import Message, content_text

GENERATED = "generation_token_ids"
_RESULT = "_output"
_KNOWN = ("id", "status", "phase", "namespace", "created_by", "caller")
_TEXTS = ("output_text", "text", "summary_text", "reasoning_text", "input_text")
_NOTHING: tuple[Any, ...] = (None, [], "")


class ItemMessage(NamedTuple):
    """One chat message, and the items that it was made of."""

    message: Message
    items: list[Record]


def item_records(items: object, where: str, losses: Losses) -> list[Record]:
    """The items of `input` or `output`; text alone is a message of the user."""
    if type(items) is str:
        items = [{"role": "user", "content": items}]
    found = [mapping(item, where) for item in sequence(items, where)]
    return [Record(item, f"{where}[]", losses) for item in found]


def item_messages(items: list[Record]) -> list[ItemMessage]:
    """The messages of a list of items, in their order. Raises SourceFormatError for an item that is none."""
    found: list[ItemMessage] = []
    spoken: list[Record] = []

    def end_message() -> None:
        if spoken:
            found.append(ItemMessage(items_message(spoken), list(spoken)))
            spoken.clear()

    for item in items:
        kind = _kind(item)
        if kind == "message" and item.source.get("role") != "assistant":
            end_message()
            item.has_read("type")
            item.keep(*_KNOWN)
            found += [ItemMessage(message, [item]) for message in read_message(item)]
        elif kind.endswith(_RESULT) and item.source.get("call_id") is not None:
            end_message()
            found.append(ItemMessage(_result(item), [item]))
        else:
            spoken.append(item)
            if item.source.get(GENERATED):
                end_message()
    end_message()
    return found


def add_items(
    rollout: RolloutBuilder,
    items: list[Record],
    turn_fields: Callable[[Message, list[Record]], dict[str, Any]],
) -> None:
    """Output items as turns and tool results, and everything else among them as context."""
    names: dict[str, str] = {}
    for message, records in item_messages(items):
        role = message["role"]
        if role == "assistant":
            fields = turn_fields(message, records)
            rollout.add_turn(message, fields, *as_one_record(records))
            names |= {call["id"]: call["function"]["name"] for call in message.get("tool_calls") or ()}
        elif role == "tool" and rollout.turn_count:
            fields = {
                "tool_call_id": message.get("tool_call_id"),
                "tool_name": names.get(message.get("tool_call_id") or ""),
                "visible_output": content_text(message["content"]),
            }
            rollout.add_tool_result(fields, *records)
            rollout.add_context(message)
        else:
            rollout.add_context(message, records[0])


def add_item_context(rollout: RolloutBuilder, items: list[Record]) -> None:
    """Items of a request, which nobody sampled in this rollout."""
    for message, records in item_messages(items):
        [record] = as_one_record(records)
        rollout.add_context(message, record)


def as_one_record(records: list[Record]) -> list[Record]:
    """One record, so that the rests of several items do not hide each other."""
    if len(records) == 1:
        return records
    rests = rests_of(records)
    whole = Record({"items": rests} if rests else {}, records[0].where, records[0].losses)
    whole.keep("items")
    return [whole]


def items_message(items: list[Record]) -> Message:
    """The assistant message of the items of one model call."""
    spoken: list[str] = []
    refusals: list[str] = []
    reasoning: list[str] = []
    calls: list[Message] = []
    details: list[Any] = []
    for item in items:
        kind = _kind(item)
        item.keep(*_KNOWN)
        if kind == "message":
            item.has_read("type", "role")
            _read_texts(item, "content", spoken, refusals)
        elif kind == "reasoning":
            item.has_read("type")
            _read_texts(item, "summary", reasoning, refusals)
            _read_texts(item, "content", reasoning, refusals)
            if item.source.get("encrypted_content"):
                details.append(
                    {key: value for key, value in item.source.items() if key not in ("summary", "content")}
                )
                item.has_read("encrypted_content")
        elif item.source.get("call_id") is not None or kind == "function_call":
            calls.append(_call(item, kind))
        else:
            item.keep(*item.source)
    message: Message = {"role": "assistant", "content": "".join(spoken) if spoken else None}
    if calls:
        message["tool_calls"] = calls
    if reasoning:
        message["reasoning_content"] = "\n".join(reasoning)
    if refusals:
        message["refusal"] = "\n".join(refusals)
    if details:
        message["reasoning_details"] = details
    return message


def response_tools_text(tools: object) -> str | None:
    """Tool definitions of a request in the shape of the chat API; hosted tools as they are."""
    shaped: list[Any] = []
    for item in sequence(tools, "tools"):
        tool = mapping(item, "tools[]")
        if tool.get("type") in (None, "function") and "function" not in tool:
            function = {key: value for key, value in tool.items() if key != "type" and value is not None}
            shaped.append({"type": "function", "function": function})
        else:
            shaped.append(tool)
    return canonical_text(shaped) if shaped else None


def _kind(item: Record) -> str:
    kind = text(item.source.get("type"), "type")
    return kind or ("message" if "role" in item.source else "")


def _call(item: Record, kind: str) -> Message:
    """A call of a function; of another tool with what it was asked as the arguments."""
    item.has_read("type")
    call_id = text(item.take("call_id") or item.source.get("id"), "call_id")
    name = text(item.take("name"), "name") or kind.removesuffix("_call")
    arguments: Any = None
    for key in ("arguments", "input", "action", "operation"):
        if item.source.get(key) is not None:
            arguments = item.take(key)
            break
    if type(arguments) is not str:
        arguments = canonical_text({} if arguments is None else arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments or "{}"}}


def _result(item: Record) -> Message:
    item.has_read("type")
    item.keep(*_KNOWN)
    return {
        "role": "tool",
        "content": chat_content(item.take("output")),
        "tool_call_id": text(item.take("call_id"), "call_id"),
    }


def _read_texts(item: Record, key: str, texts: list[str], refusals: list[str]) -> None:
    """The texts of a message's or a reasoning item's parts."""
    found = item.source.get(key)
    if found is None or type(found) is str:
        item.has_read(key)
        texts += [found] if found else []
        return
    for part in item.records(key):
        part.has_read(*(name for name in ("annotations", "logprobs") if part.source.get(name) in _NOTHING))
        part.keep("annotations", "logprobs")
        kind = part.source.get("type")
        if kind == "refusal":
            part.has_read("type")
            refusals.append(part.text("refusal") or "")
        elif kind in _TEXTS or type(part.source.get("text")) is str:
            part.has_read("type")
            texts.append(part.text("text") or "")
        else:
            part.keep(*part.source)
