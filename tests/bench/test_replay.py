"""The ideal schedule that a replay's wall clock is compared with."""

from __future__ import annotations

from bench.replay import Call, ideal_s

REFUSED = Call("q", "rate_limited", 0.0, 0)


def took(*seconds: float) -> list[Call]:
    return [Call("q", "answer", each, 1) for each in seconds]


def test_each_request_goes_to_the_first_free_slot() -> None:
    assert ideal_s(took(3, 1, 1, 1), question_count=4, at_once=2, retry_after_s=1) == 3
    assert ideal_s(took(3, 1, 1, 4), question_count=4, at_once=2, retry_after_s=1) == 6


def test_a_refused_question_waits_outside_of_the_slots() -> None:
    assert ideal_s([REFUSED, *took(2, 2, 1)], question_count=3, at_once=1, retry_after_s=1) == 5


def test_the_last_refusal_is_waited_for() -> None:
    assert ideal_s([*took(1), REFUSED, *took(1)], question_count=2, at_once=2, retry_after_s=5) == 6


def test_a_request_after_its_answer_is_not_counted() -> None:
    assert ideal_s(took(1, 1, 9), question_count=2, at_once=2, retry_after_s=1) == 1
