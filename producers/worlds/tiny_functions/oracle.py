"""An oracle for repair tasks: the best next action at any state, or a plausible mistake at a given rate.

Flow: messages → RepairState (the task, the edited source, the status of its tests) → the next tool call.

**The state is derived from the messages alone**, so any recorded context can be asked about.
**Mistakes are wrong edits, or giving up after one**: every edit is tested, and a source that passes is
submitted.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from tracelake.producers.worlds.tiny_functions.tasks import Edit, Task, edited, task_of_prompt
from tracelake.schemas.environment import PolicyAction, ToolDefinition
from tracelake.schemas.message import Message, content_text, tool_calls_of

TestStatus = Literal["unknown", "edited", "failed", "passed"]


class RepairState(NamedTuple):
    """The state of a rollout."""

    task: Task
    source: str
    test_status: TestStatus
    """Result of the last test run; `edited`: the source changed since."""


class ToolCall(NamedTuple):
    """One action, not yet a message."""

    name: str
    arguments: dict[str, Any]


class ErrorRates(NamedTuple):
    """Probabilities of deliberate mistakes."""

    wrong_edit: float = 0.0
    """Of a wrong edit, at states whose best action is an edit."""
    give_up: float = 0.0
    """Of submitting the source as it is, after its own edit failed."""


LEARNER_ERROR_RATES = ErrorRates(wrong_edit=0.6, give_up=0.6)
"""Demonstrations at these rates give a warm-started policy near 45 % pass@1, which GRPO can still improve."""


def repair_state(messages: Sequence[Message]) -> RepairState | None:
    """The state after these messages; None if no user message opens a task of this world."""
    state: RepairState | None = None
    pending: dict[str, ToolCall] = {}
    for message in messages:
        role = message.get("role")
        if role == "user":
            task = task_of_prompt(content_text(message.get("content")))
            state = state if task is None else RepairState(task, task.source, "unknown")
        elif role == "assistant":
            pending = {
                call_id: ToolCall(name or "", _arguments(text))
                for call_id, name, text in tool_calls_of(message)
            }
        elif role == "tool" and state is not None:
            call = pending.get(message.get("tool_call_id") or "")
            if call is not None:
                state = _after(state, call, content_text(message.get("content")))
    return state


def best_call(state: RepairState) -> ToolCall:
    """Edit, test, submit: the shortest way to a solved task that submits nothing untested."""
    if state.test_status == "edited":
        return ToolCall("run_tests", {})
    edit = next_edit(state)
    if state.test_status == "passed" or edit is None:
        return ToolCall("submit", {})
    return edit_call(edit)


def next_edit(state: RepairState) -> Edit | None:
    """Corrects the first line that differs from the solution; None if no line does."""
    pairs = zip(state.source.split("\n"), state.task.solved_source.split("\n"), strict=True)
    return next((Edit(line, right) for line, (is_now, right) in enumerate(pairs, 1) if is_now != right), None)


def wrong_edits(state: RepairState) -> list[Edit]:
    """Plausible edits that change the source without repairing it. Never empty, because every family can
    break one of its lines in two ways."""
    task, lines = state.task, state.source.split("\n")
    first_bug = Edit(task.solution_line, task.source.split("\n")[task.solution_line - 1])
    return [edit for edit in (*task.wrong_edits, first_bug) if lines[edit.line - 1] != edit.text]


def next_call(state: RepairState, error_rates: ErrorRates, rng: random.Random) -> ToolCall:
    """The best call, or a mistake at the given rates."""
    call = best_call(state)
    if call.name != "edit_line":
        return call
    if state.source != state.task.source and rng.random() < error_rates.give_up:
        return ToolCall("submit", {})
    if rng.random() < error_rates.wrong_edit:
        return edit_call(rng.choice(wrong_edits(state)))
    return call


def edit_call(edit: Edit) -> ToolCall:
    return ToolCall("edit_line", {"line": edit.line, "text": edit.text})


def action_message(call: ToolCall, call_id: str) -> Message:
    """The assistant message with this call; arguments are compact JSON."""
    arguments = json.dumps(call.arguments, separators=(",", ":"))
    function = {"name": call.name, "arguments": arguments}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


class OraclePolicy:
    """A `Policy` that knows the solution and makes mistakes at the given rates; it has no token ids."""

    def __init__(self, error_rates: ErrorRates | None = None) -> None:
        self._error_rates = error_rates or ErrorRates()

    def act(
        self,
        contexts: Sequence[Sequence[Message]],
        tools: Sequence[ToolDefinition],
        *,
        seeds: Sequence[int],
        prefix_ids: Sequence[Sequence[int] | None] | None = None,
    ) -> list[PolicyAction]:
        return [self._action(context, seed) for context, seed in zip(contexts, seeds, strict=True)]

    def _action(self, context: Sequence[Message], seed: int) -> PolicyAction:
        state = repair_state(context)
        if state is None:
            return PolicyAction({"role": "assistant", "content": "unknown task"}, None, None, None, "stop")
        call = next_call(state, self._error_rates, random.Random(seed))
        message = action_message(call, f"call_{len(context)}")
        return PolicyAction(message, None, None, None, "tool_calls")


def _after(state: RepairState, call: ToolCall, output: str) -> RepairState:
    """The state after one tool result."""
    if call.name == "edit_line" and output == "ok":
        edit = _edit_of(call.arguments, state.source)
        return state if edit is None else RepairState(state.task, edited(state.source, edit), "edited")
    if call.name == "run_tests":
        all_passed = output.endswith(" passed") and "FAILED" not in output
        return state._replace(test_status="passed" if all_passed else "failed")
    return state


def _edit_of(arguments: dict[str, Any], source: str) -> Edit | None:
    """None for arguments that the tool refuses; a recording from elsewhere may contain any."""
    line, text = arguments.get("line"), arguments.get("text")
    if not isinstance(line, int) or not isinstance(text, str) or "\n" in text:
        return None
    return Edit(line, text) if 1 <= line <= source.count("\n") + 1 else None


def _arguments(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
