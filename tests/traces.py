"""A small lake of rollouts: several models at the same states, with every pattern of votes."""

from __future__ import annotations

from collections.abc import Iterator

from tracelake.lake import Lake
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.rollout_events import (
    RewardAssigned,
    RolloutEnded,
    RolloutStarted,
    TurnCompleted,
)
from tracelake.schemas.message import Message, StateHasher

STUDENT = "student-1"
ACTIONS = {
    # state: what each model does there
    "q1": {STUDENT: "ls", "teacher-a": "cat x", "teacher-b": "cat x", "teacher-c": "pwd"},
    "q2": {STUDENT: "ls", "teacher-a": "ls", "teacher-b": "ls", "teacher-c": "rm y"},
    "q3": {STUDENT: "ls", "teacher-a": "a", "teacher-b": "b", "teacher-c": "c"},
    "q4": {STUDENT: "ls"},
}


def bash(command: str) -> Message:
    call = {
        "id": f"call-{command}",
        "type": "function",
        "function": {"name": "bash", "arguments": canonical_text({"command": command})},
    }
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def rollout(model: str, question: str, command: str, *, score: float = 1.0) -> Iterator[Event]:
    """One rollout of one turn."""
    rollout_id = f"{model}/{question}"
    opening: Message = {"role": "user", "content": question}
    state = StateHasher()
    state.add(opening)
    yield RolloutStarted(
        rollout_id=rollout_id, task_key=question, environment="hand", substrate="test", model_requested=model
    )
    yield TurnCompleted(
        rollout_id=rollout_id,
        turn_index=0,
        state_key=state.key(),
        context_length=1,
        new_messages_json=canonical_text([opening]),
        action_json=canonical_text(bash(command)),
        tool_call_count=1,
        model_requested=model,
        cost_usd=0.25,
    )
    yield RewardAssigned(rollout_id=rollout_id, name="reward", score=score, grader="test")
    yield RolloutEnded(rollout_id=rollout_id, stop_reason="completed", turn_count=1)


def all_rollouts() -> Iterator[Event]:
    for question, actions in ACTIONS.items():
        for model, command in actions.items():
            yield from rollout(model, question, command)


def lake_of_rollouts(uri: str) -> Lake:
    lake = Lake.create(uri)
    with lake.writer("test") as writer:
        writer.append(all_rollouts())
    return lake
