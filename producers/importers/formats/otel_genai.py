"""OpenTelemetry's GenAI spans as OTLP JSON: a document, or one export on each line.

Flow: exports → traces → spans that call a model, in the order in which they ended → turns and tool results →
evaluations → RolloutEnded.

**A trace is one rollout.** It may still grow, hence nothing at its start comes from spans that end last, such
as that of the agent.
**A call whose messages were not recorded is no turn**: its state is unknown. Recording them is off by
default; a trace without any is refused. Such calls are listed with the end.
**A result is what a later call was given**; the span of the tool adds the raw output and the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tracelake.producers.importers.conversion.chat import call_names, result_text, tools_text
from tracelake.producers.importers.conversion.fields import mapping, without_secrets
from tracelake.producers.importers.conversion.model_response import finish_fields
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.rollout_builder import Ending
from tracelake.producers.importers.conversion.tree_rollout import Call, TreeRollout
from tracelake.producers.importers.formats.otel_spans import Span, Trace, add_spans, exchange_of, json_value
from tracelake.producers.importers.identity import Identities
from tracelake.producers.importers.importer import (
    SHAPE_ERRORS,
    ImportedRollout,
    Importer,
    ImportOptions,
    Refusal,
    as_object,
    refusal_of,
)
from tracelake.producers.importers.source import Source
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message, content_text, tools_key

FORMAT = "otel-genai"
CALLS = ("chat", "text_completion", "generate_content")
_REQUEST = "gen_ai.request."
_UNMAPPED = (
    "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.system", "gen_ai.conversation.id",
    "gen_ai.agent.name", "gen_ai.agent.id", "gen_ai.agent.version", "gen_ai.agent.description",
    "server.address", "server.port", "gen_ai.output.type", "gen_ai.usage.cache_creation.input_tokens",
    "error.type", "gen_ai.workflow.name", "gen_ai.response.time_to_first_chunk", "gen_ai.prompt.name",
)  # fmt: skip


def claims(source: Source) -> bool:
    for export in _list(source.first, "resourceSpans"):
        for scope in (*_list(export, "scopeSpans"), *_list(export, "instrumentationLibrarySpans")):
            for span in _list(scope, "spans"):
                for attribute in _list(span, "attributes"):
                    if str(as_object(attribute).get("key")).startswith("gen_ai."):
                        return True
    return False


def _list(value: Any, key: str) -> list[Any]:
    found = as_object(value).get(key)
    return found if type(found) is list else []


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    identities = Identities("otel", source, options)
    traces: dict[str, Trace] = {}
    for record in source.records():
        try:
            if record.error is not None:
                raise record.error
            add_spans(traces, record.position, mapping(record.value, "export"))
        except SHAPE_ERRORS as error:
            yield refusal_of(error, line=record.position, data=record.data, format=FORMAT)
    for trace in traces.values():
        if not any(str(key).startswith("gen_ai.") for span in trace.spans for key in span.attributes.source):
            # Other parts of the application are traced too.
            continue
        try:
            yield _imported(identities, options, trace)
        except SHAPE_ERRORS as error:
            yield refusal_of(error, line=trace.position, format=FORMAT)


def _imported(identities: Identities, options: ImportOptions, trace: Trace) -> ImportedRollout:
    calls = sorted((span for span in trace.spans if _is_call(span)), key=lambda span: (span.end_ns, span.id))
    exchanges: list[tuple[Span, list[Message], Message]] = []
    silent: list[Span] = []
    for span in calls:
        try:
            context, reply = exchange_of(span)
        except SourceFormatError as error:
            span.record.note(str(error))
            context, reply = [], None
        if context and reply is not None:
            exchanges.append((span, context, reply))
        else:
            silent.append(span)
    if not exchanges:
        raise SourceFormatError(
            "a trace without the messages of any call",
            got=f"{len(calls)} calls of a model in {len(trace.spans)} spans",
            expected="gen_ai.input.messages and gen_ai.output.messages",
            cure="Let the instrumentation record the content of messages, and raise the exporter's limits.",
        )
    first, context, _ = exchanges[0]
    environment = trace.resource.get("service.name")
    environment = environment if type(environment) is str and environment else FORMAT
    identity = identities.own(environment, trace.id) if trace.id else identities.content(environment, context)
    tools_json = tools_text(json_value(first.attributes.source.get("gen_ai.tool.definitions")))
    rollout = TreeRollout(identity, trace.losses, tools_json, trace.position)
    question = next((content_text(each["content"]) for each in context if each["role"] == "user"), "")
    sampling = _sampling(first)
    model = first.attributes.source.get("gen_ai.request.model")
    conversation = first.attributes.source.get("gen_ai.conversation.id")
    rollout.start(
        occurred_at=_time(first.start_ns),
        task_key=f"{environment}:{hash_of(question)[:16]}",
        environment=environment,
        substrate=_text(first.attributes.source.get("gen_ai.agent.name")) or FORMAT,
        source_run=options.run,
        group_id=None,
        model_requested=_text(model),
        tools_json=tools_json,
        tools_key=tools_key(tools_json),
        sampling_json=canonical_text(sampling) if sampling else None,
        task_json=canonical_text({"question": question}),
        config_json=canonical_text(
            without_secrets({"resource": trace.resource, "conversation": _text(conversation)})
        ),
    )
    tools = {
        str(span.attributes.source.get("gen_ai.tool.call.id")): span
        for span in trace.spans
        if _operation(span) == "execute_tool"
    }
    for span, messages, reply in exchanges:
        _add_turn(rollout, span, messages, reply, sampling, tools)
    return _end(rollout, trace, [span for span, _, _ in exchanges], silent, tools)


def _operation(span: Span) -> str:
    named = span.attributes.source.get("gen_ai.operation.name")
    return named if type(named) is str else ""


def _is_call(span: Span) -> bool:
    """Emitters of old conventions do not name the operation."""
    source = span.attributes.source
    if _operation(span):
        return _operation(span) in CALLS
    return "gen_ai.request.model" in source or "gen_ai.response.model" in source


def _add_turn(
    rollout: TreeRollout,
    span: Span,
    context: list[Message],
    reply: Message,
    sampling: dict[str, Any],
    tools: dict[str, Span],
) -> None:
    for message in context:
        call_id = message.get("tool_call_id")
        call = rollout.calls.get(str(call_id)) if message["role"] == "tool" else None
        if call is not None and not rollout.has_result(call.turn_index, call_id):
            _add_result(rollout, call, str(call_id), result_text(message), tools.get(str(call_id)))
    turn_index = rollout.turn_count
    fields = _turn_fields(span, sampling)
    for event, attributes in span.events:
        _add_evaluation(rollout, event, attributes, turn_index)
    rests = _rests(span)
    holder = Record(rests, "$", span.record.losses)
    holder.keep(*rests)
    rollout.add_turn_at(context, reply, fields, holder)
    for call_id, name in call_names(reply).items():
        rollout.calls[call_id] = Call(turn_index, name)


def _add_result(
    rollout: TreeRollout, call: Call, call_id: str, visible: str | None, span: Span | None
) -> None:
    fields: dict[str, Any] = {
        "tool_call_id": call_id,
        "tool_name": call.tool_name,
        "visible_output": visible,
    }
    records: list[Record] = []
    if span is not None:
        attributes, status = span.attributes, span.record.record("status")
        result = attributes.take("gen_ai.tool.call.result")
        raw = result if result is None or type(result) is str else canonical_text(result)
        failed = status.take("code") in (2, "STATUS_CODE_ERROR")
        attributes.has_read("gen_ai.tool.call.id", "gen_ai.operation.name", "gen_ai.tool.name")
        attributes.keep("gen_ai.tool.call.arguments", "gen_ai.tool.type", *_UNMAPPED)
        attributes.keep("gen_ai.tool.description")
        said = status.text("message")
        fields |= {
            "raw_output": raw,
            "error": said or _text(attributes.source.get("error.type")) or "error" if failed else None,
            "duration_ms": _duration_ms(span),
            "occurred_at": _time(span.end_ns),
        }
        rests = _rests(span)
        holder = Record(rests, "$", span.record.losses)
        holder.keep(*rests)
        records.append(holder)
    rollout.add_result_of(call.turn_index, fields, *records)


def _turn_fields(span: Span, sampling: dict[str, Any]) -> dict[str, Any]:
    attributes = span.attributes
    reasons = attributes.take("gen_ai.response.finish_reasons")
    reason = _text(reasons[0]) if type(reasons) is list and reasons else _text(reasons)
    model = attributes.text("gen_ai.request.model")
    if _sampling(span) == sampling:
        attributes.has_read(*(key for key in attributes.source if key.startswith(_REQUEST)))
    attributes.keep(*_UNMAPPED, *(key for key in attributes.source if key.startswith(_REQUEST)))
    attributes.has_read("gen_ai.tool.definitions")
    prompt, completion = "gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens"
    input_count = attributes.integer("gen_ai.usage.input_tokens")
    output_count = attributes.integer("gen_ai.usage.output_tokens")
    old_input, old_output = attributes.integer(prompt), attributes.integer(completion)
    return {
        "occurred_at": _time(span.end_ns),
        "model_requested": model,
        "model_served": attributes.text("gen_ai.response.model"),
        "response_id": attributes.text("gen_ai.response.id"),
        "system_fingerprint": attributes.text("gen_ai.openai.response.system_fingerprint"),
        **finish_fields(reason),
        "prompt_token_count": old_input if input_count is None else input_count,
        "cached_token_count": attributes.integer("gen_ai.usage.cache_read.input_tokens"),
        "completion_token_count": old_output if output_count is None else output_count,
        "reasoning_token_count": attributes.integer("gen_ai.usage.reasoning.output_tokens"),
        "latency_ms": _duration_ms(span),
    }


def _sampling(span: Span) -> dict[str, Any]:
    source = span.attributes.source
    return {
        key.removeprefix(_REQUEST): value
        for key, value in source.items()
        if key.startswith(_REQUEST) and key != f"{_REQUEST}model"
    }


def _rests(span: Span) -> dict[str, Any]:
    """What is left of a span, its attributes and its events."""
    for event, _ in span.events:
        event.keep("name", "timeUnixNano", "droppedAttributesCount")
        if str(event.source.get("name")).startswith("gen_ai."):
            event.has_read("name", "timeUnixNano")
    events = {str(index): rest for index, (_, each) in enumerate(span.events) if (rest := each.rest())}
    span.record.keep("status")
    found = {"span": span.record.rest(), "attributes": span.attributes.rest(), "event_attributes": events}
    return {key: value for key, value in found.items() if value}


def _add_evaluation(rollout: TreeRollout, event: Record, attributes: Record, turn: int | None) -> None:
    name = attributes.source.get("gen_ai.evaluation.name")
    if event.source.get("name") != "gen_ai.evaluation.result" or type(name) is not str:
        return
    score = attributes.number("gen_ai.evaluation.score.value")
    details = canonical_text(attributes.take_all())
    rollout.add_reward(name, score, FORMAT, turn_index=turn, details_json=details)


def _end(
    rollout: TreeRollout, trace: Trace, turns: list[Span], silent: list[Span], tools: dict[str, Span]
) -> ImportedRollout:
    is_whole = any(span.parent_id is None for span in trace.spans)
    if is_whole:
        for call_id, call in rollout.calls.items():
            if call_id in tools and not rollout.has_result(call.turn_index, call_id):
                _add_result(rollout, call, call_id, None, tools[call_id])
    used = {id(span) for span in turns}
    used |= {
        id(tools[call_id])
        for call_id, call in rollout.calls.items()
        if call_id in tools and rollout.has_result(call.turn_index, call_id)
    }
    others: list[dict[str, Any]] = []
    error: str | None = None
    for span in trace.spans:
        status = as_object(span.record.source.get("status"))
        if status.get("code") in (2, "STATUS_CODE_ERROR") and (span.parent_id is None or span in silent):
            error = _text(status.get("message")) or _text(span.attributes.source.get("error.type")) or "error"
        if id(span) in used:
            continue
        for event, attributes in span.events:
            _add_evaluation(rollout, event, attributes, None)
        others.append({**span.record.take_all(), "attributes": span.attributes.take_all()})
    if silent:
        rollout_note = "calls without recorded messages are no turns"
        silent[0].record.losses.notes[rollout_note] += len(silent)
    stop = "error" if error else "completed" if is_whole else "unfinished"
    start, end = min(span.start_ns for span in trace.spans), max(span.end_ns for span in trace.spans)
    return rollout.end(
        Ending(stop, None),
        *trace.levels.values(),
        recording_length=len(trace.spans),
        metrics={"other_spans": others} if others else {},
        error=error,
        duration_ms=(end - start) / 1e6 if is_whole and end >= start > 0 else None,
    )


def _text(value: Any) -> str | None:
    return value if type(value) is str else None


def _time(nanoseconds: int) -> datetime | None:
    seconds = nanoseconds / 1e9
    return datetime.fromtimestamp(seconds, UTC) if 0 < seconds < 253402300799 else None


def _duration_ms(span: Span) -> float | None:
    return (span.end_ns - span.start_ns) / 1e6 if span.end_ns >= span.start_ns > 0 else None


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "messages, unless the instrumentation was set to record them",
        "cost",
        "token ids and logprobs",
        "reward, unless evaluations were recorded",
        "what an exporter cut off",
    ),
)
