"""A lake with everything that exports carry: pairs of teachers under three kinds of terms, a rollout of three
turns with tools, token ids and rewards, and a rollout that ended before its first turn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.traces import STUDENT, all_rollouts, bash, rollout
from tracelake.assets.build import build
from tracelake.assets.derivations import BuildParameters
from tracelake.lake import Lake
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.rollout_events import (
    RewardAssigned,
    RolloutEnded,
    RolloutStarted,
    ToolReturned,
    TurnCompleted,
)
from tracelake.schemas.events.teacher_events import TeacherAnswered
from tracelake.schemas.message import Message, StateHasher, tools_key
from tracelake.schemas.tokens import PromptEncoder

OPEN_TEACHER = "a-open"
CLOSED_TEACHER = "b-closed"
LONG = "run 1/täsk: no. 1"
UNSTARTED = "never-called"
PAIR_TABLES = ("preference_pairs", "training_rows")
ROLLOUT_TABLES = (
    "rollout_started",
    "turn_completed",
    "tool_returned",
    "reward_assigned",
    "rollout_ended",
    "turns",
    "trajectories",
)
TOOLS = [
    {
        "type": "function",
        "function": {"name": "bash", "parameters": {"properties": {"command": {"type": "string"}}}},
    }
]
TASK = {"question": "what is in x?", "answer": 12345678901234567890123}
OPENING: list[Message] = [
    {"role": "system", "content": "You work in a shell."},
    {"role": "user", "content": "what is in x?"},
]


def asked(teacher: str, question: str, command: str, **terms: Any) -> TeacherAnswered:
    """An answer of a teacher at the opening state of one of `tests.traces`' rollouts."""
    state = StateHasher()
    state.add({"role": "user", "content": question})
    return TeacherAnswered(
        request_key=f"{teacher}/{question}",
        state_key=state.key(),
        teacher=teacher,
        origin="asked",
        action_json=canonical_text(bash(command)),
        model_served=f"{teacher}-model",
        **terms,
    )


def answers() -> Iterator[Event]:
    open_terms = {"license": "apache-2.0", "distillable": True}
    closed_terms = {"license": "terms of | `service`", "distillable": False}
    yield asked(OPEN_TEACHER, "q1", "cat x", **open_terms)
    yield asked(CLOSED_TEACHER, "q5", "cat x", **closed_terms)
    yield from rollout(STUDENT, "q5", "ls")
    yield from rollout("teacher-z", "q5", "cat x")


def long_rollout() -> Iterator[Event]:
    """Three turns: a tool whose output is cut, a tool that fails, and an answer."""
    tools_json = canonical_text(TOOLS)
    yield RolloutStarted(
        rollout_id=LONG,
        task_key="task-long",
        environment="hand",
        substrate="shell-agent",
        substrate_version="1.2",
        source_run="run 1",
        model_requested="other-model",
        tools_json=tools_json,
        tools_key=tools_key(tools_json),
        task_json=canonical_text(TASK),
        extra_json=canonical_text({"notes": "by hand", "unknown": 1}),
    )
    first, second = bash("cat x"), {**bash("cat y"), "reasoning_content": "y may exist"}
    results: list[Message] = [
        {"role": "tool", "tool_call_id": "call-cat x", "content": "x x…"},
        {"role": "user", "content": "no such file"},
    ]
    new: list[list[Message]] = [OPENING, results[:1], results[1:]]
    actions: list[Message] = [first, second, {"role": "assistant", "content": "x x x", "refusal": "none"}]
    state, prompts, whole = StateHasher(tools_json), PromptEncoder(), list[int]()
    for index, (messages, action) in enumerate(zip(new, actions, strict=True)):
        for message in messages:
            state.add(message)
        whole = [*whole, 10 + index]
        prompt_ids, completion_ids = whole, [20 + index, 21]
        yield TurnCompleted(
            rollout_id=LONG,
            turn_index=index,
            parent_turn_index=index - 1 if index else None,
            state_key=state.key(),
            context_length=state.context_length,
            new_messages_json=canonical_text(messages),
            action_json=canonical_text(action),
            tool_call_count=len(action.get("tool_calls", [])),
            model_served="other-model-2026",
            occurred_at=datetime(2026, 1, 2, 3, 4, index, tzinfo=UTC),
            prompt_token_count=len(prompt_ids),
            completion_token_count=2,
            cost_usd=0.5,
            completion_ids=completion_ids,
            sampling_logprobs=[-0.1, -0.25],
            **prompts.add(index, index - 1 if index else None, prompt_ids, completion_ids)._asdict(),
        )
        state.add(action)
        whole = [*whole, *completion_ids]
    yield from long_rollout_outcome()


def long_rollout_outcome() -> Iterator[Event]:
    """Its results, rewards, and two recordings of its end."""
    yield ToolReturned(
        rollout_id=LONG,
        turn_index=0,
        call_index=0,
        tool_call_id="call-cat x",
        tool_name="bash",
        raw_output="x x x x x x x",
        visible_output="x x…",
        visible_truncated=True,
        return_code=0,
    )
    yield ToolReturned(
        rollout_id=LONG,
        turn_index=1,
        call_index=0,
        tool_name="bash",
        visible_output="no such file",
        return_code=1,
        error="exit 1",
    )
    yield RewardAssigned(rollout_id=LONG, name="reward", score=0.75, grader="tests", grader_version="2")
    yield RewardAssigned(rollout_id=LONG, name="style", score=None, grader="rubric")
    yield RewardAssigned(rollout_id=LONG, turn_index=1, name="progress", score=-1.0, grader="rubric")
    yield RolloutEnded(
        rollout_id=LONG, stop_reason="completed", turn_count=3, recording_length=5, submission="short"
    )
    yield RolloutEnded(
        rollout_id=LONG, stop_reason="completed", turn_count=3, recording_length=7, submission="x x x"
    )


def unstarted_rollout() -> Iterator[Event]:
    yield RolloutStarted(rollout_id=UNSTARTED, task_key="q9", environment="hand", substrate="test")
    yield RewardAssigned(rollout_id=UNSTARTED, name="reward", score=0.0, grader="tests")
    yield RolloutEnded(rollout_id=UNSTARTED, stop_reason="error", turn_count=0, error="no model")


def export_lake(uri: str, *others: Event) -> Lake:
    """Built, with the pins `pairs@1`, `traces@1` and `all@1`."""
    lake = Lake.create(uri)
    with lake.writer("test") as writer:
        writer.append([*all_rollouts(), *answers(), *long_rollout(), *unstarted_rollout(), *others])
    build(lake, BuildParameters(student=STUDENT))
    lake.pin("pairs", PAIR_TABLES)
    lake.pin("traces", ROLLOUT_TABLES)
    lake.pin("all", (*PAIR_TABLES, *ROLLOUT_TABLES))
    return lake
