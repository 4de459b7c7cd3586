"""What a probe finds out about endpoints that support a feature, refuse it, or ignore it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from tests.producers.teachers.fault_scenarios import TOOL_CALL, USAGE, Exchange, Scenario
from tests.producers.teachers.fault_server import FaultServer
from tracelake.producers.calling.call import CallLimits, call
from tracelake.producers.calling.http_client import EndpointClient
from tracelake.producers.calling.outcome import Answered, CallOutcome
from tracelake.producers.local_teachers.server import TeacherServer
from tracelake.producers.teachers.probe import Capabilities, probe

ALL = frozenset(
    (
        "stream",
        "logprobs",
        "tools",
        "n",
        "seed",
        "prompt_logprobs",
        "return_token_ids",
        "echo",
        "cost",
        "cache",
    )
)


class Endpoint(NamedTuple):
    """Supports `can`, refuses `refuses`, and ignores everything else."""

    can: frozenset[str] = ALL
    refuses: frozenset[str] = frozenset()

    async def __call__(self, exchange: Exchange) -> web.StreamResponse:
        body, path = exchange.body, exchange.request.path
        asked = {name for name in body if body[name]} | (
            {"echo"} if path.endswith("/v1/completions") else set()
        )
        if refused := asked & self.refuses:
            return exchange.error(400, f"unsupported: {sorted(refused)}")
        if path.endswith("/v1/completions"):
            return self._plain(exchange) if "echo" in self.can else exchange.error(404, "no such path")
        completion = exchange.completion(self._message(exchange, body), usage=self._usage())
        choice = completion["choices"][0]
        if body.get("logprobs") and "logprobs" in self.can:
            alternatives = [{"token": "OK", "logprob": -0.1}] * body["top_logprobs"]
            choice["logprobs"] = {"content": [{"token": "OK", "logprob": -0.1, "top_logprobs": alternatives}]}
        if body.get("return_token_ids") and "return_token_ids" in self.can:
            choice["token_ids"] = [7]
        if body.get("prompt_logprobs") and "prompt_logprobs" in self.can:
            completion["prompt_logprobs"] = [None, {"5": {"logprob": -1.0}}]
        if body.get("n") == 2 and "n" in self.can:
            completion["choices"].append({**choice, "index": 1})
        if body.get("stream") and "stream" in self.can:
            return await exchange.send_events(exchange.chunks(completion))
        return exchange.json(completion)

    def _message(self, exchange: Exchange, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("tools") and "tools" in self.can:
            return {"content": None, "tool_calls": [TOOL_CALL]}
        if body.get("seed"):
            return {"content": f"text {body['seed'] if 'seed' in self.can else exchange.response_id}"}
        return {"content": "OK"}

    def _usage(self) -> dict[str, Any]:
        left_out = {"cost"} - self.can | ({"prompt_tokens_details"} if "cache" not in self.can else set())
        return {name: value for name, value in USAGE.items() if name not in left_out}

    def _plain(self, exchange: Exchange) -> web.StreamResponse:
        logprobs = {"tokens": ["The", " capital", " Paris"], "token_logprobs": [None, -1.0, -0.2]}
        choice = {"index": 0, "text": "The capital Paris", "logprobs": logprobs, "finish_reason": "length"}
        return exchange.json(
            {"id": "x", "model": exchange.body["model"], "choices": [choice], "usage": self._usage()}
        )


def probed(scenario: Scenario | str, **fields: Any) -> Capabilities:
    with FaultServer(default=scenario) as server:
        return asyncio.run(
            probe(server.base_url, "m", "key", timeout_s=fields.pop("timeout_s", 20), **fields)
        )


FOUND: dict[str, Callable[[Capabilities], object]] = {
    "stream": lambda found: found.streams,
    "logprobs": lambda found: found.logprobs,
    "tools": lambda found: found.tools,
    "n": lambda found: found.several_choices,
    "seed": lambda found: found.seed,
    "prompt_logprobs": lambda found: found.prompt_logprobs,
    "return_token_ids": lambda found: found.completion_ids,
    "echo": lambda found: found.echo_logprobs,
    "cost": lambda found: found.states_cost,
    "cache": lambda found: found.cached_token_counts,
}


def test_an_endpoint_with_every_feature() -> None:
    found = probed(Endpoint())
    assert {name: FOUND[name](found) for name in ALL} == dict.fromkeys(ALL, True)
    assert (found.model_served, found.usage_in_stream, found.top_logprob_count) == ("m", True, 5)
    assert found.refusals == ()
    assert len(found.usages) == 9


@pytest.mark.parametrize("name", sorted(ALL))
def test_ignored_features_are_found_missing(name: str) -> None:
    found = probed(Endpoint(can=ALL - {name}))
    expected = dict.fromkeys(ALL, True) | {name: False}
    assert {each: FOUND[each](found) for each in ALL} == expected


@pytest.mark.parametrize("name", ["stream", "logprobs", "tools", "n", "seed", "echo"])
def test_refused_features_are_found_missing_and_quoted(name: str) -> None:
    found = probed(Endpoint(refuses=frozenset([name])))
    assert FOUND[name](found) is False
    assert all(refusal.http_status == 400 and name in refusal.detail for refusal in found.refusals)
    assert found.refusals


@pytest.mark.parametrize(
    "scenario",
    ["unauthorized", "rate_limited_missing", "unavailable", "error_in_body", "reset_after_send", "deep_json"],
)
def test_an_endpoint_that_fails_shows_nothing(scenario: str) -> None:
    found = probed(scenario)
    shown = [FOUND[name](found) for name in ALL - {"echo"}]
    assert set(shown) == {None}
    assert len(found.refusals) == 9


@pytest.mark.parametrize("scenario", ["huge_body", "never_answers", "gzip_bomb"])
def test_a_hostile_endpoint_ends_a_probe_no_later_than_an_honest_one(scenario: str) -> None:
    found = probed(scenario, timeout_s=0.05)
    assert found.logprobs is None


def test_the_extra_body_goes_with_every_request() -> None:
    with FaultServer(default=Endpoint()) as server:
        asyncio.run(probe(server.base_url, "m", extra_body={"provider": {"only": ["x"]}}))
        assert all(each.body["provider"] == {"only": ["x"]} for each in server.served)
        assert all(each.body["max_tokens"] <= 32 for each in server.served)


def test_the_local_teachers_lack_what_they_lack() -> None:
    with TeacherServer() as server:
        found = asyncio.run(probe(server.base_url, "tiny-teacher-80"))
        body = {"model": "tiny-teacher-80", "messages": [{"role": "user", "content": "?"}]}
        limits = CallLimits()

        async def asked() -> CallOutcome:
            client = EndpointClient(server.base_url, None)
            outcome = await call(client, body, limits=limits)
            await client.close()
            return outcome

        outcome = asyncio.run(asked())
    assert (found.streams, found.several_choices, found.logprobs, found.echo_logprobs) == (False,) * 4
    assert found.model_served == "tiny-teacher-80"
    assert isinstance(outcome, Answered)
    assert limits.stream is False
