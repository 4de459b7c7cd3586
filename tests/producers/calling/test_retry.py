"""Which failures are asked again, how often, and after what wait. Time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.producers.teachers.virtual_time import RecordedClock, run_virtually
from tracelake.producers.calling.concurrency import AdaptiveLimit
from tracelake.producers.calling.failures import FailureClass
from tracelake.producers.calling.outcome import Answered, Failed, Outcome
from tracelake.producers.calling.retry import DEFAULT_POLICY, RetryPolicy, answered

ANSWER = Answered(
    {"role": "assistant", "content": "yes"}, "stop", None, None, None, None, None, None, None, None, 1.0, 1.0
)


def failed(failure: FailureClass, **fields: object) -> Failed:
    return Failed(failure, None, "")._replace(**fields)


def rate_limited(retry_after_s: float | None = None) -> Failed:
    return failed(FailureClass.RATE_LIMITED, retry_after_s=retry_after_s)


class Asked:
    """What became of one sample whose attempts come to the given outcomes."""

    def __init__(
        self, outcomes: Sequence[Outcome], policy: RetryPolicy = DEFAULT_POLICY, key: str = "k"
    ) -> None:
        self.clock, self.attempts = RecordedClock(), []
        self.in_flight_while_waiting: list[int] = []
        self.limit: AdaptiveLimit | None = None
        self._outcomes, self._policy, self._key = outcomes, policy, key
        self.outcome = run_virtually(self._run())

    @property
    def waits_s(self) -> list[float]:
        return self.clock.waits_s

    async def _run(self) -> Outcome:
        self.limit = AdaptiveLimit(start=8)

        async def attempt(index: int) -> Outcome:
            self.attempts.append(index)
            return self._outcomes[index]

        return await answered(attempt, self.limit, self._policy, self.clock, key=self._key)


def test_an_answer_is_asked_for_once() -> None:
    asked = Asked([ANSWER])
    assert (asked.outcome, asked.attempts, asked.waits_s) == (ANSWER, [0], [])


def test_a_rate_limit_is_waited_out_and_shrinks() -> None:
    asked = Asked([rate_limited(7.0), rate_limited(7.0), ANSWER])
    assert asked.outcome is ANSWER
    assert asked.attempts == [0, 1, 2]
    assert all(7.0 <= wait_s <= 7.0 * 1.25 for wait_s in asked.waits_s)
    assert asked.limit is not None
    assert asked.limit.size < 8


def test_a_broken_endpoint_does_not_shrink() -> None:
    asked = Asked([failed(FailureClass.SERVER_ERROR, http_status=503)] * 3 + [ANSWER])
    assert asked.limit is not None
    assert asked.limit.size == 8


def test_without_a_word_on_waiting_the_wait_doubles() -> None:
    asked = Asked([rate_limited()] * 5 + [ANSWER])
    bounds = [(1, 1.25), (2, 2.5), (4, 5), (8, 10), (16, 20)]
    assert all(low <= wait <= high for wait, (low, high) in zip(asked.waits_s, bounds, strict=True))


@pytest.mark.parametrize("told_s", [1e9, 121.0, 86_400.0])
def test_an_absurd_wait_is_cut(told_s: float) -> None:
    [wait_s] = Asked([rate_limited(told_s), ANSWER]).waits_s
    assert 120 <= wait_s <= 150


def test_a_wait_of_nothing_is_not_taken_as_leave_to_hammer() -> None:
    waits_s = Asked([rate_limited(0.0)] * 5 + [ANSWER]).waits_s
    assert waits_s == sorted(waits_s)
    assert sum(waits_s) > 3


def test_attempts_are_bounded_and_the_last_failure_is_told() -> None:
    asked = Asked([rate_limited()] * 6)
    assert asked.outcome == rate_limited()
    assert asked.attempts == list(range(6))


def test_what_may_have_been_paid_is_tried_twice_at_most() -> None:
    asked = Asked([failed(FailureClass.TRUNCATED_STREAM)] * 6)
    assert asked.attempts == [0, 1]
    assert Asked([rate_limited(0.0)] * 3 + [failed(FailureClass.TIMEOUT), ANSWER]).outcome is ANSWER


def test_a_connection_that_never_stood_costs_nothing_and_is_tried_on() -> None:
    refused = failed(FailureClass.CONNECTION, sent=False)
    assert Asked([refused] * 5 + [ANSWER]).outcome is ANSWER
    assert Asked([refused._replace(sent=True)] * 5 + [ANSWER]).attempts == [0, 1]


@pytest.mark.parametrize(
    "failure",
    [
        FailureClass.OUT_OF_CREDIT,
        FailureClass.UNAUTHORIZED,
        FailureClass.BAD_REQUEST,
        FailureClass.MODERATION,
        FailureClass.REFUSAL,
        FailureClass.MODEL_MISMATCH,
        FailureClass.NOT_FOUND,
        FailureClass.REDIRECTED,
    ],
)
def test_what_would_fail_again_is_not_asked_again(failure: FailureClass) -> None:
    assert Asked([failed(failure), ANSWER]).attempts == [0]


def test_jitter_repeats_with_the_key_and_differs_without() -> None:
    outcomes = [rate_limited(10.0)] * 3 + [ANSWER]
    assert Asked(outcomes, key="a").waits_s == Asked(outcomes, key="a").waits_s
    assert Asked(outcomes, key="a").waits_s != Asked(outcomes, key="b").waits_s


def test_nobody_waits_in_a_slot() -> None:
    async def run() -> list[str]:
        limit = AdaptiveLimit(fixed=1)
        told: list[str] = []

        async def unlucky(index: int) -> Outcome:
            told.append(f"unlucky {index}")
            return rate_limited(60.0) if index == 0 else ANSWER

        async def lucky(index: int) -> Outcome:
            told.append("lucky")
            return ANSWER

        async with asyncio.TaskGroup() as group:
            group.create_task(answered(unlucky, limit, key="u"))
            group.create_task(answered(lucky, limit, key="l"))
        return told

    assert run_virtually(run()) == ["unlucky 0", "lucky", "unlucky 1"]


def test_an_error_of_the_caller_goes_through_and_frees_its_slot() -> None:
    async def run() -> int:
        limit = AdaptiveLimit(fixed=1)

        async def broke(index: int) -> Outcome:
            raise ArithmeticError

        with pytest.raises(ArithmeticError):
            await answered(broke, limit, key="k")
        return limit.in_flight

    assert run_virtually(run()) == 0


def test_each_attempt_is_made_ready_and_stored_outside_of_its_slot() -> None:
    told: list[tuple[str, int]] = []

    async def scenario() -> None:
        limit = AdaptiveLimit(start=8)
        outcomes = [rate_limited(1.0), ANSWER]

        async def ready() -> None:
            told.append(("ready", limit.in_flight))

        async def attempt(index: int) -> Outcome:
            told.append(("asked", limit.in_flight))
            return outcomes[index]

        async def kept() -> None:
            told.append(("kept", limit.in_flight))

        await answered(attempt, limit, clock=RecordedClock(), ready=ready, kept=kept)

    run_virtually(scenario())
    assert told == [("ready", 0), ("asked", 1), ("kept", 0)] * 2
