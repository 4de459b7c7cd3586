"""The events of one attempt: its reservation, its answer or failure, and its settlement.

**The answer precedes its settlement**: if an append is torn between them, the answer is there and has the
cost.
**The provider's figure is the cost, where it can be true**; else a price table over its token counts; else
the maximum that was reserved.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from tracelake.producers.calling.failures import FailureClass
from tracelake.producers.calling.outcome import Answered, CallOutcome, Failed, cut
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
    arm: str | None

    def reserved(self) -> TeacherCallReserved:
        return TeacherCallReserved(
            **_job_fields(self.job),
            attempt_id=self.attempt_id,
            replay_id=self.replay_id,
            attempt_index=self.attempt_index,
            arm=self.arm,
            max_cost_microusd=self.job.bounds.cost_microusd,
            endpoint=without_local_port(self.job.teacher.spec.base_url),
        )

    def withdrawn(self) -> TeacherCallSettled:
        """The settlement of an attempt that was reserved and not sent."""
        return TeacherCallSettled(attempt_id=self.attempt_id, cost_microusd=0, cost_source="unbilled")


class Cost(NamedTuple):
    """The cost of an attempt, and where the figure comes from."""

    microusd: int
    source: SettledBy
    usd: Decimal | None
    """Not rounded; null if it is unknown."""
    usage: Usage | None


class AttemptEvents(NamedTuple):
    """The events of an attempt that ended, to be appended together, and its cost."""

    events: tuple[Event, ...]
    cost: Cost

    @property
    def settled_microusd(self) -> int | None:
        """Null: unknown."""
        return None if self.cost.source == "maximum" else self.cost.microusd


def new_attempt(replay_id: str, job: Job, attempt_index: int, arm: str | None) -> Attempt:
    """Its id is a hash of what it attempts: nothing is drawn."""
    attempt_id = hash_of([replay_id, job.request_key, job.sample_index, attempt_index])[:32]
    return Attempt(attempt_id, replay_id, job, attempt_index, arm)


def outcome_events(attempt: Attempt, outcome: CallOutcome) -> AttemptEvents:
    """An answer that has no event form becomes a failure."""
    cost = _cost(attempt, outcome)
    try:
        ended: Event = (
            _answered(attempt, outcome, cost)
            if isinstance(outcome, Answered)
            else _failed(attempt, outcome, cost)
        )
        # One event without an identity would fail the whole batch that it is appended with.
        event_identity(ended)
    except (EventInvalidError, ValidationError) as error:
        detail = cut(str(error))
        malformed = Failed(FailureClass.MALFORMED_ANSWER, None, detail, latency_ms=outcome.latency_ms)
        ended = _failed(attempt, malformed, cost)
    settled = TeacherCallSettled(
        attempt_id=attempt.attempt_id, cost_microusd=cost.microusd, cost_source=cost.source
    )
    return AttemptEvents((ended, settled), cost)


def unsent_failure(job: Job, attempt_index: int) -> TeacherFailed:
    """The failure of a job that cannot be sent and costs nothing."""
    window = job.teacher.spec.limits.context_token_max
    return TeacherFailed(
        **_job_fields(job),
        attempt_index=attempt_index,
        failure=job.unsent or CONTEXT_TOO_LONG,
        detail=f"not sent; the window is of {window or 'unknown'} tokens",
    )


def _cost(attempt: Attempt, outcome: CallOutcome) -> Cost:
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


def _job_fields(job: Job) -> dict[str, Any]:
    return {
        "request_key": job.request_key,
        "sample_index": job.sample_index,
        "state_key": job.question.state_key,
        "teacher": job.teacher.name,
        "rollout_id": job.question.rollout_id,
        "turn_index": job.question.turn_index,
    }


def _answered(attempt: Attempt, outcome: Answered, cost: Cost) -> TeacherAnswered:
    job, usage = attempt.job, cost.usage
    sampling = job.teacher.spec.sampling
    seed = {} if sampling.seed is None else {"seed": sampling.seed + job.sample_index}
    source: Literal["provider", "price_table"] | None = (
        cost.source if cost.source in ("provider", "price_table") else None
    )
    alternatives = outcome.raw_top_logprobs
    return TeacherAnswered(
        **_job_fields(job),
        attempt_id=attempt.attempt_id,
        origin="asked",
        action_json=canonical_text(outcome.message),
        model_requested=job.teacher.spec.model,
        model_served=outcome.model_served,
        provider=outcome.provider,
        response_id=outcome.response_id,
        finish_reason=outcome.finish_reason,
        native_finish_reason=outcome.native_finish_reason,
        system_fingerprint=outcome.system_fingerprint,
        cost_usd=None if cost.usd is None else float(cost.usd),
        cost_source=source,
        prompt_token_count=None if usage is None else usage.prompt_token_count,
        cached_token_count=None if usage is None else usage.cached_token_count,
        completion_token_count=None if usage is None else usage.completion_token_count,
        latency_ms=outcome.latency_ms,
        first_token_ms=outcome.first_token_ms,
        completion_ids=outcome.completion_ids,
        teacher_logprobs=outcome.logprobs,
        top_logprobs_json=None if alternatives is None else canonical_text(alternatives),
        sampling_json=canonical_text(sampling.request_fields() | seed),
        context_rule=job.context_rule,
        license=job.teacher.spec.license,
        distillable=job.teacher.spec.may_be_distilled,
    )


def _failed(attempt: Attempt, outcome: Failed, cost: Cost) -> TeacherFailed:
    return TeacherFailed(
        **_job_fields(attempt.job),
        attempt_id=attempt.attempt_id,
        attempt_index=attempt.attempt_index,
        failure=str(outcome.failure),
        http_status=outcome.http_status,
        detail=outcome.detail,
        cost_usd=None if cost.usd is None else float(cost.usd),
        latency_ms=outcome.latency_ms,
        response_id=outcome.response_id,
        model_served=outcome.model_served,
        provider=outcome.provider,
    )
