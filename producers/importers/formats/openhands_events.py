"""Events of OpenHands in one shape, from both of its event formats: that of its SDK, whose events name their
class in `kind`, and that before it, whose events have an `action` or an `observation`.

**An event that the model never saw is of the type `other`**, and stays whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from tracelake.producers.importers.conversion.fields import any_moment, mapping, sequence
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.importer import as_object
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message

ItemType = Literal["message", "action", "result", "condensation", "tokens", "error", "other"]
_CACHE_MARK = "mark for the provider's cache"
_EMPTY = (None, [], {})


class Item(NamedTuple):
    """One event."""

    type: ItemType
    id: str
    record: Record
    message: Message | None = None
    """As the model saw it; of an action its part of the reply."""
    response_id: str | None = None
    """Shared by the actions of one reply."""
    response: Record | None = None
    """The provider's response, where the event has it."""
    result: dict[str, Any] | None = None
    """Fields of ToolReturned."""
    forgotten: frozenset[str] = frozenset()
    """Events that a condensation removed from the context."""
    tools: list[Any] | None = None


def read_item(record: Record) -> Item:
    """Raises SourceFormatError for what is no event."""
    source = record.source
    event_id = record.label("id")
    if event_id is None:
        raise SourceFormatError("an event without an id", got=f"keys {', '.join(sorted(source))[:100]}")
    record.keep("timestamp")
    if type(source.get("kind")) is str:
        return _sdk_item(record, event_id)
    if "action" in source or "observation" in source:
        return _old_item(record, event_id)
    return Item("other", event_id, record)


def time_of(record: Record) -> Any:
    """The time of an event; the recorder writes local times without a zone, which stay in the rest."""
    value = record.source.get("timestamp")
    if type(value) is str and value.endswith(("Z", "+00:00")):
        record.has_read("timestamp")
        return any_moment(value, "timestamp")
    return None


def _sdk_item(record: Record, event_id: str) -> Item:
    kind = record.text("kind")
    record.keep("source", "sender", "activated_skills", "summary", "security_risk", "action", "action_id")
    record.keep("parent_id", "critic_result", "classification", "rejection_source")
    if kind == "SystemPromptEvent":
        content = [record.record("system_prompt"), record.record("dynamic_context")]
        message: Message = {"role": "system", "content": _content([each for each in content if each.source])}
        return Item("message", event_id, record, message, tools=record.take("tools"))
    if kind == "MessageEvent":
        return _sdk_message(record, event_id)
    if kind == "ActionEvent":
        call = record.record("tool_call")
        message = {"role": "assistant", "content": _content(record.records("thought"))}
        _add_reasoning(message, record)
        name = record.text("tool_name")
        call_id = record.text("tool_call_id")
        called = {"name": call.text("name") or name, "arguments": call.text("arguments") or "{}"}
        message["tool_calls"] = [{"id": call.text("id") or call_id, "type": "function", "function": called}]
        call.keep("origin", "responses_item_id")
        return Item("action", event_id, record, message, record.label("llm_response_id"))
    if kind in ("ObservationEvent", "UserRejectObservation", "AgentErrorEvent"):
        return _sdk_result(record, event_id, kind)
    if kind == "Condensation":
        forgotten = frozenset(map(str, sequence(record.take("forgotten_event_ids"), "forgotten_event_ids")))
        return Item("condensation", event_id, record, forgotten=forgotten)
    types: dict[str, ItemType] = {"TokenEvent": "tokens", "ConversationErrorEvent": "error"}
    return Item(types.get(kind or "", "other"), event_id, record)


def _sdk_message(record: Record, event_id: str) -> Item:
    said = record.record("llm_message")
    role = said.text("role") or "user"
    parts = [*_parts_of(said), *record.records("extended_content")]
    message: Message = {"role": role, "content": _content(parts)}
    for key in ("tool_calls", "tool_call_id", "name"):
        said.has_read(*([key] if said.source.get(key) in _EMPTY else []))
    if role != "assistant":
        return Item("message", event_id, record, message)
    _add_reasoning(message, said)
    response_id = record.label("llm_response_id")
    return Item("action", event_id, record, message, response_id)


def _parts_of(said: Record) -> list[Record]:
    if type(said.source.get("content")) is str:
        return [Record({"text": said.take("content")}, said.where, said.losses)]
    return said.records("content")


def _sdk_result(record: Record, event_id: str, kind: str) -> Item:
    observation = record.record("observation")
    error: str | None = None
    if kind == "AgentErrorEvent":
        error = record.text("error")
        content: Any = error
    elif kind == "UserRejectObservation":
        error = record.text("rejection_reason")
        content = f"Action rejected: {error}"
    else:
        parts = observation.records("content") if type(observation.source.get("content")) is list else []
        content = _content([*parts, *record.records("extended_content")])
        if content is None:
            content = observation.text("content") or observation.text("output") or ""
        if observation.flag("is_error"):
            error = content if type(content) is str else canonical_text(content)
        observation.keep("kind", "command", "metadata", "timeout")
    call_id, name = record.text("tool_call_id"), record.text("tool_name")
    code = observation.integer("exit_code")
    metadata = observation.record("metadata")
    code = metadata.integer("exit_code") if code is None else code
    message: Message = {"role": "tool", "content": content, "tool_call_id": call_id}
    result = {"tool_call_id": call_id, "tool_name": name, "error": error, "return_code": code}
    return Item("result", event_id, record, message, result=result)


def _add_reasoning(message: Message, record: Record) -> None:
    reasoning = record.text("reasoning_content")
    if reasoning:
        message["reasoning_content"] = reasoning
    if record.source.get("thinking_blocks"):
        message["thinking_blocks"] = sequence(record.source["thinking_blocks"], "thinking_blocks")
    record.has_read("thinking_blocks")
    item = record.source.get("responses_reasoning_item")
    if item is not None:
        message["reasoning_details"] = [mapping(item, "responses_reasoning_item")]
    record.has_read("responses_reasoning_item")


def _content(parts: list[Record]) -> Any:
    """Text if there is one part of it, else the parts in OpenAI's shape; null for none."""
    found: list[dict[str, Any]] = []
    for part in parts:
        part.drop(_CACHE_MARK, "cache_prompt")
        urls = part.source.get("image_urls")
        if type(urls) is list:
            part.has_read("type", "image_urls")
            found += [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        else:
            part.has_read("type")
            found.append({"type": "text", "text": part.text("text") or ""})
    if not found:
        return None
    return found[0]["text"] if len(found) == 1 and "text" in found[0] else found


def _old_item(record: Record, event_id: str) -> Item:
    record.keep("source", "message", "llm_metrics", "cause", "success", "timeout", "hidden")
    args = record.record("args")
    args.keep("image_urls", "file_urls", "wait_for_response", "is_input", "confirmation_state", "blocking")
    args.keep("security_risk", "thought", "command", "path", "hidden", "cwd", "is_static")
    args.keep("final_thought", "task_completed", "outputs")
    kind = record.text("action")
    if kind == "system":
        args.keep("openhands_version", "agent_class")
        message: Message = {"role": "system", "content": args.text("content")}
        return Item("message", event_id, record, message, tools=args.take("tools"))
    if kind == "condensation":
        forgotten = _old_forgotten(args)
        return Item("condensation", event_id, record, forgotten=forgotten)
    by_agent = record.source.get("source") == "agent"
    if kind == "message" and not by_agent:
        return Item("message", event_id, record, {"role": "user", "content": args.text("content")})
    metadata = record.record("tool_call_metadata")
    metadata.keep("total_calls_in_response")
    call_id, name = metadata.text("tool_call_id"), metadata.text("function_name")
    if kind is None:
        return _old_result(record, event_id, call_id, name)
    response = metadata.record("model_response")
    if not by_agent or (kind != "message" and not metadata.source and kind in _NOT_SAID):
        return Item("other", event_id, record)
    message = _old_action(args, response, kind, call_id, name)
    response_id = response.source.get("id")
    return Item(
        "action", event_id, record, message, response_id if type(response_id) is str else None, response
    )


# Actions of the agent's controller and not of the model.
_NOT_SAID = ("change_agent_state", "recall", "null", "condensation_request")


def _old_forgotten(args: Record) -> frozenset[str]:
    listed = args.take("forgotten_event_ids")
    if listed is not None:
        return frozenset(map(str, sequence(listed, "forgotten_event_ids")))
    start, end = args.integer("forgotten_events_start_id"), args.integer("forgotten_events_end_id")
    if start is None or end is None or not 0 <= end - start < 1_000_000:
        return frozenset()
    return frozenset(map(str, range(start, end + 1)))


def _old_action(args: Record, response: Record, kind: str, call_id: str | None, name: str | None) -> Message:
    """The part of a reply that one event has. The reply itself is in the response, if it was recorded."""
    choices = response.source.get("choices")
    said = mapping(mapping(choices[0], "choices[]").get("message"), "message") if choices else {}
    content = said.get("content") if said else args.source.get("thought") or args.source.get("content")
    message: Message = {"role": "assistant", "content": content if type(content) is str else None}
    if type(said.get("reasoning_content")) is str:
        message["reasoning_content"] = said["reasoning_content"]
    args.has_read(*(["content"] if kind == "message" else []))
    if call_id is not None:
        arguments = next(
            (
                call["function"]["arguments"]
                for call in said.get("tool_calls") or []
                if call.get("id") == call_id
            ),
            canonical_text(args.source),
        )
        function = {"name": name, "arguments": arguments}
        message["tool_calls"] = [{"id": call_id, "type": "function", "function": function}]
    elif kind != "message" and not said:
        function = {"name": kind, "arguments": canonical_text(args.source)}
        message["tool_calls"] = [{"id": None, "type": "function", "function": function}]
    return message


def _old_result(record: Record, event_id: str, call_id: str | None, name: str | None) -> Item:
    observation = record.text("observation")
    if observation == "recall":
        record.note("context that a recall added to the prompt is not recorded as the model saw it")
    if observation in ("agent_state_changed", "recall", "null", None):
        record.keep("content", "extras", "observation")
        return Item("other", event_id, record)
    extras = record.record("extras")
    content = record.text("content") or ""
    metadata = extras.record("metadata")
    metadata.keep("pid", "username", "hostname", "working_dir", "py_interpreter_path", "prefix", "suffix")
    record.record("tool_call_metadata").drop("as in the action", "model_response")
    code = metadata.integer("exit_code")
    result = {
        "tool_call_id": call_id,
        "tool_name": name or observation,
        "error": content if observation == "error" else None,
        "return_code": extras.integer("exit_code") if code is None else code,
    }
    extras.keep("command", "metadata", "path", "command_id", "hidden")
    if call_id is None and record.source.get("source") == "user":
        return Item("message", event_id, record, {"role": "user", "content": content})
    message: Message = {"role": "tool", "content": content, "tool_call_id": call_id}
    return Item("result", event_id, record, message, result=result)


def replies(items: list[Item]) -> Iterator[tuple[str, list[Item]]]:
    """The id of each reply's first event, with all events from it to the next reply."""
    first: Item | None = None
    found: list[Item] = []
    for item in items:
        if item.type == "action" and (
            first is None or first.response_id is None or item.response_id != first.response_id
        ):
            if first is not None:
                yield first.id, found
            first, found = item, []
        found.append(item)
    if first is not None:
        yield first.id, found


def tokens_by_reply(items: list[Item]) -> dict[str, Record]:
    """The first token ids after each reply, by the id of its first event."""
    found: dict[str, Record] = {}
    for event_id, events in replies(items):
        tokens = next((item.record for item in events if item.type == "tokens"), None)
        if tokens is not None:
            found[event_id] = tokens
    return found


def unfinished_reply(items: list[Item], tokens: dict[str, Record]) -> str | None:
    """The last reply, if more of it may follow: its calls have no result, or its token ids are missing."""
    last = next(reversed(list(replies(items))), None)
    if last is None:
        return None
    event_id, events = last
    actions = [item for item in events if item.type == "action"]
    has_calls = any((item.message or {}).get("tool_calls") for item in actions)
    is_answered = len(actions) < len(events) or any(is_finish(item) for item in actions)
    metadata = as_object(actions[0].record.source.get("tool_call_metadata"))
    call_count = metadata.get("total_calls_in_response")
    # Before the SDK each action waited for the result of the one before it.
    has_all = is_answered or not has_calls if type(call_count) is not int else call_count <= len(actions)
    is_whole = has_all and (not tokens or event_id in tokens)
    return None if is_whole else event_id


def is_finish(item: Item) -> bool:
    source = item.record.source
    return source.get("tool_name") == "finish" or source.get("action") == "finish"
