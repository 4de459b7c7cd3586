"""What frozen teachers say about recorded states.

**An answer is bought once**: its key is the hash of the whole request, so a second purchase of the same
answer is a duplicate.
**A failure is a fact too**, with its class.
**Money is reserved before it is spent**: an attempt is told before its request leaves, and settled beside
what came of it. Amounts of attempts are integers, micro-dollars.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from tracelake.schemas.events.event import Event, JsonText, Logprobs, Text, TokenIds

AnswerOrigin = Literal["asked", "harvested"]
SettledBy = Literal["provider", "price_table", "unbilled", "maximum", "reconciled"]


class TeacherAnswered(Event):
    """A teacher said what it would do at one state."""

    KEY: ClassVar[tuple[str, ...]] = ("request_key", "sample_index")

    kind: Literal["teacher_answered"] = "teacher_answered"
    request_key: str
    """Hash of the whole canonical request and the teacher's identity."""
    sample_index: int = 0
    """Position among repeated samples of one request, from 0."""
    state_key: str
    teacher: str
    """The teacher's name in the lake: a model, with its revision where one is known."""
    origin: AnswerOrigin
    """`asked` over an endpoint; `harvested` from a rollout of that model which passed through the state."""
    source_event_id: str | None = None
    """The turn that a harvested answer was taken from."""
    rollout_id: str | None = None
    """The rollout whose state was shown."""
    turn_index: int | None = None
    action_json: JsonText
    """The assistant message."""
    model_requested: str | None = None
    model_served: str | None = None
    provider: str | None = None
    """Who served the model, behind a router."""
    response_id: str | None = None
    finish_reason: str | None = None
    prompt_token_count: int | None = None
    cached_token_count: int | None = None
    completion_token_count: int | None = None
    cost_usd: float | None = None
    cost_source: Literal["provider", "price_table"] | None = None
    """Whether the provider stated the cost, or a price table made it."""
    latency_ms: float | None = None
    completion_ids: TokenIds | None = None
    teacher_logprobs: Logprobs | None = None
    """One per completion id, by the teacher."""
    sampling_json: JsonText | None = None
    attempt_id: str | None = None
    """The reserved attempt that it came of."""
    context_rule: str | None = None
    """What was done to a context beyond the teacher's window, such as `drop_oldest_tool_outputs:3`; null: the
    teacher saw all of it."""
    native_finish_reason: str | None = None
    """The finish reason in the words of the provider behind a router."""
    first_token_ms: float | None = None
    """From the request to the first part of the answer."""
    system_fingerprint: str | None = None
    top_logprobs_json: JsonText | None = None
    """Log-probabilities of other tokens, as the endpoint gave them."""


class TeacherFailed(Event):
    """A teacher was asked and gave no usable answer."""

    KEY: ClassVar[tuple[str, ...]] = ("request_key", "sample_index", "attempt_index")

    kind: Literal["teacher_failed"] = "teacher_failed"
    request_key: str
    sample_index: int = 0
    attempt_index: int
    """Position among the attempts at this sample, from 0."""
    state_key: str
    teacher: str
    failure: str
    """Class of the failure, such as `rate_limited`, `timeout`, `empty_choices`."""
    http_status: int | None = None
    """Status of the response, where there was one."""
    detail: Text | None = None
    """What the endpoint said."""
    cost_usd: float | None = None
    latency_ms: float | None = None
    attempt_id: str | None = None
    response_id: str | None = None
    model_served: str | None = None
    provider: str | None = None
    rollout_id: str | None = None
    turn_index: int | None = None


class TeacherCallReserved(Event):
    """Money was set aside for one attempt at one answer, before its request left."""

    KEY: ClassVar[tuple[str, ...]] = ("attempt_id",)

    kind: Literal["teacher_call_reserved"] = "teacher_call_reserved"
    attempt_id: str
    """Hash of replay, request, sample and attempt number."""
    replay_id: str
    """The replay whose budget it is taken from."""
    request_key: str
    sample_index: int = 0
    attempt_index: int
    state_key: str
    teacher: str
    rollout_id: str
    turn_index: int
    arm: str | None = None
    """The arm that the answer is bought for, where the replay was told one."""
    max_cost_microusd: int
    """What the attempt can cost at most; it counts as spent until the attempt is settled."""
    endpoint: str | None = None
    """Address that it is sent to, on the sender's own machine without the port; null in older events."""


class TeacherCallStarted(Event):
    """An endpoint has begun to answer: from here on the attempt has a name there."""

    KEY: ClassVar[tuple[str, ...]] = ("attempt_id",)

    kind: Literal["teacher_call_started"] = "teacher_call_started"
    attempt_id: str
    response_id: str
    """The provider's name for the response, by which it can be asked what it cost."""


class TeacherCallSettled(Event):
    """What an attempt cost became known, or was fixed at its maximum."""

    KEY: ClassVar[tuple[str, ...]] = ("attempt_id", "cost_source")

    kind: Literal["teacher_call_settled"] = "teacher_call_settled"
    attempt_id: str
    cost_microusd: int
    """Millionths of a dollar, rounded up."""
    cost_source: SettledBy
    """Who says so: the provider; a price table over the provider's token counts; the kind of the failure, for
    which nobody charges (`unbilled`). `maximum`: nobody does. `reconciled`: the provider was asked later, and
    this counts instead."""


class HintGiven(Event):
    """A hint was written for one turn; the teacher pass is conditioned on it, the student never sees it."""

    KEY: ClassVar[tuple[str, ...]] = ("rollout_id", "turn_index", "author", "author_version")

    kind: Literal["hint_given"] = "hint_given"
    rollout_id: str
    turn_index: int
    hint: Text
    """The text that the teacher pass is conditioned on."""
    author: str
    """The template or model that wrote it."""
    author_version: str = "1"
    """Two versions of an author give two facts."""
