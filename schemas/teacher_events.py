"""What frozen teachers say about recorded states.

**An answer is bought once**: its key is the hash of the whole request, so a second purchase of the same
answer is a duplicate.
**A failure is a fact too**, with its class.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from schemas.event import Event, JsonText, Logprobs, Text, TokenIds

AnswerOrigin = Literal["asked", "harvested"]


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
