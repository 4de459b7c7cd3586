"""Which failure an answer is, and what follows from each."""

from __future__ import annotations

from email.utils import formatdate
from time import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.producers.calling.failures import (
    FailureClass,
    class_of_embedded,
    class_of_status,
    reaction,
    retry_after_s,
)
from tracelake.producers.calling.validate_answer import is_same_model

F = FailureClass
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("status", "error", "wait_s", "expected"),
    [
        (429, {"code": 429, "message": "slow down"}, None, F.RATE_LIMITED),
        (429, {"code": "insufficient_quota", "message": "plan"}, None, F.OUT_OF_CREDIT),
        (402, {"code": 402, "message": "more credits needed"}, None, F.OUT_OF_CREDIT),
        (402, {"code": 402, "message": "more credits needed"}, 3.0, F.IN_FLIGHT_BUDGET),
        (402, {"metadata": {"limit_source": "openrouter_in_flight_budget"}}, None, F.IN_FLIGHT_BUDGET),
        (403, {"message": "flagged", "metadata": {"reasons": ["x"]}}, None, F.MODERATION),
        (403, {"message": "Key limit exceeded (monthly limit)"}, None, F.OUT_OF_CREDIT),
        (403, {"message": "not for you"}, None, F.UNAUTHORIZED),
        (401, {"message": "User not found."}, None, F.UNAUTHORIZED),
        (400, {"code": "content_policy_violation"}, None, F.MODERATION),
        (400, {"code": "tool_use_failed", "failed_generation": "x"}, None, F.MALFORMED_TOOL_CALL),
        (400, {"message": "moderation is a word of the question that is quoted here"}, None, F.BAD_REQUEST),
        (422, "not an object", None, F.BAD_REQUEST),
        (413, None, None, F.BAD_REQUEST),
        (404, {"message": "No endpoints found"}, None, F.NOT_FOUND),
        (408, None, None, F.TIMEOUT),
        (504, None, None, F.TIMEOUT),
        (524, None, None, F.TIMEOUT),
        (500, None, None, F.SERVER_ERROR),
        (529, None, None, F.SERVER_ERROR),
        (301, None, None, F.REDIRECTED),
        (101, None, None, F.MALFORMED_ANSWER),
    ],
)
def test_classes_of_statuses(status: int, error: Any, wait_s: float | None, expected: F) -> None:
    assert class_of_status(status, error, wait_s) == expected


@pytest.mark.parametrize(
    ("error", "in_stream", "had_content", "expected"),
    [
        ({"code": 502}, False, False, F.ERROR_IN_BODY),
        ({"code": 502}, True, True, F.ERROR_IN_STREAM),
        ("broke", True, False, F.ERROR_IN_STREAM),
        ({"code": 429}, True, False, F.RATE_LIMITED),
        ({"code": "429"}, False, False, F.RATE_LIMITED),
        ({"code": "rate_limit_exceeded"}, True, False, F.RATE_LIMITED),
        ({"code": "insufficient_quota"}, False, False, F.OUT_OF_CREDIT),
        ({"code": 402}, False, False, F.OUT_OF_CREDIT),
        # Something was computed by then, and may be charged.
        ({"code": 429}, True, True, F.ERROR_IN_STREAM),
    ],
)
def test_classes_of_errors_inside_of_answers(
    error: Any, in_stream: bool, had_content: bool, expected: F
) -> None:
    assert class_of_embedded(error, in_stream=in_stream, had_content=had_content) == expected


@given(st.integers(-10, 10_000), JSON)
def test_any_status_and_any_error_have_a_class(status: int, error: Any) -> None:
    assert class_of_status(status, error, None) in FailureClass
    assert class_of_embedded(error, in_stream=True, had_content=False) in FailureClass
    coded = {"code": error, "message": error, "type": error, "metadata": error}
    assert class_of_status(status, coded, None) in FailureClass
    assert class_of_embedded(coded, in_stream=False, had_content=False) in FailureClass


def test_only_words_of_a_limit_shrink() -> None:
    shrinking = {failure for failure in FailureClass if reaction(failure).shrink}
    assert shrinking == {F.RATE_LIMITED, F.IN_FLIGHT_BUDGET}


def test_a_teacher_stops_only_where_every_call_would_fail() -> None:
    stopping = {failure for failure in FailureClass if reaction(failure).stop_run}
    assert stopping == {F.OUT_OF_CREDIT, F.UNAUTHORIZED, F.NOT_FOUND}
    assert not any(reaction(failure).retry for failure in stopping)


def test_nothing_that_may_have_been_computed_counts_as_unpaid() -> None:
    unpaid = {failure for failure in FailureClass if reaction(failure).billed == "no"}
    assert unpaid == {
        *(F.RATE_LIMITED, F.IN_FLIGHT_BUDGET, F.OUT_OF_CREDIT, F.UNAUTHORIZED),
        *(F.NOT_FOUND, F.BAD_REQUEST, F.REDIRECTED),
    }


def test_what_never_left_or_was_never_taken_is_unpaid() -> None:
    assert reaction(F.CONNECTION, sent=False).billed == "no"
    assert reaction(F.TIMEOUT, sent=False).billed == "no"
    assert reaction(F.SERVER_ERROR, http_status=503).billed == "no"
    assert reaction(F.SERVER_ERROR, http_status=500).billed == "maybe"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "1000000000"}, 1e9),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Wed, 99 Xxx 2026 00:00:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({}, None),
    ],
)
def test_waits_are_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


def test_a_wait_until_a_moment_is_counted_from_now() -> None:
    wait_s = retry_after_s({"retry-after": formatdate(time() + 100, usegmt=True)})
    assert wait_s is not None
    assert 50 < wait_s <= 100


@given(st.text())
def test_any_wait_is_read_or_left(text: str) -> None:
    wait_s = retry_after_s({"retry-after": text, "retry-after-ms": text})
    assert wait_s is None or 0 <= wait_s < float("inf")


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("anthropic/claude-sonnet-4.5", "anthropic/claude-4.5-sonnet-20250929"),
        ("anthropic/claude-sonnet-4-5", "anthropic/claude-4.5-sonnet-20250929"),
        ("deepseek/deepseek-v4-pro-0813", "deepseek/deepseek-v4-pro-0813"),
        ("deepseek/deepseek-v4-pro-0813", "deepseek/deepseek-v4-pro"),
        ("deepseek/deepseek-v4-pro-0813", "deepseek-v4-pro-20260813"),
        ("google/gemini-2.5-flash:free", "google/gemini-2.5-flash"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-r1"),
        ("/models/smollm2", "smollm2"),
    ],
)
def test_names_of_one_model(asked: str, served: str) -> None:
    assert is_same_model(asked, served)
    assert is_same_model(served, asked)


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("deepseek-reasoner", "deepseek-v4-flash"),
        ("compound-beta", "groq/compound"),
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20"),
        ("gpt-5.4", "gpt-4.5"),
        ("openai/gpt-5", "evil/gpt-5"),
        ("llama3:8b", "llama3:70b"),
        ("claude-sonnet-4.5", "claude-opus-4.5"),
        ("o3", "o3-mini"),
    ],
)
def test_names_of_two_models(asked: str, served: str) -> None:
    assert not is_same_model(asked, served)
    assert not is_same_model(served, asked)


@given(st.text(), st.text())
def test_any_names_can_be_compared(asked: str, served: str) -> None:
    assert is_same_model(asked, asked)
    assert is_same_model(asked, served) == is_same_model(served, asked)
