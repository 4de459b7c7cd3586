"""Goal: whatever an endpoint does, a call comes to an answer or to a failure that says what happened.

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
from tracelake.producers.calling.http_client import teacher_client
from tracelake.producers.calling.outcome import Answered, Failed, Outcome
from tracelake.producers.teachers.pricing.usage import read_usage

MODEL = "maker/teacher-1"
BODY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "What now?"}]}
ANSWERS = {
    *("answer", "tool_call", "extra_fields", "finish_length", "finish_unknown", "dated_model"),
    *("no_usage", "usage_zero", "usage_negative", "usage_absurd", "usage_text", "usage_text_fields"),
    *("cost_nan", "cost_infinity", "cost_negative_zero", "cost_beyond_floats", "cost_twice"),
    *("ignores_stream", "refuses_stream", "no_done", "holds_on", "gzip_answer", "split_emoji"),
}
FAILURES: dict[str, F | tuple[F, F] | tuple[None, F]] = {
    # What differs between a stream and a whole answer is a pair of them; None is an answer.
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


def ask(server: FaultServer, scenario: str, **changes: Any) -> Outcome:
    server.play(*[scenario] * (2 if scenario == "refuses_stream" and changes.get("stream", True) else 1))
    # What is not waited for in vain has time: a machine under load must not fail it.
    waited = {"slow_loris": {"total_timeout_s": 0.6}, "never_answers": {"total_timeout_s": 0.6}}
    waited["falls_silent"] = {"idle_timeout_s": 0.5}

    async def run() -> Outcome:
        client = teacher_client(server.base_url, "key-1")
        try:
            return await call(client, BODY, limits=limits(**waited.get(scenario, {}), **changes))
        finally:
            await client.close()

    return asyncio.run(run())


def answer(outcome: Outcome) -> Answered:
    assert isinstance(outcome, Answered), outcome
    return outcome


def failure(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


def test_every_scenario_is_looked_at() -> None:
    assert set(FAILURES) | ANSWERS == set(SCENARIOS)
    assert not set(FAILURES) & ANSWERS


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("scenario", sorted(ANSWERS))
def test_an_answer_is_whole_whatever_surrounds_it(server: FaultServer, scenario: str, stream: bool) -> None:
    told = answer(ask(server, scenario, stream=stream))
    expected = {"role": "assistant", "content": TEXT}
    if scenario == "tool_call":
        expected = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    if scenario == "split_emoji":
        expected = {"role": "assistant", "content": "\U0001f600"}
    assert told.message == expected
    assert told.response_id == server.served[-1].response_id
    assert told.provider == "Faulty"
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
    told = failure(outcome)
    assert told.failure == expected
    assert told.sent
    assert len(told.detail) <= 2000
    assert told.detail.encode()
    if server.served[-1].billed_microusd:
        assert told.reaction.billed != "no"


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
def test_a_failure_that_was_paid_keeps_its_cost_and_its_id(
    server: FaultServer, scenario: str, stream: bool
) -> None:
    told = failure(ask(server, scenario, stream=stream))
    assert told.usage is not None
    assert told.usage["cost"] == COST_MICROUSD / 10**6
    assert told.response_id == server.served[-1].response_id


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "scenario",
    ["cost_nan", "cost_infinity", "cost_beyond_floats", "cost_twice", "usage_negative", "usage_absurd"],
)
def test_a_cost_that_cannot_be_is_told_but_not_believed(
    server: FaultServer, scenario: str, stream: bool
) -> None:
    told = answer(ask(server, scenario, stream=stream))
    read = read_usage(told.usage)
    assert read.cost_usd is None
    assert read.disbelieved


def test_a_usage_that_is_no_object_is_not_taken_for_a_missing_one(server: FaultServer) -> None:
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
def test_the_detail_holds_what_was_said(server: FaultServer, scenario: str, text: str) -> None:
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
def test_the_wait_that_is_asked_for_is_told(
    server: FaultServer, scenario: str, low_s: float, high_s: float
) -> None:
    told = failure(ask(server, scenario)).retry_after_s
    assert told is not None
    # Scenarios name a moment one hour after they were loaded.
    assert low_s - 600 * (scenario == "rate_limited_date") <= told <= high_s


@pytest.mark.parametrize("scenario", ["rate_limited_missing", "rate_limited_nonsense"])
def test_without_a_readable_wait_none_is_told(server: FaultServer, scenario: str) -> None:
    assert failure(ask(server, scenario)).retry_after_s is None


@pytest.mark.parametrize(
    ("scenario", "told"),
    [
        ("falls_silent", "silent for 0.5 s"),
        ("slow_loris", "no end after 0.6 s"),
        ("never_answers", "no end after 0.6 s"),
    ],
)
def test_silence_and_slowness_are_told_apart(server: FaultServer, scenario: str, told: str) -> None:
    assert told in failure(ask(server, scenario)).detail


def test_nobody_goes_where_a_redirect_points(server: FaultServer) -> None:
    before = len(server.served)
    ask(server, "redirect_here")
    assert server.trapped == 0
    assert len(server.served) == before + 1


def test_an_endpoint_that_refuses_to_stream_is_asked_once_more_and_remembered(server: FaultServer) -> None:
    told = limits()
    before = len(server.served)

    async def run() -> list[Outcome]:
        client = teacher_client(server.base_url, None)
        outcomes = [await call(client, BODY, limits=told) for _ in range(2)]
        await client.close()
        return outcomes

    server.play("refuses_stream", "refuses_stream", "refuses_stream")
    assert [answer(outcome).message["content"] for outcome in asyncio.run(run())] == [TEXT, TEXT]
    assert [each.body["stream"] for each in server.served[before:]] == [True, False, False]
    assert told.stream is False


def test_a_connection_that_is_refused_sent_nothing() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = failure(_once(f"http://127.0.0.1:{port}/v1"))
    assert (told.failure, told.sent, told.reaction.billed) == (F.CONNECTION, False, "no")


def test_a_name_that_leads_nowhere_sent_nothing() -> None:
    told = failure(_once("http://nowhere.invalid/v1"))
    assert (told.failure, told.sent) == (F.CONNECTION, False)


def _once(base_url: str) -> Outcome:
    async def run() -> Outcome:
        client = teacher_client(base_url, "key")
        try:
            return await call(client, BODY, limits=limits())
        finally:
            await client.close()

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
        client = teacher_client(server.base_url, "key")
        for _ in range(8):
            await call(client, BODY, limits=limits())
        await client.close()

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
def test_the_id_is_told_before_the_answer_ends_and_once(
    server: FaultServer, scenario: str, stream: bool
) -> None:
    told: list[str] = []

    async def remember(response_id: str) -> None:
        told.append(response_id)

    async def run() -> Outcome:
        client = teacher_client(server.base_url, "key")
        patient = limits(idle_timeout_s=0.5 if scenario == "falls_silent" else 30.0, stream=stream)
        outcome = await call(client, BODY, limits=patient, on_response_id=remember)
        await client.close()
        return outcome

    server.play(scenario)
    outcome = asyncio.run(run())
    assert told == [server.served[-1].response_id]
    assert outcome.response_id == told[0]
    assert isinstance(outcome, Failed) == (scenario == "falls_silent")


@pytest.mark.parametrize("kind", [OSError, ValueError, TimeoutError])
def test_an_error_of_the_callers_own_function_is_raised(server: FaultServer, kind: type[Exception]) -> None:
    """Those that an endpoint could cause, too."""

    def full(response_id: str) -> None:
        raise kind("no space left")

    async def run() -> None:
        client = teacher_client(server.base_url, "key")
        try:
            await call(client, BODY, limits=limits(), on_response_id=full)
        finally:
            await client.close()

    with pytest.raises(kind, match="no space"):
        asyncio.run(run())


def test_a_call_that_is_cancelled_ends_and_leaves_the_client_usable(server: FaultServer) -> None:
    async def run() -> Outcome:
        client = teacher_client(server.base_url, "key")
        told = asyncio.Event()

        def begun(response_id: str) -> None:
            told.set()

        patient = limits()
        task = asyncio.create_task(call(client, BODY, limits=patient, on_response_id=begun))
        await told.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        outcome = await call(client, BODY, limits=patient)
        await client.close()
        return outcome

    server.play("falls_silent", "answer")
    assert answer(asyncio.run(run())).message["content"] == TEXT


def test_a_deadline_of_the_caller_is_not_taken_for_one_of_the_call(server: FaultServer) -> None:
    async def run() -> None:
        client = teacher_client(server.base_url, "key")
        try:
            async with asyncio.timeout(0.2):
                await call(client, BODY, limits=limits())
        finally:
            await client.close()

    server.play("falls_silent")
    with pytest.raises(TimeoutError):
        asyncio.run(run())


@pytest.mark.parametrize("seed", range(4))
def test_no_request_that_was_billed_is_taken_for_an_unpaid_one(seed: int) -> None:
    """Some 120 calls at once, of which half meet a fault drawn from the seed."""

    async def run(base_url: str) -> list[Outcome]:
        client = teacher_client(base_url, "key")
        patient = limits(stream=seed % 2 == 0)
        questions = [{**BODY, "seed": number} for number in range(120)]
        outcomes = await asyncio.gather(*(call(client, body, limits=patient) for body in questions))
        await client.close()
        return outcomes

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
