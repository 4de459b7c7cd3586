"""Goal: calls read real responses of real providers correctly.

Method: recorded responses, streams byte for byte, from a real local server; plain code of this file reads the
expected values from the recordings.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml
from aiohttp import web

from tests.producers.teachers.fault_scenarios import Exchange
from tests.producers.teachers.fault_server import FaultServer
from tracelake.producers.calling.call import CallLimits, call
from tracelake.producers.calling.failures import FailureClass
from tracelake.producers.calling.http_client import EndpointClient
from tracelake.producers.calling.outcome import Answered, CallOutcome, Failed

pytestmark = pytest.mark.realdata
CASSETTE_COUNT = 180
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Recorded(NamedTuple):
    """One exchange with a chat completions endpoint, and its outcome here."""

    cassette: str
    host: str
    request: dict[str, Any]
    status: int
    content_type: str
    body: bytes
    outcome: CallOutcome

    @property
    def is_stream(self) -> bool:
        return "event-stream" in self.content_type

    @property
    def events(self) -> list[dict[str, Any]]:
        """The recording, read without the tested code: chunks, or the one completion."""
        if "text/plain" in self.content_type:
            return []
        if not self.is_stream:
            return [json.loads(self.body)]
        lines = self.body.decode().split("\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


@pytest.fixture(scope="module")
def recorded(real_traces: Callable[[str], Path]) -> list[Recorded]:
    found = list(exchanges(real_traces("pydantic-ai-cassettes")))
    with FaultServer() as server:
        server.play(*(player(each) for each in found))
        return asyncio.run(replayed(server, found))


def exchanges(folder: Path) -> Iterator[Recorded]:
    cassettes = sorted(folder.glob("tests/**/*.yaml"))
    assert len(cassettes) == CASSETTE_COUNT
    for path in cassettes:
        for exchange in yaml.load(path.read_text(), Loader=LOADER)["interactions"]:
            request, response = exchange["request"], exchange["response"]
            uri = urlsplit(request["uri"])
            if not uri.path.endswith("/chat/completions"):
                continue
            text = response.get("body", {}).get("string", "")
            whole = json.dumps(response["parsed_body"]) if "parsed_body" in response else text
            body = whole if isinstance(whole, bytes) else whole.encode()
            content_type = response["headers"]["content-type"][0]
            status, host = response["status"]["code"], str(uri.hostname)
            outcome = Failed(FailureClass.CONNECTION, None, "not asked yet")
            yield Recorded(
                str(path.relative_to(folder).with_suffix("")),
                host,
                request["parsed_body"],
                status,
                content_type,
                body,
                outcome,
            )


def player(each: Recorded) -> Callable[[Exchange], Any]:
    async def play(exchange: Exchange) -> web.StreamResponse:
        headers = {"Content-Type": each.content_type}
        return web.Response(status=each.status, body=each.body, headers=headers)

    return play


async def replayed(server: FaultServer, found: list[Recorded]) -> list[Recorded]:
    async with EndpointClient(server.base_url, "key") as client:
        outcomes = [
            await call(client, each.request, limits=CallLimits(stream=each.is_stream, total_timeout_s=60))
            for each in found
        ]
    return [each._replace(outcome=outcome) for each, outcome in zip(found, outcomes, strict=True)]


def answered(recorded: list[Recorded]) -> list[tuple[Recorded, Answered]]:
    return [(each, each.outcome) for each in recorded if isinstance(each.outcome, Answered)]


def failed(recorded: list[Recorded]) -> list[tuple[Recorded, Failed]]:
    return [(each, each.outcome) for each in recorded if isinstance(each.outcome, Failed)]


def joined(each: Recorded, field: str) -> str:
    """A text field of the first choice, over all events."""
    choices = [event["choices"][0] for event in each.events if event.get("choices")]
    messages = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    return "".join(message.get(field) or "" for message in messages)


def test_the_usable_recordings_are_all_used(recorded: list[Recorded]) -> None:
    assert len({each.cassette for each in recorded}) == 98
    assert len(recorded) == 124
    assert sum(each.is_stream for each in recorded) == 10
    hosts = Counter(each.host for each in recorded)
    assert hosts["openrouter.ai"] == 51
    assert hosts["api.openai.com"] == 41


def test_answers_and_failures_are_those_of_the_recordings(recorded: list[Recorded]) -> None:
    assert Counter(outcome.failure.value for _, outcome in failed(recorded)) == {
        "rate_limited": 3,
        "bad_request": 2,
        "malformed_tool_call": 2,
        "not_found": 2,
        "model_mismatch": 6,
        "error_in_stream": 1,
        "empty_choices": 1,
        "malformed_answer": 1,
    }
    assert len(answered(recorded)) == 106


def test_mismatched_models_are_the_known_ones(recorded: list[Recorded]) -> None:
    pairs = {
        (each.request["model"], outcome.model_served)
        for each, outcome in failed(recorded)
        if outcome.failure == FailureClass.MODEL_MISMATCH
    }
    assert pairs == {
        ("compound-beta", "groq/compound"),
        ("deepseek-reasoner", "deepseek-v4-flash"),
        ("google/gemini-2.0-flash-exp:free", "x-ai/grok-4"),
    }


def test_texts_are_the_recorded_ones(recorded: list[Recorded]) -> None:
    for each, outcome in answered(recorded):
        content = outcome.message["content"]
        if isinstance(content, list):
            assert [content] == [event["choices"][0]["message"]["content"] for event in each.events]
        else:
            assert (content or "") == joined(each, "content"), each.cassette
        assert outcome.message.get("reasoning", "") == joined(each, "reasoning"), each.cassette


def test_tool_calls_are_the_recorded_ones(recorded: list[Recorded]) -> None:
    count = 0
    for each, outcome in answered(recorded):
        if each.is_stream:
            continue
        recorded_calls = each.events[0]["choices"][0]["message"].get("tool_calls") or []
        calls = outcome.message.get("tool_calls", [])
        assert [(one["id"], one["function"]) for one in calls] == [
            (one["id"], one["function"]) for one in recorded_calls
        ]
        count += len(recorded_calls)
    # Three more are in answers of a model that was not requested.
    assert count == 21 - 3


def test_a_call_that_came_in_pieces_is_put_together(recorded: list[Recorded]) -> None:
    [calls] = [
        outcome.message["tool_calls"]
        for each, outcome in answered(recorded)
        if each.is_stream and "tool_calls" in outcome.message
    ]
    assert [call["function"] for call in calls] == [{"name": "get_capital", "arguments": '{"country":"UK"}'}]


def test_reasoning_that_came_in_pieces_is_put_together(recorded: list[Recorded]) -> None:
    [details] = [
        outcome.message["reasoning_details"]
        for each, outcome in answered(recorded)
        if each.cassette.endswith("test_openrouter_streaming_reasoning")
    ]
    [detail] = details
    assert detail["type"] == "reasoning.text"
    assert detail["signature"]
    assert detail["text"] == next(
        joined(each, "reasoning")
        for each, _ in answered(recorded)
        if each.cassette.endswith("ming_reasoning")
    )


def test_the_charges_of_routers_add_up(recorded: list[Recorded]) -> None:
    """As reported, over answers and failures alike."""
    stated = reported = Decimal(0)
    silent = 0
    for each in recorded:
        reported += Decimal(repr((each.outcome.usage or {}).get("cost", 0)))
        usages = [event["usage"] for event in each.events if event.get("usage")] if each.status == 200 else []
        stated += Decimal(repr(usages[-1].get("cost", 0))) if usages else Decimal(0)
        silent += each.host == "openrouter.ai" and bool(usages) and "cost" not in usages[-1]
    assert reported == stated
    assert Decimal("0.1") < reported < Decimal("0.2")
    # Answers from before the router reported costs.
    assert silent == 7


def test_an_error_inside_of_a_good_stream_is_a_failure_with_its_usage(recorded: list[Recorded]) -> None:
    [(each, outcome)] = [pair for pair in failed(recorded) if pair[1].failure == FailureClass.ERROR_IN_STREAM]
    assert each.status == 200
    assert "Token limit reached" in outcome.detail
    assert "We need" in outcome.detail
    assert outcome.usage is not None
    assert outcome.usage["completion_tokens"] == 10
    assert str(outcome.response_id).startswith("gen-")


def test_rate_limits_name_their_origin(recorded: list[Recorded]) -> None:
    limited = [outcome for _, outcome in failed(recorded) if outcome.failure == FailureClass.RATE_LIMITED]
    assert all("temporarily rate-limited upstream" in outcome.detail for outcome in limited)
    assert all(outcome.reaction.shrink and outcome.reaction.billed == "no" for outcome in limited)


def test_routers_name_the_provider_and_the_generation(recorded: list[Recorded]) -> None:
    routed = [outcome for each, outcome in answered(recorded) if each.host == "openrouter.ai"]
    assert all(outcome.provider and str(outcome.response_id).startswith("gen-") for outcome in routed)
    assert all(outcome.native_finish_reason for outcome in routed)
