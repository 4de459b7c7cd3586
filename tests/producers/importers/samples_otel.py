"""GenAI spans as OTLP JSON, in the present convention and in two old ones."""

from __future__ import annotations

import json
from typing import Any

TRACE = "5b8efff798038103d269b633813fc60c"
SECOND = 1_780_000_000


def value_of(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [value_of(item) for item in value]}}
    return {"stringValue": value}


def attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value_of(value)} for key, value in values.items()]


def span(number: int, name: str, values: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "spanId": f"{number:016x}",
        "parentSpanId": f"{1:016x}",
        "name": name,
        "kind": 3,
        "startTimeUnixNano": f"{SECOND + number}000000000",
        "endTimeUnixNano": f"{SECOND + number}500000000",
        "attributes": attributes(values),
        "events": [],
        "status": {},
        **more,
    }


def event(name: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "timeUnixNano": f"{SECOND}000000000", "attributes": attributes(values)}


def export(*spans: dict[str, Any]) -> dict[str, Any]:
    resource = {"attributes": attributes({"service.name": "shop-agent"})}
    scope = {"name": "opentelemetry.instrumentation.openai_v2", "version": "2.1"}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": [*spans]}]}]}


def text_message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": content}]}


def chat(number: int, messages: list[Any], output: dict[str, Any], reason: str) -> dict[str, Any]:
    return span(
        number,
        "chat gpt-4o",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.request.temperature": 0.5,
            "gen_ai.response.model": "gpt-4o-2024",
            "gen_ai.response.id": f"resp-{number}",
            "gen_ai.response.finish_reasons": [reason],
            "gen_ai.usage.input_tokens": 20,
            "gen_ai.usage.output_tokens": 5,
            "gen_ai.usage.cache_read.input_tokens": 8,
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "You sell."}]),
            "gen_ai.input.messages": json.dumps(messages),
            "gen_ai.output.messages": json.dumps([{**output, "finish_reason": reason}]),
            "gen_ai.tool.definitions": json.dumps([{"type": "function", "name": "price"}]),
        },
    )


def agent_trace() -> dict[str, Any]:
    """An agent with two calls of a model and a tool between them."""
    question = text_message("user", "What is a boat?")
    asked = {"type": "tool_call", "id": "c1", "name": "price", "arguments": {"item": "boat"}}
    thought = {"type": "reasoning", "content": "Hm."}
    called = {"role": "assistant", "parts": [asked]}
    result = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "9 coins"}]}
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "price",
        "gen_ai.tool.call.id": "c1",
        "gen_ai.tool.call.result": '{"price": 9}',
    }
    score = {"gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.value": 0.5}
    answer = chat(4, [question, called, result], text_message("assistant", "9 coins."), "stop")
    answer["events"] = [event("gen_ai.evaluation.result", score)]
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "seller"}
    root = span(1, "invoke_agent seller", agent, endTimeUnixNano=f"{SECOND + 9}000000000")
    del root["parentSpanId"]
    first = chat(2, [question], {"role": "assistant", "parts": [thought, asked]}, "tool_calls")
    return export(first, span(3, "execute_tool price", tool), answer, root)


def event_trace() -> dict[str, Any]:
    """The convention of 2024: one event for each message."""
    call = {"id": "c1", "type": "function", "function": {"name": "price", "arguments": "{}"}}
    events = [
        event("gen_ai.system.message", {"content": "You sell."}),
        event("gen_ai.user.message", {"content": "What is a boat?"}),
        event("gen_ai.choice", {"index": 0, "finish_reason": "tool_calls", "tool_calls": json.dumps([call])}),
    ]
    values = {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.prompt_tokens": 7}
    return export(span(2, "chat gpt-4o", values, events=events))


def flat_trace() -> dict[str, Any]:
    """One attribute for each field of a message."""
    values = {
        "gen_ai.system": "OpenAI",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.completion_tokens": 3,
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "What is a boat?",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.finish_reason": "tool_calls",
        "gen_ai.completion.0.tool_calls.0.id": "c1",
        "gen_ai.completion.0.tool_calls.0.name": "price",
        "gen_ai.completion.0.tool_calls.0.arguments": "{}",
    }
    return export(span(2, "openai.chat", values))
