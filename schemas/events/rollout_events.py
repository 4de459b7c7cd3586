"""Events of a policy that works on a task.

**A turn is one model call and the tool results that it caused.** It stores the messages that are new since
its parent turn; `schemas/context.py` folds the whole context from the turns before it.
**Raw and model-visible tool output are separate fields.**
**A reward names its grader and the grader's version**: a regrade is a new event and replaces nothing.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from tracelake.schemas.events.event import Event, JsonText, Logprobs, Text, TokenIds, TokenMask

StopReason = Literal[
    "completed",
    "max_turns",
    "max_tokens",
    "max_cost",
    "tool_stopped",
    "parse_error",
    "timeout",
    "error",
    "unfinished",
    "unknown",
]
"""`unfinished`: the recording stops before the rollout does; `unknown`: the source does not say."""


class RolloutStarted(Event):
    """A policy began to execute a task."""

    KEY: ClassVar[tuple[str, ...]] = ("rollout_id",)

    kind: Literal["rollout_started"] = "rollout_started"
    rollout_id: str
    """Links all events of the rollout. Derived from the source's own identity, so that importing the source
    twice gives the same id."""
    task_key: str
    """Identifies the task: equal for all rollouts of the same prompt and environment data."""
    environment: str
    """The world of the task, such as `swebench` or `wiki-search`."""
    substrate: str
    """The agent or framework that ran or recorded the rollout, such as `mini-swe-agent`."""
    substrate_version: str | None = None
    """Version of the substrate, in its own notation."""
    source_run: str | None = None
    """The source's name for the run that the rollout belonged to."""
    group_id: str | None = None
    """Shared by rollouts of one task that are compared with each other."""
    trial_index: int | None = None
    """Position of this rollout among repeated rollouts of the task."""
    model_requested: str | None = None
    """The model's name in the request."""
    policy_version: int | None = None
    """Version of the weights that sampled, where the policy is being trained."""
    tools_json: JsonText | None = None
    """Tool definitions offered to the policy, in OpenAI's function format."""
    tools_key: str | None = None
    """Hash of `tools_json`."""
    sampling_json: JsonText | None = None
    """Sampling parameters of the request."""
    task_json: JsonText | None = None
    """Task data: question, reference answer, environment parameters."""
    config_json: JsonText | None = None
    """The agent's own configuration."""
    chat_template_hash: str | None = None
    """SHA-256 of the chat template that turned messages into tokens."""
    extra_json: JsonText | None = None
    """What the source records about the start and no field holds, by its own keys."""


class TurnCompleted(Event):
    """A model call returned."""

    KEY: ClassVar[tuple[str, ...]] = ("rollout_id", "turn_index")
    TOKEN_DIGESTS: ClassVar[tuple[str, ...]] = ("prompt_prefix_hash",)

    kind: Literal["turn_completed"] = "turn_completed"
    rollout_id: str
    turn_index: int
    """Position in the rollout, from 0."""
    parent_turn_index: int | None = None
    """The turn whose context and action this turn continues; null for a first turn."""
    state_key: str
    """Hash of the canonical context and the tool definitions; equal states of different rollouts share it."""
    context_length: int
    """Number of messages in the whole context."""
    new_messages_json: JsonText
    """Messages that joined the context after the parent turn's action, as the model saw them; a canonical
    JSON list."""
    action_json: JsonText
    """The assistant message as the source recorded it, without metadata of the response."""
    tool_call_count: int = 0
    """Number of tool calls in the action."""
    model_requested: str | None = None
    model_served: str | None = None
    """The model's name in the response, which may differ from the request."""
    response_id: str | None = None
    """The provider's id of the response."""
    system_fingerprint: str | None = None
    """The provider's id of the weights and settings that answered."""
    finish_reason: str | None = None
    """The provider's finish reason, such as `stop`, `tool_calls`, `length`."""
    truncated: bool | None = None
    """Whether the completion was cut off."""
    truncated_by: str | None = None
    """The limit that cut it off, such as `max_tokens` or `context_window`."""
    prompt_token_count: int | None = None
    """Prompt tokens by the provider's count, cached tokens included."""
    cached_token_count: int | None = None
    """Prompt tokens that the provider read from its cache."""
    completion_token_count: int | None = None
    """Completion tokens by the provider's count, reasoning tokens included."""
    reasoning_token_count: int | None = None
    """Completion tokens that are reasoning."""
    cost_usd: float | None = None
    """Cost of the call in dollars."""
    latency_ms: float | None = None
    """Wall-clock time of the model call."""
    new_prompt_ids: TokenIds | None = None
    """Token ids of the prompt that follow the parent's prompt and completion, as the inference engine saw
    them; the whole prompt where `prompt_prefix_hash` is null. `schemas/tokens.py` folds the whole prompt."""
    prompt_prefix_hash: str | None = None
    """SHA-256 of the ids before `new_prompt_ids`: the parent's prompt and completion."""
    prompt_retokenised: bool | None = None
    """Whether the engine's prompt differs from the parent's prompt and completion, so that the whole prompt
    is stored; null without token ids of this turn, or of the parent to compare with."""
    completion_ids: TokenIds | None = None
    """Token ids of the completion, with the end-of-turn token if it was sampled."""
    completion_mask: TokenMask | None = None
    """True for tokens that the policy sampled; null means all of them."""
    sampling_logprobs: Logprobs | None = None
    """One per completion id, from the distribution that was sampled from."""
    logprob_source: Literal["sampler", "recomputed", "rounded_4dp"] | None = None
    """Where the log-probabilities come from; `rounded_4dp`: the source stored four decimal places."""
    policy_version_start: int | None = None
    """Version of the weights at the first sampled token, where the policy is being trained."""
    policy_version_end: int | None = None
    """Version of the weights at the last sampled token; differs if they were updated during the call."""
    extra_json: JsonText | None = None
    """What the source records about the call and no field holds, by its own keys."""


class ToolReturned(Event):
    """A tool call of a turn returned."""

    KEY: ClassVar[tuple[str, ...]] = ("rollout_id", "turn_index", "call_index")

    kind: Literal["tool_returned"] = "tool_returned"
    rollout_id: str
    turn_index: int
    call_index: int
    """Position of the result among those of the turn, from 0."""
    tool_call_id: str | None = None
    """The id of the call in the action."""
    tool_name: str | None = None
    """Name of the tool that was called."""
    raw_output: Text | None = None
    """The tool's complete output; null if the source recorded only the visible text."""
    visible_output: Text | None = None
    """The output as it joined the context; a call saw it only if a later turn continues this one."""
    visible_truncated: bool | None = None
    """Whether the model saw less than the complete output."""
    return_code: int | None = None
    """Exit status, for tools that run a command."""
    error: Text | None = None
    """The error message of the tool or the source."""
    duration_ms: float | None = None
    """Wall-clock time of the tool."""
    extra_json: JsonText | None = None
    """What the source records about the result and no field holds, by its own keys."""


class RewardAssigned(Event):
    """A grader scored a rollout or one of its turns."""

    KEY: ClassVar[tuple[str, ...]] = ("rollout_id", "turn_index", "name", "grader", "grader_version")

    kind: Literal["reward_assigned"] = "reward_assigned"
    rollout_id: str
    turn_index: int | None = None
    """The turn that was scored; null means the whole rollout."""
    name: str
    """Name of the score: `reward` is the training reward; others are its components, or metrics."""
    score: float | None
    """The score; null means that it could not be graded."""
    weight: float | None = None
    """Weight of this score in the total, where the source states one."""
    grader: str
    """Who scored: a rubric, a verifier, or a grading model."""
    grader_version: str = "1"
    """Version of the grader; each version's score is an event of its own."""
    details_json: JsonText | None = None
    """Further output of the grader."""


class RolloutEnded(Event):
    """The policy stopped or was stopped, or its recording ends here.

    Each longer recording of a rollout adds an event; folds use the longest."""

    KEY: ClassVar[tuple[str, ...]] = ("rollout_id", "recording_length")

    kind: Literal["rollout_ended"] = "rollout_ended"
    rollout_id: str
    stop_reason: StopReason
    """Why the rollout ended, in one vocabulary for all sources."""
    exit_status: str | None = None
    """The source's own name for the way it ended."""
    recording_length: int | None = None
    """Number of messages in the recording; null if the recording cannot grow, because it was written live."""
    turn_count: int
    """Number of model calls that returned."""
    truncated: bool | None = None
    """Whether the rollout was cut off before the policy ended it."""
    truncated_by: str | None = None
    error: Text | None = None
    """The error that ended the rollout, if one did."""
    submission: Text | None = None
    """The result that the policy submitted, such as a patch or an answer."""
    cost_usd: float | None = None
    """Total cost in dollars that the source states; each turn has its own cost."""
    duration_ms: float | None = None
    """Wall-clock time of the rollout."""
    metrics_json: JsonText | None = None
    """Further metrics that the source states."""
    extra_json: JsonText | None = None
    """What the source records about the whole rollout and no field holds, by its own keys."""
