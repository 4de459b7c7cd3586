"""Spans of OpenTelemetry as OTLP writes them in JSON, and the chat messages in their attributes and events.

**Messages are read in each of the conventions**: `gen_ai.input.messages` with parts, as JSON text or values;
one event for each message; one attribute for each field of a message (`gen_ai.prompt.0.content`).
**Text that ends in the middle of its JSON was cut off by an exporter**: it counts as not recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from tracelake.producers.importers.conversion.chat import chat_call
from tracelake.producers.importers.conversion.fields import mapping, sequence
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.importer import as_object
from tracelake.producers.importers.losses import Losses
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message

_SCALARS = ("stringValue", "boolValue", "doubleValue", "bytesValue")
_FLAT = re.compile(r"gen_ai\.(prompt|completion)\.(\d{1,4})\.(.+)")
_FLAT_CALL = re.compile(r"tool_calls\.(\d{1,4})\.(id|name|arguments)")
_MESSAGE_EVENT = re.compile(r"gen_ai\.(system|user|assistant|tool)\.message")
DEPTH_MAX = 50
NOT_READ = "attributes_not_read"


@dataclass
class Span:
    """One span with its attributes and events as values."""

    id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    record: Record
    attributes: Record
    events: list[tuple[Record, Record]]
    """(event, its attributes)."""


@dataclass
class Trace:
    """All spans of a source with one trace id."""

    id: str
    position: int
    losses: Losses = field(default_factory=Losses)
    spans: list[Span] = field(default_factory=list)
    levels: dict[int, Record] = field(default_factory=dict)
    """The objects that contain the spans, by their identity in memory."""
    resource: dict[str, Any] = field(default_factory=dict)
    """Attributes of the first span's resource."""


def add_spans(traces: dict[str, Trace], position: int, document: dict[str, Any]) -> None:
    """Sort the spans of one export into their traces. Raises SourceFormatError for another shape."""
    for resource_spans in _objects(document.get("resourceSpans"), "resourceSpans"):
        key = "scopeSpans" if "scopeSpans" in resource_spans else "instrumentationLibrarySpans"
        for scope_spans in _objects(resource_spans.get(key), key):
            for span in _objects(scope_spans.get("spans"), "spans"):
                trace_id = span.get("traceId")
                name = trace_id if type(trace_id) is str and trace_id else ""
                trace = traces.setdefault(name, Trace(name, position))
                _add_levels(trace, document, resource_spans, scope_spans, key)
                trace.spans.append(_span(span, trace.losses))


def _add_levels(trace: Trace, document: Any, resource_spans: Any, scope_spans: Any, key: str) -> None:
    for value, where, inner in (
        (document, "$", "resourceSpans"),
        (resource_spans, "$.resourceSpans[]", key),
        (scope_spans, "$.resourceSpans[].scopeSpans[]", "spans"),
    ):
        if id(value) in trace.levels:
            continue
        level = trace.levels[id(value)] = Record(value, where, trace.losses)
        level.has_read(inner)
        level.keep("scope", "schemaUrl")
        if value is resource_spans:
            resource = level.record("resource")
            resource.keep("droppedAttributesCount")
            attributes = _attributes(resource)
            if not trace.resource:
                trace.resource = {key: value for key, value in attributes.source.items() if key != NOT_READ}
                attributes.has_read(*trace.resource)
            unread = attributes.rest()
            if unread:
                resource.add_rest("attributes", unread)


def _span(source: dict[str, Any], losses: Losses) -> Span:
    record = Record(source, "span", losses)
    record.keep("kind", "flags", "traceState", "links", "droppedEventsCount", "droppedLinksCount", "name")
    if source.get("droppedAttributesCount"):
        record.note("an exporter dropped attributes of spans")
    record.keep("droppedAttributesCount")
    record.has_read("traceId")
    events = record.records("events")
    return Span(
        record.label("spanId") or "",
        record.label("parentSpanId") or None,
        _nanoseconds(record, "startTimeUnixNano"),
        _nanoseconds(record, "endTimeUnixNano"),
        record,
        _attributes(record),
        [(event, _attributes(event)) for event in events],
    )


def _nanoseconds(record: Record, key: str) -> int:
    """64-bit integers are text in OTLP's JSON; 0 if it is missing."""
    value = record.source.get(key)
    if type(value) is str and value.isdecimal() and len(value) < 20:
        record.has_read(key)
        return int(value)
    return record.integer(key) or 0


def _attributes(holder: Record) -> Record:
    """Those of an object as one record. What is not of OTLP's shape is among them under a name of its own."""
    values: dict[str, Any] = {}
    odd: list[Any] = []
    for item in sequence(holder.take("attributes"), "attributes"):
        try:
            attribute = mapping(item, "attributes[]")
            if attribute.keys() != {"key", "value"} or type(attribute["key"]) is not str:
                raise SourceFormatError("not an attribute")
            values[attribute["key"]] = _value(attribute["value"])
        except SourceFormatError:
            odd.append(item)
    if odd:
        values[NOT_READ] = odd
    return Record(values, f"{holder.where}.attributes", holder.losses)


def _value(value: Any, depth: int = 0) -> Any:
    """An AnyValue. Raises SourceFormatError for another shape."""
    found = mapping(value, "value")
    if not found:
        return None
    if len(found) != 1 or depth > DEPTH_MAX:
        raise SourceFormatError("not one value", got=", ".join(sorted(found))[:100])
    [(kind, inner)] = found.items()
    if kind in _SCALARS:
        return inner
    if kind == "intValue":
        return (
            int(inner) if type(inner) is str and inner.lstrip("-").isdecimal() and len(inner) < 20 else inner
        )
    values = mapping(inner, kind)
    if not values.keys() <= {"values"}:
        raise SourceFormatError("not a list of values", got=", ".join(sorted(values))[:100])
    items = sequence(values.get("values"), kind)
    if kind == "arrayValue":
        return [_value(item, depth + 1) for item in items]
    if kind == "kvlistValue":
        pairs: dict[str, Any] = {}
        for item in items:
            pair = mapping(item, kind)
            if pair.keys() != {"key", "value"} or type(pair["key"]) is not str:
                raise SourceFormatError("not a pair")
            pairs[pair["key"]] = _value(pair["value"], depth + 1)
        return pairs
    raise SourceFormatError("a value of another type", got=kind[:100])


def _objects(value: Any, where: str) -> Iterator[dict[str, Any]]:
    return (mapping(item, where) for item in sequence(value, where))


def json_value(value: Any) -> Any:
    """An attribute that may be JSON text. Raises SourceFormatError for text that was cut off."""
    if type(value) is not str or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise SourceFormatError(
            "JSON text that was cut off", got=f"{len(value)} characters", cure="Raise the exporter's limit."
        ) from error


def exchange_of(span: Span) -> tuple[list[Message], Message | None]:
    """The messages of a call's prompt and its reply, null if it was not recorded. Raises SourceFormatError
    for content that was cut off."""
    sources = [span.attributes, *(attributes for _, attributes in span.events)]
    context: list[Message] = []
    reply: Message | None = None
    for source in sources:
        system = json_value(source.take("gen_ai.system_instructions"))
        if system:
            parts = system if type(system) is list else [{"type": "text", "content": system}]
            context += _from_parts("system", parts)
        for message in sequence(json_value(source.take("gen_ai.input.messages")), "gen_ai.input.messages"):
            context += _message(mapping(message, "gen_ai.input.messages[]"))
        outputs = sequence(json_value(source.take("gen_ai.output.messages")), "gen_ai.output.messages")
        if outputs:
            reply = next(iter(_message(mapping(outputs[0], "gen_ai.output.messages[]"), "assistant")), None)
    if not context and reply is None:
        context, reply = _from_events(span)
    if not context and reply is None:
        context, reply = _from_flat(span.attributes)
    return context, reply


def _message(message: dict[str, Any], role: str = "user") -> list[Message]:
    role = str(message.get("role") or role)
    if type(message.get("parts")) is list:
        return _from_parts(role, message["parts"])
    found: Message = {"role": role, "content": _text(message.get("content"))}
    calls = sequence(json_value(message.get("tool_calls")), "tool_calls")
    if calls and role == "assistant":
        found["tool_calls"] = [chat_call(call) for call in calls]
    call_id = message.get("tool_call_id") or message.get("id")
    if role == "tool" and type(call_id) is str:
        found["tool_call_id"] = call_id
    return [found]


def _from_parts(role: str, parts: list[Any]) -> list[Message]:
    content: list[Any] = []
    calls: list[Message] = []
    results: list[Message] = []
    reasoning: list[str] = []
    for part in parts:
        item = {"type": "text", "content": part} if type(part) is str else mapping(part, "parts[]")
        kind = item.get("type")
        if kind == "text":
            content.append({"type": "text", "text": _text(item.get("content", item.get("text"))) or ""})
        elif kind == "reasoning":
            reasoning.append(_text(item.get("content")) or "")
        elif kind == "tool_call":
            calls.append(chat_call({key: item.get(key) for key in ("id", "name", "arguments")}))
        elif kind == "tool_call_response":
            said = _text(item.get("response", item.get("result")))
            results.append({"role": "tool", "content": said, "tool_call_id": item.get("id")})
        else:
            content.append(item)
    if results and not content and not calls:
        return results
    is_text = len(content) == 1 and "text" in content[0]
    message: Message = {"role": role, "content": content[0]["text"] if is_text else content or None}
    if calls:
        message["tool_calls"] = calls
    if reasoning:
        message["reasoning_content"] = "\n".join(reasoning)
    return [*results, message]


def _from_events(span: Span) -> tuple[list[Message], Message | None]:
    context: list[Message] = []
    reply: Message | None = None
    for event, attributes in span.events:
        name = event.source.get("name")
        found = _MESSAGE_EVENT.fullmatch(name) if type(name) is str else None
        if found:
            attributes.has_read("content", "role", "tool_calls", "id", "gen_ai.event.content")
            body = as_object(json_value(attributes.source.get("gen_ai.event.content")))
            context += _message({"role": found[1], **attributes.source, **body}, found[1])
        elif name == "gen_ai.choice" and reply is None:
            attributes.keep("index")
            attributes.has_read("message", "content", "role", "tool_calls", "finish_reason")
            said = json_value(attributes.source.get("message"))
            said = {"content": said} if type(said) is str else as_object(said)
            reply = _message({**attributes.source, **said, "role": "assistant"})[0]
        elif name == "gen_ai.content.prompt":
            prompt = json_value(attributes.take("gen_ai.prompt"))
            for message in prompt if type(prompt) is list else [{"role": "user", "content": prompt}]:
                context += _message(mapping(message, "gen_ai.prompt[]"))
        elif name == "gen_ai.content.completion":
            said = json_value(attributes.take("gen_ai.completion"))
            said = said[0] if type(said) is list and said else {"content": said}
            reply = _message({**mapping(said, "gen_ai.completion[]"), "role": "assistant"})[0]
    return context, reply


def _from_flat(attributes: Record) -> tuple[list[Message], Message | None]:
    """One attribute for each field: `gen_ai.prompt.0.tool_calls.1.name`."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for key, value in attributes.source.items():
        match = _FLAT.fullmatch(key)
        if match is None:
            continue
        attributes.has_read(key)
        message = found.setdefault((match[1], int(match[2])), {})
        call = _FLAT_CALL.fullmatch(match[3])
        if call is None:
            message[match[3]] = value
        else:
            message.setdefault("calls", {}).setdefault(int(call[1]), {})[call[2]] = value
    for message in found.values():
        calls = message.pop("calls", {})
        if calls:
            message["tool_calls"] = [calls[index] for index in sorted(calls)]
    prompts = [found[key] for key in sorted(found) if key[0] == "prompt"]
    context = [each for message in prompts for each in _message(message)]
    said = found.get(("completion", 0))
    return context, None if said is None else _message({**said, "role": "assistant"})[0]


def _text(value: Any) -> str | None:
    return value if value is None or type(value) is str else canonical_text(value)
