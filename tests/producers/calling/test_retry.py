"""Which failures are repeated, how often, and after what wait."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tracelake.producers.calling.failures import FailureClass
from tracelake.producers.calling.outcome import Answered, CallOutcome, Failed
from tracelake.producers.calling.retry import Retries, RetryPolicy

ANSWER = Answered(
    {"role": "assistant", "content": "yes"}, "stop", None, None, None, None, None, None, None, None, 1.0, 1.0
)


def failed(failure: FailureClass, **fields: object) -> Failed:
    return Failed(failure, None, "")._replace(**fields)


def rate_limited(retry_after_s: float | None = None) -> Failed:
    return failed(FailureClass.RATE_LIMITED, retry_after_s=retry_after_s)


def waits_s(outcomes: Sequence[CallOutcome], key: str = "k") -> list[float]:
    """The waits of one sample whose attempts have these outcomes, up to the final one."""
    retries, waits = Retries(RetryPolicy(), key), list[float]()
    for outcome in outcomes:
        wait_s = retries.wait_s_after(outcome)
        if wait_s is None:
            break
        waits.append(wait_s)
    return waits


def attempt_count(outcomes: Sequence[CallOutcome]) -> int:
    return len(waits_s(outcomes)) + 1


def test_an_answer_is_final() -> None:
    assert waits_s([ANSWER]) == []


def test_the_wait_of_a_rate_limit_is_respected() -> None:
    waits = waits_s([rate_limited(7.0), rate_limited(7.0), ANSWER])
    assert len(waits) == 2
    assert all(7.0 <= wait_s <= 7.0 * 1.25 for wait_s in waits)


def test_without_a_requested_wait_the_wait_doubles() -> None:
    bounds = [(1, 1.25), (2, 2.5), (4, 5), (8, 10), (16, 20)]
    waits = waits_s([rate_limited()] * 5 + [ANSWER])
    assert all(low <= wait <= high for wait, (low, high) in zip(waits, bounds, strict=True))


@pytest.mark.parametrize("requested_s", [1e9, 121.0, 86_400.0])
def test_an_absurd_wait_is_cut(requested_s: float) -> None:
    [wait_s] = waits_s([rate_limited(requested_s), ANSWER])
    assert 120 <= wait_s <= 150


def test_a_requested_wait_of_zero_still_backs_off() -> None:
    waits = waits_s([rate_limited(0.0)] * 5 + [ANSWER])
    assert waits == sorted(waits)
    assert sum(waits) > 3


def test_attempts_are_bounded() -> None:
    assert attempt_count([rate_limited()] * 9) == 6


def test_attempts_that_may_be_billed_are_repeated_once() -> None:
    assert attempt_count([failed(FailureClass.TRUNCATED_STREAM)] * 6) == 2
    assert attempt_count([rate_limited(0.0)] * 3 + [failed(FailureClass.TIMEOUT), ANSWER]) == 5


def test_a_connection_that_was_never_established_costs_nothing_and_is_retried() -> None:
    refused = failed(FailureClass.CONNECTION, sent=False)
    assert attempt_count([refused] * 5 + [ANSWER]) == 6
    assert attempt_count([refused._replace(sent=True)] * 5 + [ANSWER]) == 2


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
def test_failures_that_would_repeat_are_final(failure: FailureClass) -> None:
    assert attempt_count([failed(failure), ANSWER]) == 1


def test_jitter_repeats_with_the_key_and_differs_without() -> None:
    outcomes = [rate_limited(10.0)] * 3 + [ANSWER]
    assert waits_s(outcomes, key="a") == waits_s(outcomes, key="a")
    assert waits_s(outcomes, key="a") != waits_s(outcomes, key="b")
