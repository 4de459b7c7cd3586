"""Goal: whatever an endpoint does, a call ends with an answer or with a failure that says what happened.

Method: a real server over real HTTP that does it, to a call that streams and to one that does not.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.producers.teachers.fault_scenarios import COST_MICROUSD, SCENARIOS, TEXT, TOOL_CALL
from tests.producers.teachers.fault_server import FaultServer, schedule
from tracelake.producers.calling.call import CallLimits, call
from tracelake.producers.calling.failures import FailureClass as F
from tracelake.producers.calling.http_client import EndpointClient
from tracelake.producers.calling.outcome import Answered, CallOutcome, Failed
from tracelake.producers.teachers.pricing.usage import read_usage

MODEL = "maker/teacher-1"
BODY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "What now?"}]}
ANSWERS = {
    *("answer", "tool_call", "extra_fields", "finish_length", "finish_unknown", "dated_model"),
    *("no_usage", "usage_zero", "usage_negative", "usage_absurd", "usage_text", "usage_text_fields"),
    *("cost_nan", "cost_infinity", "cost_negative_zero", "cost_beyond_floats", "cost_twice"),
    *("ignores_stream", "refuses_stream", "no_done", "holds_on", "talks_on", "gzip_answer", "split_emoji"),
}
FAILURES: dict[str, F | tuple[F, F] | tuple[None, F]] = {
    # A pair if a stream and a whole answer differ; None is an answer.
    "rate_limited_seconds": F.RATE_LIMITED,
    "rate_limited_date": F.RATE_LIMITED,
    "rate_limited_negative": F.RATE_LIMITED,
    "rate_limited_huge": F.RATE_LIMITED,
    "rate_limited_nonsense": F.RATE_LIMITED,
    "rate_limited_missing": F.RATE_LIMITED,
    "in_flight_budget": F.IN_FLIGHT_BUDGET,
    "out_of_credit": F.OUT_OF_CREDIT,
    "key_limit": F.OUT_OF_CREDIT,
    "credit_in_body": F.OUT_OF_CREDIT,
    "flagged": F.MODERATION,
    "finish_filter": F.MODERATION,
    "unauthorized": F.UNAUTHORIZED,
    "unknown_model": F.NOT_FOUND,
    "too_long": F.BAD_REQUEST,
    "request_timeout": F.TIMEOUT,
    "bad_gateway": F.SERVER_ERROR,
    "unavailable": F.SERVER_ERROR,
    "late_500": F.SERVER_ERROR,
    "html_page": F.SERVER_ERROR,
    "huge_error": F.SERVER_ERROR,
    "error_in_body": F.ERROR_IN_BODY,
    "error_in_stream": (F.ERROR_IN_STREAM, F.ERROR_IN_BODY),
    "finish_error": (F.ERROR_IN_STREAM, F.ERROR_IN_BODY),
    "empty_choices": F.EMPTY_CHOICES,
    "content_null": F.EMPTY_CHOICES,
    "refusal": F.REFUSAL,
    "other_model": F.MODEL_MISMATCH,
    "bad_arguments": F.MALFORMED_TOOL_CALL,
    "listed_arguments": F.MALFORMED_TOOL_CALL,
    "nameless_call": F.MALFORMED_TOOL_CALL,
    "wrong_schema": F.MALFORMED_ANSWER,
    "malformed_json": F.MALFORMED_ANSWER,
    "truncated_json": F.MALFORMED_ANSWER,
    "deep_json": F.MALFORMED_ANSWER,
    "lone_surrogate": F.MALFORMED_ANSWER,
    "cut_in_text": (F.TRUNCATED_STREAM, F.CONNECTION),
    "cut_before_usage": (None, F.CONNECTION),
    "cut_after_usage": (None, F.CONNECTION),
    "reset_after_send": F.CONNECTION,
    "redirect": F.REDIRECTED,
    "redirect_here": F.REDIRECTED,
    "huge_body": F.OVERSIZED_BODY,
    "gzip_bomb": F.OVERSIZED_BODY,
    "slow_loris": F.TIMEOUT,
    "falls_silent": F.TIMEOUT,
    "never_answers": F.TIMEOUT,
}


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def limits(**changes: Any) -> CallLimits:
    return CallLimits(
        **{"total_timeout_s": 30.0, "idle_timeout_s": 30.0, "body_byte_max": 2**20, "stream": True, **changes}
    )


def ask(server: FaultServer, scenario: str, **changes: Any) -> CallOutcome:
    server.play(*[scenario] * (2 if scenario == "refuses_stream" and changes.get("stream", True) else 1))
    # Short only where the timeout is the expectation: load must not fail the other scenarios.
    waited = {"slow_loris": {"total_timeout_s": 0.6}, "never_answers": {"total_timeout_s": 0.6}}
    waited["falls_silent"] = {"idle_timeout_s": 0.5}

    async def run() -> CallOutcome:
        async with EndpointClient(server.base_url, "key-1") as client:
            return await call(client, BODY, limits=limits(**waited.get(scenario, {}), **changes))

    return asyncio.run(run())


def answer(outcome: CallOutcome) -> Answered:
    assert isinstance(outcome, Answered), outcome
    return outcome


def failure(outcome: CallOutcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


def test_every_scenario_is_tested() -> None:
    assert set(FAILURES) | ANSWERS == set(SCENARIOS)
    assert not set(FAILURES) & ANSWERS


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("scenario", sorted(ANSWERS))
def test_an_answer_is_whole_whatever_surrounds_it(server: FaultServer, scenario: str, stream: bool) -> None:
    answered = answer(ask(server, scenario, stream=stream))
    expected = {"role": "assistant", "content": TEXT}
    if scenario == "tool_call":
        expected = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    if scenario == "split_emoji":
        expected = {"role": "assistant", "content": "\U0001f600"}
    assert answered.message == expected
    assert answered.response_id == server.served[-1].response_id
    assert answered.provider == "Faulty"
    assert server.served[-1].billed_microusd == COST_MICROUSD


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("scenario", sorted(FAILURES))
def test_a_failure_says_which_it_is(server: FaultServer, scenario: str, stream: bool) -> None:
    expected = FAILURES[scenario]
    expected = (expected if isinstance(expected, tuple) else (expected, expected))[0 if stream else 1]
    outcome = ask(server, scenario, stream=stream)
    if expected is None:
        assert answer(outcome).message["content"] == TEXT
        return
    failed = failure(outcome)
    assert failed.failure == expected
    assert failed.sent
    assert len(failed.detail) <= 2000
    assert failed.detail.encode()
    if server.served[-1].billed_microusd:
        assert failed.reaction.billed != "no"


@pytest.mark.parametrize(
    ("scenario", "stream"),
    [
        ("error_in_stream", True),
        ("other_model", True),
        ("content_null", False),
        ("bad_arguments", True),
        ("finish_filter", False),
        ("wrong_schema", True),
    ],
)
def test_a_billed_failure_has_its_cost_and_its_id(server: FaultServer, scenario: str, stream: bool) -> None:
    failed = failure(ask(server, scenario, stream=stream))
    assert failed.usage is not None
    assert failed.usage["cost"] == COST_MICROUSD / 10**6
    assert failed.response_id == server.served[-1].response_id


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "scenario",
    ["cost_nan", "cost_infinity", "cost_beyond_floats", "cost_twice", "usage_negative", "usage_absurd"],
)
def test_an_impossible_cost_is_reported_but_not_believed(
    server: FaultServer, scenario: str, stream: bool
) -> None:
    read = read_usage(answer(ask(server, scenario, stream=stream)).usage)
    assert read.cost_usd is None
    assert read.rejected


def test_a_usage_that_is_no_object_differs_from_a_missing_one(server: FaultServer) -> None:
    assert answer(ask(server, "usage_text")).usage == {"unreadable": "a lot"}
    assert answer(ask(server, "no_usage")).usage is None
    assert answer(ask(server, "cut_before_usage")).usage is None


@pytest.mark.parametrize(
    ("scenario", "text"),
    [
        ("other_model", TEXT),
        ("finish_filter", TEXT),
        ("finish_error", TEXT),
        ("error_in_stream", "The answer has several words"),
        ("cut_in_text", "The answer has"),
        ("falls_silent", "The answer has"),
        ("bad_arguments", '{"command": "ls'),
        ("refusal", "I will not."),
        ("malformed_json", '"choices": [}'),
        ("too_long", "maximum context length"),
        ("redirect", "169.254.169.254"),
    ],
)
def test_the_detail_quotes_the_endpoint(server: FaultServer, scenario: str, text: str) -> None:
    assert text in failure(ask(server, scenario)).detail


@pytest.mark.parametrize(
    ("scenario", "low_s", "high_s"),
    [
        ("rate_limited_seconds", 7, 7),
        ("rate_limited_date", 3500, 3600),
        ("rate_limited_negative", 0, 0),
        ("rate_limited_huge", 1e9, 1e9),
        ("in_flight_budget", 2, 2),
    ],
)
def test_the_requested_wait_is_reported(
    server: FaultServer, scenario: str, low_s: float, high_s: float
) -> None:
    wait_s = failure(ask(server, scenario)).retry_after_s
    assert wait_s is not None
    assert low_s <= wait_s <= high_s


@pytest.mark.parametrize("scenario", ["rate_limited_missing", "rate_limited_nonsense"])
def test_without_a_readable_wait_none_is_reported(server: FaultServer, scenario: str) -> None:
    assert failure(ask(server, scenario)).retry_after_s is None


@pytest.mark.parametrize(
    ("scenario", "detail"),
    [
        ("falls_silent", "silent for 0.5 s"),
        ("slow_loris", "no end after 0.6 s"),
        ("never_answers", "no end after 0.6 s"),
    ],
)
def test_silence_and_slowness_are_distinguished(server: FaultServer, scenario: str, detail: str) -> None:
    assert detail in failure(ask(server, scenario)).detail


def test_a_redirect_is_not_followed(server: FaultServer) -> None:
    before = len(server.served)
    ask(server, "redirect_here")
    assert server.trapped == 0
    assert len(server.served) == before + 1


def test_an_endpoint_that_refuses_to_stream_is_asked_once_more_and_remembered(server: FaultServer) -> None:
    remembering = limits()
    before = len(server.served)

    async def run() -> list[CallOutcome]:
        async with EndpointClient(server.base_url, None) as client:
            return [await call(client, BODY, limits=remembering) for _ in range(2)]

    server.play("refuses_stream", "refuses_stream", "refuses_stream")
    assert [answer(outcome).message["content"] for outcome in asyncio.run(run())] == [TEXT, TEXT]
    assert [each.body["stream"] for each in server.served[before:]] == [True, False, False]
    assert remembering.stream is False


def test_a_connection_that_is_refused_sent_nothing() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    failed = failure(_once(f"http://127.0.0.1:{port}/v1"))
    assert (failed.failure, failed.sent, failed.reaction.billed) == (F.CONNECTION, False, "no")


def test_a_host_that_does_not_exist_was_sent_nothing() -> None:
    failed = failure(_once("http://nowhere.invalid/v1"))
    assert (failed.failure, failed.sent) == (F.CONNECTION, False)


def _once(base_url: str) -> CallOutcome:
    async def run() -> CallOutcome:
        async with EndpointClient(base_url, "key") as client:
            return await call(client, BODY, limits=limits())

    return asyncio.run(run())


def test_the_request_is_the_body_and_the_key_and_asks_for_the_usage(server: FaultServer) -> None:
    ask(server, "answer")
    seen = server.served[-1]
    assert seen.body == {**BODY, "stream": True, "stream_options": {"include_usage": True}}
    assert seen.headers["authorization"] == "Bearer key-1"
    assert seen.headers["accept-encoding"] == "identity"
    assert "cookie" not in seen.headers


def test_calls_share_a_connection_unless_one_was_left_half_read(server: FaultServer) -> None:
    async def run() -> None:
        async with EndpointClient(server.base_url, "key") as client:
            for _ in range(8):
                await call(client, BODY, limits=limits())

    before = len(server.served)
    server.play(*["answer"] * 4, "huge_body", *["answer"] * 3)
    asyncio.run(run())
    ports = [each.connection for each in server.served[before:]]
    assert len(set(ports[:5])) == 1
    assert len(set(ports[5:])) == 1
    assert ports[0] != ports[5]


@pytest.mark.parametrize(
    ("scenario", "stream"), [("falls_silent", True), ("answer", True), ("answer", False)]
)
def test_the_id_is_reported_once_and_before_the_answer_ends(
    server: FaultServer, scenario: str, stream: bool
) -> None:
    reported: list[str] = []

    async def run() -> CallOutcome:
        patient = limits(idle_timeout_s=0.5 if scenario == "falls_silent" else 30.0, stream=stream)
        async with EndpointClient(server.base_url, "key") as client:
            return await call(client, BODY, limits=patient, on_response_id=reported.append)

    server.play(scenario)
    outcome = asyncio.run(run())
    assert reported == [server.served[-1].response_id]
    assert outcome.response_id == reported[0]
    assert isinstance(outcome, Failed) == (scenario == "falls_silent")


@pytest.mark.parametrize("kind", [OSError, ValueError, TimeoutError])
def test_an_error_of_the_callers_own_function_is_raised(server: FaultServer, kind: type[Exception]) -> None:
    """Even if it is of a type that an endpoint could cause."""

    def full(response_id: str) -> None:
        raise kind("no space left")

    async def run() -> None:
        async with EndpointClient(server.base_url, "key") as client:
            await call(client, BODY, limits=limits(), on_response_id=full)

    with pytest.raises(kind, match="no space"):
        asyncio.run(run())


def test_a_call_that_is_cancelled_ends_and_leaves_the_client_usable(server: FaultServer) -> None:
    async def run() -> CallOutcome:
        begun, patient = asyncio.Event(), limits()
        async with EndpointClient(server.base_url, "key") as client:
            asked = call(client, BODY, limits=patient, on_response_id=lambda _: begun.set())
            task = asyncio.create_task(asked)
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await call(client, BODY, limits=patient)

    server.play("falls_silent", "answer")
    assert answer(asyncio.run(run())).message["content"] == TEXT


def test_a_timeout_of_the_caller_is_raised(server: FaultServer) -> None:
    async def run() -> None:
        async with EndpointClient(server.base_url, "key") as client, asyncio.timeout(0.2):
            await call(client, BODY, limits=limits())

    server.play("falls_silent")
    with pytest.raises(TimeoutError):
        asyncio.run(run())


@pytest.mark.parametrize("seed", range(4))
def test_no_billed_request_counts_as_unbilled(seed: int) -> None:
    """Some 120 calls at once, of which half meet a fault drawn from the seed."""

    async def run(base_url: str) -> list[CallOutcome]:
        patient = limits(stream=seed % 2 == 0)
        questions = [{**BODY, "seed": number} for number in range(120)]
        async with EndpointClient(base_url, "key") as client:
            return await asyncio.gather(*(call(client, body, limits=patient) for body in questions))

    with FaultServer(schedule(seed, 120)) as server:
        outcomes = asyncio.run(run(server.base_url))
    assert len(outcomes) == 120
    billed = dict.fromkeys(range(120), 0)
    for each in server.served:
        billed[each.body["seed"]] += each.billed_microusd
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, Failed) and outcome.reaction.billed == "no":
            assert billed[number] == 0, outcome
    assert sum(billed.values()) == server.billed_microusd > 0
