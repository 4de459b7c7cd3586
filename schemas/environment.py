"""The contract between environments, policies and the loop that plays rollouts.

Flow: environment.reset(task) → policy.act(contexts) → environment.call(tool) for each call → … →
environment.rewards().

**Messages and tool definitions have OpenAI's shapes**; tool arguments are the JSON text that the model wrote,
malformed or not.
**Nothing that a policy writes may raise**: a bad call returns a `ToolOutcome` with an error, which the policy
sees.
**Nothing is tokenised twice**: a later context starts with the ids that were really sent and sampled
(`prefix_ids`).
**Raw and visible tool output are separate**: the policy sees `visible_output`, the lake stores both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

from tracelake.schemas.events.rollout_events import StopReason
from tracelake.schemas.message import Message

ToolDefinition = dict[str, Any]
"""`{"type": "function", "function": {"name", "description", "parameters"}}`."""
FinishReason = Literal["stop", "tool_calls", "length"]
"""`length`: the completion was cut; its tool calls must not be executed."""


class TaskIdentity(Protocol):
    """The part of a task that every world has."""

    @property
    def task_id(self) -> str: ...

    @property
    def task_hash(self) -> str:
        """Hash over prompt and environment data: equal for equal tasks. Splits are cut by it."""
        ...


class ToolOutcome(NamedTuple):
    """Result of one tool call."""

    visible_output: str
    """The part that the policy reads."""
    raw_output: str
    """The tool's whole output."""
    error: str | None
    """Class of the error, such as `bad_arguments` or `timeout`; None on success."""
    done: bool
    """The environment accepts no more calls."""
    duration_ms: float


class Environment(Protocol):
    """Can be reset to a task; reused for one task after another, never for two at once."""

    @property
    def tools(self) -> Sequence[ToolDefinition]:
        """Tool definitions, the same for every task."""
        ...

    def reset(self, task: Any) -> list[Message]:
        """Begin a task. Returns the opening messages of its context."""
        ...

    def call(self, name: str, arguments_json: str) -> ToolOutcome:
        """Execute one tool call. Never raises because of the arguments."""
        ...

    def rewards(self) -> dict[str, float]:
        """Scores of the current state, by name; `reward` is the one that counts. `done` is not required."""
        ...


class PolicyAction(NamedTuple):
    """One model call's result. Ids are None where the policy's engine does not return them."""

    message: Message
    prompt_ids: tuple[int, ...] | None
    """The whole context, as sent to the engine."""
    completion_ids: tuple[int, ...] | None
    """Sampled ids with the end-of-turn id, unless cut."""
    sampling_logprobs: tuple[float, ...] | None
    """float32 values, nats, one per completion id, of the distribution that was sampled from."""
    finish_reason: FinishReason


class Policy(Protocol):
    """Chooses the next action."""

    def act(
        self,
        contexts: Sequence[Sequence[Message]],
        tools: Sequence[ToolDefinition],
        *,
        seeds: Sequence[int],
        prefix_ids: Sequence[Sequence[int] | None] | None = None,
    ) -> list[PolicyAction]:
        """One action per context, in order.

        seeds: one per context, so that a rollout's draws do not depend on its batch.
        prefix_ids: ids of each context up to and including its last assistant message; the policy continues
        them and tokenises only what follows. None (for all, or for one) tokenises the whole context.
        """
        ...


class ToolCallRecord(NamedTuple):
    """One tool call and its result."""

    tool_call_id: str
    name: str
    arguments_json: str
    outcome: ToolOutcome


class TurnRecord(NamedTuple):
    """One model call and the tool results that it caused."""

    turn_index: int
    new_messages: tuple[Message, ...]
    """Messages that joined the context since the turn before: the opening ones at turn 0, tool messages
    later.
    """
    action: PolicyAction
    latency_ms: float
    """Wall clock of the batched model call that this turn shared with the other unfinished rollouts."""
    tool_calls: tuple[ToolCallRecord, ...]


class RolloutRecord(NamedTuple):
    """One policy executing one task, with every field that its events need."""

    task_id: str
    task_hash: str
    seed: int
    turns: tuple[TurnRecord, ...]
    tools: tuple[ToolDefinition, ...]
    final_messages: tuple[Message, ...]
    """Tool messages after the last action, which no model call has read."""
    rewards: dict[str, float]
    stop_reason: StopReason
    duration_ms: float
    """From reset to rewards, by the wall clock of the batch."""
