"""A small lake of traces to ask about, each of a few turns with tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracelake.lake import Lake
from tracelake.producers.teachers.spec.teacher_file import TeacherSpec
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.rollout_events import RolloutEnded, RolloutStarted, TurnCompleted
from tracelake.schemas.message import Message, StateHasher

TOOLS = [{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}]


def bash(command: str, call_id: str) -> Message:
    function = {"name": "bash", "arguments": canonical_text({"command": command})}
    return {
        "role": "assistant",
        "content": None,
        "reasoning_content": "I think.",
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def trace(
    rollout_id: str, task: str, outputs: list[str], *, model: str = "student", tools: bool = True
) -> Iterator[Event]:
    """One turn per output, which is what the turn before it caused; the first has none."""
    tools_json = canonical_text(TOOLS) if tools else None
    yield RolloutStarted(
        rollout_id=rollout_id,
        task_key=task,
        environment="shell",
        substrate="test",
        model_requested=model,
        tools_json=tools_json,
    )
    state = StateHasher(tools_json)
    new: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": task}]
    for turn_index, output in enumerate(outputs):
        for message in new:
            state.add(message)
        action = bash(f"look {turn_index}", f"{rollout_id}-{turn_index}")
        yield TurnCompleted(
            rollout_id=rollout_id,
            turn_index=turn_index,
            parent_turn_index=turn_index - 1 if turn_index else None,
            state_key=state.key(),
            context_length=state.context_length,
            new_messages_json=canonical_text(new),
            action_json=canonical_text(action),
            tool_call_count=1,
            completion_token_count=20,
        )
        state.add(action)
        new = [{"role": "tool", "tool_call_id": f"{rollout_id}-{turn_index}", "content": output}]
    yield RolloutEnded(rollout_id=rollout_id, stop_reason="completed", turn_count=len(outputs))


def question_lake(
    uri: str,
    *,
    trace_count: int = 2,
    turn_count: int = 3,
    output: str = "some output",
    tools: bool = True,
) -> Lake:
    """Traces of tasks of their own."""
    lake = Lake.create(uri)
    with lake.writer("test") as writer:
        for number in range(trace_count):
            outputs = [f"{output} {number}.{turn}" for turn in range(turn_count)]
            writer.append(trace(f"trace-{number}", f"task {number}", outputs, tools=tools))
    return lake


def teacher(base_url: str = "http://127.0.0.1:9/v1", *, name: str = "one", **fields: Any) -> TeacherSpec:
    """A free local teacher, unless other fields are given."""
    return TeacherSpec.model_validate({"name": name, "base_url": base_url, "model": f"model-{name}"} | fields)
