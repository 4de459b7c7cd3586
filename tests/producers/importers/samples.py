"""A small trace in every format, as its recorder writes it: `every_sample` lists them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.producers.importers import (
    samples_atif,
    samples_claude_code,
    samples_datasets,
    samples_inspect,
    samples_nemo,
    samples_openhands,
    samples_otel,
    samples_responses,
    samples_tau2,
    samples_verifiers_traces,
)
from tracelake.producers.importers.importer import ImportedRollout, ImportOptions, Refusal
from tracelake.producers.importers.recognise import importer_for
from tracelake.producers.importers.source import Neighbours, source_of_bytes
from tracelake.schemas.events.event import Event

INSTANCE = "astropy__astropy-1"


def completion(
    response_id: str = "chat-1", finish_reason: str = "tool_calls", message: Any = None, **extra: Any
) -> dict[str, Any]:
    """A chat completion as litellm dumps it."""
    usage = {
        "prompt_tokens": 120,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    return {
        "id": response_id,
        "model": "deepseek-chat",
        "system_fingerprint": "fp_1",
        "usage": usage,
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message or {"content": "hm"}}],
        **extra,
    }


def bash_call(call_id: str, command: str) -> dict[str, Any]:
    function = {"name": "bash", "arguments": json.dumps({"command": command})}
    return {"index": 0, "id": call_id, "type": "function", "function": function}


def mini_reply(call_id: str, command: str, at: float = 1775784986.5, **response: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": f"running {command}",
        "tool_calls": [bash_call(call_id, command)],
        "function_call": None,
        "provider_specific_fields": None,
        "extra": {
            "actions": [{"command": command, "tool_call_id": call_id}],
            "response": completion(f"chat-{call_id}", **response),
            "cost": 0.0005,
            "timestamp": at,
        },
    }


def mini_result(call_id: str, raw: str, shown: str | None = None, code: int = 0) -> dict[str, Any]:
    return {
        "role": "tool",
        "tool_call_id": call_id,
        "content": shown
        if shown is not None
        else f"<returncode>{code}</returncode>\n<output>\n{raw}</output>",
        "extra": {"raw_output": raw, "returncode": code, "timestamp": 1775784987.25, "exception_info": ""},
    }


def mini() -> dict[str, Any]:
    """mini-swe-agent 1.1: one observed command, then the submitting one."""
    return {
        "trajectory_format": "mini-swe-agent-1.1",
        "instance_id": INSTANCE,
        "info": {
            "mini_version": "2.2.7",
            "exit_status": "Submitted",
            "submission": "diff --git a/x b/x\n+fixed \n",
            "model_stats": {"instance_cost": 0.001, "api_calls": 2},
            "config": {
                "agent": {"step_limit": 250, "cost_limit": 3.0},
                "agent_type": "minisweagent.run.benchmarks.swebench.ProgressTrackingAgent",
                "model": {
                    "model_name": "deepseek/deepseek-chat",
                    "model_kwargs": {"temperature": 0.0, "api_key": "sk-very-secret", "max_tokens": 9},
                },
                "environment": {"image": "swebench/sweb.eval", "env": {"PAGER": "cat"}},
            },
        },
        "messages": [
            {"role": "system", "content": "You are an agent."},
            {"role": "user", "content": "Fix the bug."},
            mini_reply("call-1", "ls"),
            mini_result("call-1", "setup.py\n"),
            mini_reply("call-2", "submit", at=1775784990.0),
            {"role": "exit", "content": "diff", "extra": {"exit_status": "Submitted", "submission": "diff"}},
        ],
    }


def mini_text() -> list[dict[str, Any]]:
    """mini-swe-agent 1: commands in the text, a bare message list."""
    submit = "```mswea_bash_command\necho COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && git diff\n```"
    return [
        {"role": "system", "content": "Finish with `echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT`."},
        {"role": "user", "content": "Fix the bug."},
        {"role": "assistant", "content": "```mswea_bash_command\nls\n```"},
        {"role": "user", "content": "<returncode>2</returncode>\n<output>\nsetup.py\n</output>"},
        {"role": "assistant", "content": submit},
        {"role": "user", "content": "diff --git a/x b/x\n"},
    ]


def swe() -> dict[str, Any]:
    """SWE-agent 0.x: the state is JSON text, the contexts are in the history."""
    entries = [("ls", "setup.py\n"), ("submit", "diff")]
    history: list[dict[str, Any]] = [
        {"role": "system", "content": "You are an agent.", "agent": "primary"},
        {"role": "user", "content": "A demonstration.", "agent": "demo", "is_demo": True},
        {"role": "user", "content": "Fix the bug.", "agent": "primary"},
    ]
    for command, output in entries:
        reply = f"I run it.\n```\n{command}\n```"
        history.append(
            {"role": "assistant", "content": reply, "thought": "", "action": command, "agent": "primary"}
        )
        history.append({"role": "user", "content": f"{output}\n(Open file: n/a)\nbash-$", "agent": "primary"})
    trajectory = [
        {
            "action": command,
            "observation": output,
            "response": f"I run it.\n```\n{command}\n```",
            "state": '{"open_file": "n/a"}',
            "thought": "I run it.",
            "execution_time": 0.25,
        }
        for command, output in entries
    ]
    stats = {"instance_cost": 0.5, "tokens_sent": 100, "tokens_received": 10, "api_calls": 2}
    info = {"exit_status": "submitted", "submission": "diff", "model_stats": stats}
    return {"environment": "swe_main", "trajectory": trajectory, "history": history[:-1], "info": info}


def verifiers_row(**columns: Any) -> dict[str, Any]:
    """A row of verifiers 0.1.x: calls as JSON text, results without ids, metrics at the top."""
    call = {
        "id": "call-1",
        "type": "function",
        "function": {"name": "search", "arguments": '{"query": "boat"}'},
    }
    return {
        "example_id": 3,
        "prompt": [
            {"role": "system", "content": "Use the tools."},
            {"role": "user", "content": "What is an Utsuro-bune?"},
        ],
        "completion": [
            {"role": "assistant", "content": "", "tool_calls": [json.dumps(call)]},
            {"role": "tool", "content": "a hollow boat", "tool_calls": None},
            {"role": "assistant", "content": "A hollow boat.", "tool_calls": None},
        ],
        "task": "default",
        "answer": "hollow boat",
        "info": {"oai_tools": [{"type": "function", "function": {"name": "search", "parameters": {}}}]},
        "reward": 0.75,
        "judge_reward_func": 1.0,
        "total_tool_calls": 1.0,
        "generation_ms": 12.5,
        "scoring_ms": 1.0,
        "total_ms": 13.5,
        **columns,
    }


def tau() -> list[dict[str, Any]]:
    """tau-bench: two trials of one task."""
    call = {
        "id": "call-1",
        "type": "function",
        "function": {"name": "get_user", "arguments": '{"id": "mia"}'},
    }
    traj = [
        {"role": "system", "content": "# Policy"},
        {"role": "user", "content": "Book a flight."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call-1", "name": "get_user", "content": "Error: user not found"},
        {"role": "assistant", "content": "Who are you?"},
        {"role": "user", "content": "###STOP###"},
    ]
    info = {"task": {"user_id": "mia"}, "user_cost": 0.01, "reward_info": {"reward": 1.0, "actions": []}}
    element = {"task_id": 0, "reward": 1.0, "info": info, "traj": traj}
    return [copy.deepcopy({**element, "trial": trial}) for trial in range(2)]


SAMPLES: dict[str, Any] = {
    "mini-swe-agent": mini(),
    "swe-agent": swe(),
    "verifiers": verifiers_row(),
    "tau-bench": tau(),
}


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def as_lines(rows: Any) -> bytes:
    """JSON lines of a list of rows."""
    return b"".join(as_json(row) + b"\n" for row in rows)


class Sample(NamedTuple):
    """A trace as its recorder writes it, and how it becomes bytes."""

    value: Any
    """A JSON value, which tests change."""
    encode: Callable[[Any], bytes] = as_json
    uri: str = "runs/one/trace.json"
    is_one_recording: bool = False
    """Its lines are one rollout: a torn file is a shorter recording of it."""


def every_sample() -> dict[str, Sample]:
    """A sample of each version of each format. A format with many has a module `samples_NAME`."""
    return {
        "atif": Sample(samples_atif.atif()),
        "chat-messages": Sample(samples_datasets.chat_rows(), as_lines, "data/chats.jsonl"),
        "chat-messages sharegpt": Sample(samples_datasets.sharegpt_rows(), as_lines, "data/chats.jsonl"),
        "trl-completions": Sample(samples_datasets.trl_rows(), as_lines, "out/completions_00007.jsonl"),
        "atif terminal": Sample(samples_atif.atif_terminal()),
        "mini-swe-agent": Sample(mini()),
        "mini-swe-agent text": Sample(mini_text()),
        "swe-agent": Sample(swe()),
        "verifiers": Sample([verifiers_row()], as_lines, "runs/one/results.jsonl"),
        "tau-bench": Sample(tau()),
        "inspect-ai": Sample(samples_inspect.inspect_log(), samples_inspect.as_eval, "logs/doors.eval"),
        "inspect-ai 2024": Sample(samples_inspect.inspect_log_of_2024()),
        "inspect-ai messages": Sample(samples_inspect.inspect_log_without_transcript()),
        "openai-responses": Sample(samples_responses.batch_lines(), as_lines, "out/batch.jsonl"),
        "openai-responses anthropic": Sample(samples_responses.anthropic_lines(), as_lines, "out/b.jsonl"),
        "openai-responses log": Sample(samples_responses.logged_calls(), as_lines, "out/log.jsonl", True),
        "openai-responses bare": Sample(samples_responses.bare_responses(), as_lines, "out/bare.jsonl"),
        "nemo-gym": Sample([samples_nemo.nemo_line()], as_lines, "data/example_rollouts.jsonl"),
        "tau2-bench": Sample(samples_tau2.tau2()),
        "tau2-bench ticks": Sample(samples_tau2.tau2_simulation()),
        "verifiers traces": Sample(
            [samples_verifiers_traces.episode(samples_verifiers_traces.effective_trace())],
            as_lines,
            "rollouts/step_5/train/effective/traces.jsonl",
        ),
        "verifiers traces 0.2": Sample([samples_verifiers_traces.old_trace()], as_lines, "out/traces.jsonl"),
        "openhands events": Sample(samples_openhands.sdk_events(), as_lines, "oh/events.jsonl", True),
        "openhands output": Sample([samples_openhands.output_row()], as_lines, "oh/output.jsonl"),
        "openhands output 0": Sample([samples_openhands.old_row()], as_lines, "oh/output.jsonl"),
        "claude-code": Sample(samples_claude_code.session(), as_lines, "projects/p/s.jsonl", True),
        "otel-genai": Sample(samples_otel.agent_trace()),
        "otel-genai events": Sample(samples_otel.event_trace()),
        "otel-genai flat": Sample(samples_otel.flat_trace()),
    }


def read_bytes(
    data: bytes,
    uri: str = "runs/one/trace.json",
    options: ImportOptions | None = None,
    neighbours: Neighbours | None = None,
) -> list[ImportedRollout | Refusal]:
    """The pieces that the format of the bytes reads. Raises SourceFormatError if there is none."""
    source = source_of_bytes(uri, data, neighbours)
    return list(importer_for(source).read(source, options or ImportOptions()))


def read_document(document: Any, uri: str = "runs/one/trace.json") -> list[ImportedRollout | Refusal]:
    return read_bytes(json.dumps(document).encode(), uri)


def rollout(document: Any, uri: str = "runs/one/trace.json") -> ImportedRollout:
    """The one rollout of a document."""
    (piece,) = read_document(document, uri)
    assert isinstance(piece, ImportedRollout), piece
    return piece


def of_kind(piece: ImportedRollout, kind: str) -> list[Any]:
    events: list[Event] = [event for event in piece.events if kind == event.KIND]
    return events
