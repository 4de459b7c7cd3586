"""Small logs of Inspect, as `.eval` zips and as one JSON document."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

LONG = "a very long question"


def inspect_log() -> dict[str, Any]:
    """One sample: a call of a tool, an answer, and a scorer that asks a model."""
    return {**_header(), "samples": [inspect_sample()]}


def inspect_log_of_2024() -> dict[str, Any]:
    """Without uuid: the transcript has its own contents, and a call is within a scorer's step."""
    sample = inspect_sample()
    for key in ("uuid", "message_pool", "events", "attachments"):
        del sample[key]
    begin = {"event": "step", "action": "begin", "type": "scorer", "name": "graded", "timestamp": _at(3)}
    answer = {"role": "assistant", "content": "tc://longer"}
    call = {**_call(answer, 1), "input": [{"role": "user", "content": "tc://long"}]}
    grading = {**_call({"role": "assistant", "content": "C"}, 2), "input": []}
    events = [call, begin, grading, {**begin, "action": "end"}]
    messages = [{"role": "user", "content": "tc://long"}, {"role": "assistant", "content": "tc://longer"}]
    content = {"long": LONG, "longer": f"{LONG}er", "unused": "what nobody refers to"}
    sample |= {"messages": messages, "transcript": {"events": events, "content": content}}
    return {**_header(), "samples": [sample]}


def inspect_log_without_transcript() -> dict[str, Any]:
    sample = inspect_sample()
    for key in ("events", "attachments", "message_pool"):
        del sample[key]
    sample["messages"][0]["content"] = LONG
    return {**_header(), "samples": [sample]}


def as_eval(log: Any) -> bytes:
    """The zip that Inspect writes for a log."""
    if not isinstance(log, dict):
        return json.dumps(log).encode("utf-8", "surrogatepass")
    file = io.BytesIO()
    samples = log.get("samples")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:

        def write(name: str, value: Any) -> None:
            # A fixed time: the same log has the same bytes.
            info = zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6))
            archive.writestr(info, json.dumps(value).encode("utf-8", "surrogatepass"))

        for index, sample in enumerate(samples if isinstance(samples, list) else []):
            write(f"samples/{index}_epoch_1.json", sample)
        write("summaries.json", [])
        write("header.json", {key: value for key, value in log.items() if key != "samples"})
    return file.getvalue()


def _header() -> dict[str, Any]:
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "run_id": "run-1",
            "created": "2025-05-12T20:28:26-04:00",
            "task": "doors",
            "task_id": "task-1",
            "task_version": 0,
            "task_args": {"hard": True},
            "model": "openai/gpt-4o-mini",
            "model_args": {},
            "dataset": {"samples": 1},
            "config": {"epochs": 1, "message_limit": 30},
            "packages": {"inspect_ai": "0.3.95"},
        },
        "plan": {
            "name": "plan",
            "steps": [{"solver": "generate", "params": {}}],
            "config": {"temperature": 0.5},
        },
        "results": {"total_samples": 1},
        "stats": {"started_at": "2025-05-12T20:28:26-04:00"},
    }


def inspect_sample() -> dict[str, Any]:
    view = {"title": "look"}
    tool_call = {"id": "c1", "function": "look", "arguments": {"at": "x"}, "type": "function", "view": view}
    first = {
        "id": "m2",
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [tool_call],
        "source": "generate",
    }
    parts = [
        {"type": "reasoning", "reasoning": "It is a door.", "signature": "sig"},
        {"type": "text", "text": "A door."},
    ]
    last = {"id": "m4", "role": "assistant", "content": parts, "model": "gpt-4o-mini"}
    asked = {"id": "m1", "role": "user", "content": "attachment://long", "source": "input"}
    error = {"type": "timeout", "message": "too slow"}
    result = {"id": "m3", "role": "tool", "content": "a door", "tool_call_id": "c1", "error": error}
    tool = {
        "event": "tool",
        "id": "c1",
        "type": "function",
        "function": "look",
        "arguments": {"at": "x"},
        "result": "a door",
        "timestamp": _at(1),
        "completed": _at(2),
        "working_time": 0.25,
        "truncated": [1000, 10],
        "events": [],
    }
    span = {"event": "span_begin", "id": "s1", "type": "scorer", "name": "graded", "timestamp": _at(4)}
    return {
        "id": 1,
        "epoch": 2,
        "uuid": "uuid-1",
        "input": "attachment://long",
        "target": ["a door"],
        "messages": [asked, first, result, last],
        "output": _output(last, 3),
        "scores": {
            "graded": {"value": "C", "answer": "A door.", "explanation": "right", "metadata": {"by": 1}}
        },
        "metadata": {"level": 3},
        "store": {"seen": 1},
        "model_usage": {"openai/gpt-4o-mini": {"input_tokens": 120}},
        "total_time": 1.5,
        "working_time": 1.25,
        "attachments": {"long": LONG},
        "message_pool": [asked, first, result],
        "events": [
            {
                "event": "sample_init",
                "timestamp": _at(0),
                "sample": {"input": "attachment://long"},
                "state": {},
            },
            {**_call(first, 1), "input": [], "input_refs": [[0, 1]]},
            tool,
            {**_call(last, 3), "input": [], "input_refs": [[0, 3]]},
            span,
            {**_call({"role": "assistant", "content": "C"}, 5), "input": [], "span_id": "s1"},
            {"event": "info", "timestamp": _at(6), "data": {"note": "over"}, "working_start": 1.0},
        ],
    }


def _call(message: dict[str, Any], number: int) -> dict[str, Any]:
    tools = [{"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}]
    return {
        "event": "model",
        "uuid": f"event-{number}",
        "timestamp": _at(number),
        "completed": _at(number + 1),
        "working_start": 0.5,
        "working_time": 0.5,
        "model": "openai/gpt-4o-mini",
        "tools": tools,
        "tool_choice": "auto",
        "config": {"max_tokens": 100},
        "output": _output(message, number),
        "call": {
            "request": {"messages": [], "model": "gpt-4o-mini"},
            "response": {"id": f"chatcmpl-{number}", "system_fingerprint": "fp_1", "choices": []},
            "time": 0.5,
        },
    }


def _output(message: dict[str, Any], number: int) -> dict[str, Any]:
    stop = "tool_calls" if message.get("tool_calls") else "stop"
    usage = {"input_tokens": 40, "output_tokens": number, "total_tokens": 60 + number}
    return {
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"message": message, "stop_reason": stop}],
        "usage": {**usage, "input_tokens_cache_read": 20, "reasoning_tokens": 0},
        "time": 0.5,
    }


def _at(second: int) -> str:
    return f"2025-05-12T20:28:{26 + second}.5-04:00"
