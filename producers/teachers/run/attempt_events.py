"""What came of an attempt, as events: the answer or the failure, and what it cost.

**The answer comes before its settlement**: of a torn append the answer is kept, and tells the cost.
**The provider's word on a cost counts, where it can be true**; else a price table over its token counts;
else the maximum that was reserved.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from tracelake.producers.calling.failures import FailureClass
from tracelake.producers.calling.outcome import Answered, Failed, Outcome, cut
from tracelake.producers.teachers.asking.jobs import CONTEXT_TOO_LONG, Job
from tracelake.producers.teachers.pricing.prices import exact_cost_usd, microusd
from tracelake.producers.teachers.pricing.usage import Usage, read_usage
from tracelake.producers.teachers.spec.frozen_name import without_local_port
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.events.event import Event, event_identity
from tracelake.schemas.events.teacher_events import (
    SettledBy,
    TeacherAnswered,
    TeacherCallReserved,
    TeacherCallSettled,
    TeacherFailed,
)


class Attempt(NamedTuple):
    """One request for one answer."""

    attempt_id: str
    replay_id: str
    job: Job
    attempt_index: int
    arm: str | None = None

    def reserved(self) -> TeacherCallReserved:
        question = self.job.question
        return TeacherCallReserved(
            attempt_id=self.attempt_id,
            replay_id=self.replay_id,
            request_key=self.job.request_key,
            sample_index=self.job.sample_index,
            attempt_index=self.attempt_index,
            state_key=question.state_key,
            teacher=self.job.teacher.name,
            rollout_id=question.rollout_id,
            turn_index=question.turn_index,
            arm=self.arm,
            max_cost_microusd=self.job.bounds.cost_microusd,
            endpoint=without_local_port(self.job.teacher.spec.base_url),
        )

    def withdrawn(self) -> TeacherCallSettled:
        """It was reserved, and is not sent."""
        return TeacherCallSettled(attempt_id=self.attempt_id, cost_microusd=0, cost_source="unbilled")


class Cost(NamedTuple):
    """What an attempt cost, as far as it is known."""

    microusd: int
    source: SettledBy
    usd: Decimal | None
    """Not rounded; null where it is not known."""
    usage: Usage | None


class Landed(NamedTuple):
    """Events that belong together, and the cost that they tell."""

    events: tuple[Event, ...]
    cost: Cost

    @property
    def settled_microusd(self) -> int | None:
        """Null: unknown."""
        return None if self.cost.source == "maximum" else self.cost.microusd


def new_attempt(replay_id: str, job: Job, attempt_index: int, arm: str | None) -> Attempt:
    """Named by what it is an attempt at: nothing about it is drawn."""
    attempt_id = hash_of([replay_id, job.request_key, job.sample_index, attempt_index])[:32]
    return Attempt(attempt_id, replay_id, job, attempt_index, arm)


def landed(attempt: Attempt, outcome: Outcome) -> Landed:
    """What is to be appended at once. An answer that no event can say is a failure."""
    cost = _cost(attempt, outcome)
    try:
        told: Event = (
            _answer(attempt, outcome, cost)
            if isinstance(outcome, Answered)
            else _failure(attempt, outcome, cost)
        )
        # One event that cannot be named would take down all that are appended with it.
        event_identity(told)
    except (EventInvalidError, ValidationError) as error:
        told = _failure(attempt, _unsayable(outcome, error), cost)
    settled = TeacherCallSettled(
        attempt_id=attempt.attempt_id, cost_microusd=cost.microusd, cost_source=cost.source
    )
    return Landed((told, settled), cost)


def _unsayable(outcome: Outcome, error: Exception) -> Failed:
    return Failed(FailureClass.MALFORMED_ANSWER, None, cut(str(error)), latency_ms=outcome.latency_ms)


def not_sent(job: Job, attempt_index: int) -> TeacherFailed:
    """A request that cannot be sent: nothing was paid."""
    window = job.teacher.spec.limits.context_token_max
    return TeacherFailed(
        request_key=job.request_key,
        sample_index=job.sample_index,
        attempt_index=attempt_index,
        state_key=job.question.state_key,
        teacher=job.teacher.name,
        failure=job.unsent or CONTEXT_TOO_LONG,
        detail=f"not sent; the window is of {window or 'unknown'} tokens",
        rollout_id=job.question.rollout_id,
        turn_index=job.question.turn_index,
    )


def _cost(attempt: Attempt, outcome: Outcome) -> Cost:
    bounds = attempt.job.bounds
    read = read_usage(
        outcome.usage,
        prompt_token_max=bounds.prompt_token_max,
        completion_token_max=bounds.completion_token_max,
    )
    if read.cost_usd is not None:
        return Cost(microusd(read.cost_usd), "provider", read.cost_usd, read.usage)
    if read.usage is not None:
        exact = exact_cost_usd(attempt.job.teacher.prices, read.usage)
        return Cost(microusd(exact), "price_table", exact, read.usage)
    if bounds.cost_microusd == 0:
        return Cost(0, "price_table", Decimal(0), None)
    if isinstance(outcome, Failed) and outcome.reaction.billed == "no":
        return Cost(0, "unbilled", Decimal(0), None)
    return Cost(bounds.cost_microusd, "maximum", None, None)


def _answer(attempt: Attempt, outcome: Answered, cost: Cost) -> TeacherAnswered:
    job = attempt.job
    return TeacherAnswered(
        request_key=job.request_key,
        sample_index=job.sample_index,
        state_key=job.question.state_key,
        teacher=job.teacher.name,
        origin="asked",
        rollout_id=job.question.rollout_id,
        turn_index=job.question.turn_index,
        action_json=canonical_text(outcome.message),
        model_requested=job.teacher.spec.model,
        model_served=outcome.model_served,
        provider=outcome.provider,
        response_id=outcome.response_id,
        finish_reason=outcome.finish_reason,
        cost_usd=None if cost.usd is None else float(cost.usd),
        cost_source=_stated(cost.source),
        latency_ms=outcome.latency_ms,
        completion_ids=outcome.completion_ids,
        teacher_logprobs=outcome.logprobs,
        sampling_json=_sampling_text(job),
        attempt_id=attempt.attempt_id,
        context_rule=job.context_rule,
        native_finish_reason=outcome.native_finish_reason,
        first_token_ms=outcome.first_token_ms,
        system_fingerprint=outcome.system_fingerprint,
        top_logprobs_json=_json_or_null(outcome.raw_top_logprobs),
        **_counts(cost.usage),
    )


def _failure(attempt: Attempt, outcome: Failed, cost: Cost) -> TeacherFailed:
    job = attempt.job
    return TeacherFailed(
        request_key=job.request_key,
        sample_index=job.sample_index,
        attempt_index=attempt.attempt_index,
        state_key=job.question.state_key,
        teacher=job.teacher.name,
        failure=str(outcome.failure),
        http_status=outcome.http_status,
        detail=outcome.detail,
        cost_usd=None if cost.usd is None else float(cost.usd),
        latency_ms=outcome.latency_ms,
        attempt_id=attempt.attempt_id,
        response_id=outcome.response_id,
        model_served=outcome.model_served,
        provider=outcome.provider,
        rollout_id=job.question.rollout_id,
        turn_index=job.question.turn_index,
    )


def _sampling_text(job: Job) -> str:
    sampling = job.teacher.spec.sampling
    seed = {} if sampling.seed is None else {"seed": sampling.seed + job.sample_index}
    return canonical_text(sampling.request_fields() | seed)


def _counts(usage: Usage | None) -> dict[str, Any]:
    names = ("prompt_token_count", "cached_token_count", "completion_token_count")
    return {} if usage is None else {name: getattr(usage, name) for name in names}


def _stated(source: SettledBy) -> Literal["provider", "price_table"] | None:
    return source if source in ("provider", "price_table") else None


def _json_or_null(value: Any) -> str | None:
    return None if value is None else canonical_text(value)
