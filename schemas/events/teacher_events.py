"""Events of frozen teachers that are asked about recorded states, and of the money that this costs.

**An answer is bought once**: its key is the hash of the whole request, so a second purchase of the same
answer is a duplicate.
**A failure is an event too**, with its class.
**Money is reserved before it is spent**: `TeacherCallReserved` lands before the request is sent, and
`TeacherCallSettled` lands with the answer or the failure. Amounts of attempts are integers, in micro-dollars.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from tracelake.schemas.events.event import Event, JsonText, Logprobs, Text, TokenIds

AnswerOrigin = Literal["asked", "harvested"]
SettledBy = Literal["provider", "price_table", "unbilled", "maximum", "reconciled"]


class TeacherAnswered(Event):
    """A teacher answered what it would do at one state."""

    KEY: ClassVar[tuple[str, ...]] = ("request_key", "sample_index")

    kind: Literal["teacher_answered"] = "teacher_answered"
    request_key: str
    """Hash of the canonical request and the teacher's identity."""
    sample_index: int = 0
    """Position among repeated samples of one request, from 0."""
    state_key: str
    teacher: str
    """The teacher's name in the lake: a model, with its revision if known."""
    origin: AnswerOrigin
    """`asked`: over an endpoint; `harvested`: from a rollout of that model that passed through the state."""
    source_event_id: str | None = None
    """Event id of the turn that a harvested answer was taken from."""
    rollout_id: str | None = None
    """The rollout whose state the teacher was shown."""
    turn_index: int | None = None
    action_json: JsonText
    """The assistant message."""
    model_requested: str | None = None
    model_served: str | None = None
    provider: str | None = None
    """The provider that served the model, if a router chose it."""
    response_id: str | None = None
    finish_reason: str | None = None
    prompt_token_count: int | None = None
    cached_token_count: int | None = None
    completion_token_count: int | None = None
    cost_usd: float | None = None
    cost_source: Literal["provider", "price_table"] | None = None
    """Whether the provider stated the cost, or it was computed from a price table."""
    latency_ms: float | None = None
    completion_ids: TokenIds | None = None
    teacher_logprobs: Logprobs | None = None
    """The teacher's log-probabilities, one per completion id."""
    sampling_json: JsonText | None = None
    attempt_id: str | None = None
    """The reserved attempt that this event results from."""
    context_rule: str | None = None
    """How a context that exceeds the teacher's window was shortened, such as `drop_oldest_tool_outputs:3`;
    null means that the teacher saw all of it."""
    native_finish_reason: str | None = None
    """The finish reason of the provider behind a router, in its own words."""
    first_token_ms: float | None = None
    """Time from the request to the first chunk of the answer."""
    system_fingerprint: str | None = None
    top_logprobs_json: JsonText | None = None
    """Log-probabilities of alternative tokens, as the endpoint returned them."""
    license: str | None = None
    """Licence or terms of the teacher, as its specification names them."""
    distillable: bool | None = None
    """Whether the terms allow training other models on the answer; null if nobody said so."""


class TeacherFailed(Event):
    """A teacher was asked and returned no usable answer."""

    KEY: ClassVar[tuple[str, ...]] = ("request_key", "sample_index", "attempt_index")

    kind: Literal["teacher_failed"] = "teacher_failed"
    request_key: str
    sample_index: int = 0
    attempt_index: int
    """Position of this attempt among those at this sample, from 0."""
    state_key: str
    teacher: str
    failure: str
    """Class of the failure, such as `rate_limited`, `timeout`, `empty_choices`."""
    http_status: int | None = None
    """HTTP status of the response, if there was one."""
    detail: Text | None = None
    """The endpoint's error message."""
    cost_usd: float | None = None
    latency_ms: float | None = None
    attempt_id: str | None = None
    response_id: str | None = None
    model_served: str | None = None
    provider: str | None = None
    rollout_id: str | None = None
    turn_index: int | None = None


class TeacherCallReserved(Event):
    """Money was reserved for one attempt at one answer, before its request was sent."""

    KEY: ClassVar[tuple[str, ...]] = ("attempt_id",)

    kind: Literal["teacher_call_reserved"] = "teacher_call_reserved"
    attempt_id: str
    """Hash of replay, request, sample index and attempt index."""
    replay_id: str
    """The replay whose budget pays for the attempt."""
    request_key: str
    sample_index: int = 0
    attempt_index: int
    state_key: str
    teacher: str
    rollout_id: str
    turn_index: int
    arm: str | None = None
    """The arm that the answer is bought for, if the replay names one."""
    max_cost_microusd: int
    """The most that the attempt can cost; counts as spent until the attempt is settled."""
    endpoint: str | None = None
    """Address that the request is sent to; without the port if it is the sender's own machine."""


class TeacherCallStarted(Event):
    """An endpoint began to answer an attempt; from now on the provider has an id for it."""

    KEY: ClassVar[tuple[str, ...]] = ("attempt_id",)

    kind: Literal["teacher_call_started"] = "teacher_call_started"
    attempt_id: str
    response_id: str
    """The provider's id of the response, which can be used to ask for its cost."""


class TeacherCallSettled(Event):
    """The cost of an attempt became known, or was fixed at its maximum."""

    KEY: ClassVar[tuple[str, ...]] = ("attempt_id", "cost_source")

    kind: Literal["teacher_call_settled"] = "teacher_call_settled"
    attempt_id: str
    cost_microusd: int
    """Millionths of a dollar, rounded up."""
    cost_source: SettledBy
    """Source of the cost. `provider`: stated by the provider; `price_table`: computed from the provider's
    token counts; `unbilled`: a failure of a class that nobody charges for; `maximum`: unknown, so the
    reserved amount counts; `reconciled`: the provider stated it later, and it replaces the others."""


class HintGiven(Event):
    """A hint was written for one turn; the teacher pass sees it, and the student never does."""

    KEY: ClassVar[tuple[str, ...]] = ("rollout_id", "turn_index", "author", "author_version")

    kind: Literal["hint_given"] = "hint_given"
    rollout_id: str
    turn_index: int
    hint: Text
    """Text of the hint."""
    author: str
    """The template or model that wrote the hint."""
    author_version: str = "1"
    """Version of the author; each version's hint is an event of its own."""
