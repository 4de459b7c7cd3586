"""What happens while a policy works on a task.

**A turn is one model call and the tool results it caused.** It stores the messages that are new since its
parent turn; the whole context is a fold over the turns before it.
**Raw and model-visible tool output are separate fields.**
**Rewards are facts with a source and a version**: a regrade lands beside the reward that it corrects.
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
    "unknown",
]


class RolloutStarted(Event):
    """One policy begins to execute one task."""

    KEY: ClassVar[tuple[str, ...]] = ("rollout_id",)

    kind: Literal["rollout_started"] = "rollout_started"
    rollout_id: str
    """Owner of all events of the rollout; derived from the source's own identity, so that a second import
    finds it."""
    task_key: str
    """Which task: the same text for every rollout of the same prompt and environment data."""
    environment: str
    """The world that the task lives in, such as `swebench` or `wiki-search`."""
    substrate: str
    """What ran or recorded the rollout, such as `mini-swe-agent`."""
    substrate_version: str | None = None
    """Version of the substrate, as it names itself."""
    source_run: str | None = None
    """The launch that it belonged to, in the source's words."""
    group_id: str | None = None
    """Rollouts of one task that are compared together."""
    trial_index: int | None = None
    """Position among repeated rollouts of the task."""
    model_requested: str | None = None
    """The model's name in the request."""
    policy_version: int | None = None
    """Weights that sampled, where the policy is being trained."""
    tools_json: JsonText | None = None
    """Tool definitions offered to the policy, in OpenAI's function shape."""
    tools_key: str | None = None
    """Hash of `tools_json`."""
    sampling_json: JsonText | None = None
    """Sampling parameters as submitted."""
    task_json: JsonText | None = None
    """Task data: question, reference answer, environment parameters."""
    config_json: JsonText | None = None
    """The agent's own configuration."""
    chat_template_hash: str | None = None
    """SHA-256 of the template that made tokens of messages."""


class TurnCompleted(Event):
    """One model call returned."""

    KEY: ClassVar[tuple[str, ...]] = ("rollout_id", "turn_index")

    kind: Literal["turn_completed"] = "turn_completed"
    rollout_id: str
    turn_index: int
    """Position in the rollout, from 0."""
    parent_turn_index: int | None = None
    """The turn whose context and action this one continues; null at the root."""
    state_key: str
    """Hash of the canonical context and the tool definitions: equal states of different rollouts share it."""
    context_length: int
    """Messages in the whole context."""
    new_messages_json: JsonText
    """Messages that joined the context since the parent turn's action, model-visible text, canonical JSON
    list."""
    action_json: JsonText
    """The assistant message as the source recorded it, without response metadata."""
    tool_call_count: int = 0
    """Calls that the action makes."""
    model_requested: str | None = None
    model_served: str | None = None
    """The model's name in the response; may differ from the request's."""
    response_id: str | None = None
    """The provider's name for the response."""
    system_fingerprint: str | None = None
    """The provider's name for the weights and settings that answered."""
    finish_reason: str | None = None
    """The provider's own word, such as `stop`, `tool_calls`, `length`."""
    truncated: bool | None = None
    """Whether the completion was cut."""
    truncated_by: str | None = None
    """Who cut it: `max_tokens`, `context_window`…"""
    prompt_token_count: int | None = None
    """As the provider counts, cached tokens included."""
    cached_token_count: int | None = None
    """Part of the prompt that the provider read from its cache."""
    completion_token_count: int | None = None
    """As the provider counts, reasoning tokens included."""
    reasoning_token_count: int | None = None
    """Part of the completion that is reasoning."""
    cost_usd: float | None = None
    """What the call cost."""
    latency_ms: float | None = None
    """Wall clock of the model call."""
    prompt_ids: TokenIds | None = None
    """Token ids of the whole context, as the engine saw them."""
    completion_ids: TokenIds | None = None
    """Token ids of the completion, end-of-turn token included where it was sampled."""
    completion_mask: TokenMask | None = None
    """True on policy-sampled tokens; null means all of them."""
    sampling_logprobs: Logprobs | None = None
    """One per completion id, of the distribution that was sampled from."""
    logprob_source: Literal["sampler", "recomputed", "rounded_4dp"] | None = None
    """Who computed the log-probabilities, and whether on disk they were rounded."""
    policy_version_start: int | None = None
    """Weights at the first sampled token, where the policy is being trained."""
    policy_version_end: int | None = None
    """Weights at the last sampled token; another version if they changed meanwhile."""


class ToolReturned(Event):
    """One tool call of a turn came back."""

    KEY: ClassVar[tuple[str, ...]] = ("rollout_id", "turn_index", "call_index")

    kind: Literal["tool_returned"] = "tool_returned"
    rollout_id: str
    turn_index: int
    call_index: int
    """Position among the turn's tool results, from 0."""
    tool_call_id: str | None = None
    """The id that the call had in the action."""
    tool_name: str | None = None
    """The tool that was called."""
    raw_output: Text | None = None
    """What the tool said; null when the source kept only the visible text."""
    visible_output: Text | None = None
    """What the model saw; null when it never saw the result."""
    visible_truncated: bool | None = None
    """Whether the model saw less than the tool said."""
    return_code: int | None = None
    """Exit status, of tools that are commands."""
    error: Text | None = None
    """What went wrong, in the tool's or the source's words."""
    duration_ms: float | None = None
    """Wall clock of the tool."""


class RewardAssigned(Event):
    """A score was given to a rollout, or to one of its turns."""

    KEY: ClassVar[tuple[str, ...]] = ("rollout_id", "turn_index", "name", "grader", "grader_version")

    kind: Literal["reward_assigned"] = "reward_assigned"
    rollout_id: str
    turn_index: int | None = None
    """Null: the reward is for the whole rollout."""
    name: str
    """`reward` is the one that counts; others are its parts or metrics."""
    score: float | None
    """Null: it could not be graded."""
    weight: float | None = None
    """Its part in the total, where the source states one."""
    grader: str
    """Who scored: a rubric, a verifier, a judge model."""
    grader_version: str = "1"
    """Two versions of a grader give two facts, side by side."""
    details_json: JsonText | None = None
    """What the grader had to say beside the score."""


class RolloutEnded(Event):
    """The policy stopped, or was stopped."""

    KEY: ClassVar[tuple[str, ...]] = ("rollout_id",)

    kind: Literal["rollout_ended"] = "rollout_ended"
    rollout_id: str
    stop_reason: StopReason
    """Why it ended, in one vocabulary for all sources."""
    exit_status: str | None = None
    """The source's own words for the end."""
    turn_count: int
    """Model calls that returned."""
    truncated: bool | None = None
    """Whether the rollout was cut off before the policy ended it."""
    truncated_by: str | None = None
    error: Text | None = None
    """What broke the rollout, where something did."""
    submission: Text | None = None
    """What the policy handed in: a patch, an answer."""
    cost_usd: float | None = None
    """Total that the source states; turns carry their own."""
    duration_ms: float | None = None
    """Wall clock of the rollout."""
    metrics_json: JsonText | None = None
    """Further figures that the source states."""
