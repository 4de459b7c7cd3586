"""The scenarios of a fault server: one function each, by name.

**A scenario that computes bills**: it calls `exchange.bill()` before it sends anything, so a client that
loses the answer has still been charged.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import Any

from aiohttp import web

TEXT = "The answer has several words, and a few more, so that it fills some twenty chunks of a stream in all."
PROMPT_TOKENS, COMPLETION_TOKENS, COST_MICROUSD = 1000, 40, 1234
USAGE: dict[str, Any] = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
    "cost": COST_MICROUSD / 10**6,
    "prompt_tokens_details": {"cached_tokens": 0},
}
TOOL_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "bash", "arguments": '{"command":"ls -la"}'},
}


class Exchange:
    """One request and the ways to answer it."""

    def __init__(
        self, request: web.Request, body: dict[str, Any], response_id: str, bill: Callable[[], None]
    ) -> None:
        self.request, self.body, self.response_id, self.bill = request, body, response_id, bill
        self.stream = bool(body.get("stream"))

    def completion(
        self, message: Mapping[str, Any], finish: str | None = "stop", **fields: Any
    ) -> dict[str, Any]:
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
        return {
            "id": self.response_id,
            "object": "chat.completion",
            "model": self.body["model"],
            "provider": "Faulty",
            "choices": [choice],
            "usage": USAGE,
            **fields,
        }

    def chunks(self, completion: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The chunks of a completion: its role, its text word by word, its calls, its end, its usage."""
        choice = completion["choices"][0]
        message = choice["message"]
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        words = (message.get("content") or "").split(" ")
        deltas += [*({"content": f"{word} "} for word in words[:-1]), {"content": words[-1]}]
        if message.get("refusal"):
            deltas.append({"refusal": message["refusal"]})
        for index, call in enumerate(message.get("tool_calls") or []):
            deltas += _call_deltas(index, call)
        parts = [self._chunk(completion, delta, None) for delta in deltas]
        parts.append(self._chunk(completion, {}, choice["finish_reason"]))
        usage = {**self._chunk(completion, {}, None), "choices": []}
        return [
            *parts,
            {**usage, "usage": completion["usage"]} if completion.get("usage") is not None else usage,
        ]

    async def answer(self, completion: Mapping[str, Any]) -> web.StreamResponse:
        """Billed, whole or as a stream, as was asked."""
        self.bill()
        if self.stream:
            return await self.send_events(self.chunks(completion))
        return self.json(completion)

    async def send_events(
        self, chunks: list[Any], *, done: bool = True, pause_s: float = 0.0
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(self.request)
        await response.write(b": PROCESSING\n\n")
        for chunk in chunks:
            text = chunk if isinstance(chunk, str) else json.dumps(chunk)
            await response.write(f"data: {text}\n\n".encode())
            if pause_s:
                await asyncio.sleep(pause_s)
        if done:
            await response.write(b"data: [DONE]\n\n")
        return response

    def json(self, body: Any, status: int = 200, **headers: str) -> web.Response:
        text = body if isinstance(body, str) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(text=text, status=status, headers=named, content_type="application/json")

    def error(self, status: int, message: str, **headers: str) -> web.Response:
        return self.json({"error": {"code": status, "message": message}}, status, **headers)

    def reset(self) -> None:
        """Hang up so that the other side sees a reset."""
        transport = self.request.transport
        assert transport is not None
        hard = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, hard)
        transport.abort()

    @staticmethod
    def _chunk(completion: Mapping[str, Any], delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
        fields = {key: value for key, value in completion.items() if key not in ("usage", "choices")}
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**fields, "object": "chat.completion.chunk", "choices": [choice]}


Scenario = Callable[[Exchange], Awaitable[web.StreamResponse]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


def _call_deltas(index: int, call: Mapping[str, Any]) -> list[dict[str, Any]]:
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    half = len(arguments) // 2
    function = {"name": name, "arguments": ""}
    opening = {"index": index, "id": call["id"], "type": "function", "function": function}
    halves = (arguments[:half], arguments[half:])
    rest = [{"index": index, "function": {"arguments": part}} for part in halves]
    return [{"tool_calls": [part]} for part in (opening, *rest)]


@scenario
async def rate_limited_date(exchange: Exchange) -> web.StreamResponse:
    """Asks to wait until one hour after the request."""
    return exchange.error(429, "slow down", Retry_After=formatdate(time.time() + 3600, usegmt=True))


def _statuses() -> None:
    """Scenarios that are an error status and nothing else: nothing is computed, nothing billed."""
    scenarios: dict[str, tuple[int, str, dict[str, str]]] = {
        "rate_limited_seconds": (429, "slow down", {"Retry_After": "7"}),
        "rate_limited_negative": (429, "slow down", {"Retry_After": "-5"}),
        "rate_limited_huge": (429, "slow down", {"Retry_After": "1000000000"}),
        "rate_limited_nonsense": (429, "slow down", {"Retry_After": "soon"}),
        "rate_limited_missing": (429, "slow down", {}),
        "in_flight_budget": (402, "credit is reserved for calls in flight", {"Retry_After": "2"}),
        "out_of_credit": (402, "insufficient credits", {}),
        "key_limit": (403, "Key limit exceeded (total limit)", {}),
        "flagged": (403, "Your input was flagged by moderation", {}),
        "unauthorized": (401, "No auth credentials found", {}),
        "unknown_model": (404, "No endpoints found for this model", {}),
        "request_timeout": (408, "request timed out", {}),
        "too_long": (400, "This endpoint's maximum context length is 10 tokens", {}),
        "bad_gateway": (502, "upstream error", {}),
        "unavailable": (503, "no provider is available", {}),
    }
    for name, (status, message, headers) in scenarios.items():

        async def refuse(
            exchange: Exchange,
            status: int = status,
            message: str = message,
            headers: dict[str, str] = headers,
        ) -> web.StreamResponse:
            return exchange.error(status, message, **headers)

        SCENARIOS[name] = refuse


def _answers() -> None:
    """Scenarios that are a completion with one thing about it: computed and billed."""
    said = {"content": TEXT}
    scenarios: dict[str, tuple[dict[str, Any], str | None, dict[str, Any]]] = {
        "answer": (said, "stop", {}),
        "tool_call": ({"content": None, "tool_calls": [TOOL_CALL]}, "tool_calls", {}),
        "extra_fields": (said, "stop", {"surprise": {"deep": [1, {"x": None}]}, "service_tier": 7}),
        "content_null": ({"content": None}, "stop", {}),
        "refusal": ({"content": None, "refusal": "I will not."}, "stop", {}),
        "finish_length": (said, "length", {}),
        "finish_error": (said, "error", {}),
        "finish_unknown": (said, "tired", {}),
        "finish_filter": (said, "content_filter", {}),
        "other_model": (said, "stop", {"model": "cheap/knock-off-1"}),
        "no_usage": (said, "stop", {"usage": None}),
        "usage_zero": (said, "stop", {"usage": {**USAGE, "completion_tokens": 0, "prompt_tokens": 0}}),
        "usage_negative": (said, "stop", {"usage": {**USAGE, "completion_tokens": -40, "cost": -1}}),
        "usage_absurd": (said, "stop", {"usage": {**USAGE, "prompt_tokens": 10**12, "cost": 10**12}}),
        "usage_text": (said, "stop", {"usage": "a lot"}),
        "usage_text_fields": (said, "stop", {"usage": {**USAGE, "prompt_tokens": "1000", "cost": "0.5"}}),
        "cost_nan": (said, "stop", {"usage": {**USAGE, "cost": float("nan")}}),
        "cost_infinity": (said, "stop", {"usage": {**USAGE, "cost": float("inf")}}),
        "cost_negative_zero": (said, "stop", {"usage": {**USAGE, "cost": -0.0}}),
        "bad_arguments": (_calling("bash", '{"command": "ls'), "tool_calls", {}),
        "listed_arguments": (_calling("bash", "[1, 2]"), "tool_calls", {}),
        "nameless_call": (_calling("", "{}"), "tool_calls", {}),
    }
    for name, (message, finish, fields) in scenarios.items():

        async def answer(
            exchange: Exchange,
            message: dict[str, Any] = message,
            finish: str | None = finish,
            fields: dict[str, Any] = fields,
        ) -> web.StreamResponse:
            return await exchange.answer(exchange.completion(message, finish, **fields))

        SCENARIOS[name] = answer


def _calling(name: str, arguments: str) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"content": None, "tool_calls": [call]}


_statuses()
_answers()


@scenario
async def late_500(exchange: Exchange) -> web.StreamResponse:
    """It was computed and billed, and then something broke."""
    exchange.bill()
    return exchange.error(500, "internal error after the answer")


@scenario
async def html_page(exchange: Exchange) -> web.StreamResponse:
    return web.Response(text="<html>" + "busy " * 50_000, status=502, content_type="text/html")


@scenario
async def dated_model(exchange: Exchange) -> web.StreamResponse:
    served = f"{exchange.body['model']}-2026-08-13"
    return await exchange.answer(exchange.completion({"content": TEXT}, model=served))


@scenario
async def error_in_body(exchange: Exchange) -> web.StreamResponse:
    return exchange.json({"error": {"code": 502, "message": "Provider returned error"}})


@scenario
async def credit_in_body(exchange: Exchange) -> web.StreamResponse:
    return exchange.json({"error": {"code": 402, "message": "Insufficient credits"}})


@scenario
async def error_in_stream(exchange: Exchange) -> web.StreamResponse:
    """Half of the text, then an error, then the usage of what was computed."""
    exchange.bill()
    completion = exchange.completion({"content": TEXT})
    if not exchange.stream:
        return exchange.json({**completion, "error": {"code": 502, "message": "went away"}})
    error = {
        "id": exchange.response_id,
        "error": {"code": 502, "message": "went away"},
        "choices": [],
        "usage": USAGE,
    }
    return await exchange.send_events([*exchange.chunks(completion)[:8], error])


@scenario
async def empty_choices(exchange: Exchange) -> web.StreamResponse:
    completion = {**exchange.completion({}), "choices": []}
    return await exchange.send_events([completion]) if exchange.stream else exchange.json(completion)


@scenario
async def wrong_schema(exchange: Exchange) -> web.StreamResponse:
    exchange.bill()
    completion = {**exchange.completion({}), "choices": {"first": "hello"}}
    return await exchange.send_events([completion]) if exchange.stream else exchange.json(completion)


@scenario
async def malformed_json(exchange: Exchange) -> web.StreamResponse:
    exchange.bill()
    text = '{"id": "x", "choices": [}'
    return await exchange.send_events([text]) if exchange.stream else exchange.json(text)


@scenario
async def deep_json(exchange: Exchange) -> web.StreamResponse:
    exchange.bill()
    text = '{"choices":' + "[" * 100_000
    return await exchange.send_events([text]) if exchange.stream else exchange.json(text)


@scenario
async def truncated_json(exchange: Exchange) -> web.StreamResponse:
    """The status and the length are right, the text stops in a word."""
    exchange.bill()
    text = json.dumps(exchange.completion({"content": TEXT}))
    return exchange.json(text[: len(text) // 3])


@scenario
async def cut_before_usage(exchange: Exchange) -> web.StreamResponse:
    return await _cut(exchange, -1)


@scenario
async def cut_after_usage(exchange: Exchange) -> web.StreamResponse:
    return await _cut(exchange, None)


@scenario
async def cut_in_text(exchange: Exchange) -> web.StreamResponse:
    return await _cut(exchange, 6)


async def _cut(exchange: Exchange, until: int | None) -> web.StreamResponse:
    """A stream that ends by a reset after some of its chunks; without a stream, half of the text."""
    exchange.bill()
    completion = exchange.completion({"content": TEXT})
    if not exchange.stream:
        text = json.dumps(completion).encode()
        response = web.StreamResponse(
            headers={"Content-Length": str(len(text)), "Content-Type": "application/json"}
        )
        await response.prepare(exchange.request)
        await response.write(text[: len(text) // 2])
    else:
        response = await exchange.send_events(exchange.chunks(completion)[:until], done=False)
    # What was written has to leave before the reset, which throws away what waits.
    await asyncio.sleep(0.05)
    exchange.reset()
    return response


@scenario
async def no_done(exchange: Exchange) -> web.StreamResponse:
    """A stream that ends in order, without saying so."""
    if not exchange.stream:
        return await exchange.answer(exchange.completion({"content": TEXT}))
    exchange.bill()
    return await exchange.send_events(exchange.chunks(exchange.completion({"content": TEXT})), done=False)


@scenario
async def holds_on(exchange: Exchange) -> web.StreamResponse:
    """A stream that is whole, and whose connection stays open."""
    response = await exchange.answer(exchange.completion({"content": TEXT}))
    if exchange.stream:
        await asyncio.sleep(3600)
    return response


@scenario
async def talks_on(exchange: Exchange) -> web.StreamResponse:
    """A stream that is whole, after which the server goes on sending."""
    response = await exchange.answer(exchange.completion({"content": TEXT}))
    while exchange.stream:
        await response.write(b": ping\n\n" * 1000)
    return response


@scenario
async def cost_beyond_floats(exchange: Exchange) -> web.StreamResponse:
    return await _spelled(exchange, '"cost": 0.001234', '"cost": 1e309')


@scenario
async def cost_twice(exchange: Exchange) -> web.StreamResponse:
    return await _spelled(exchange, '"cost": 0.001234', '"cost": 1, "cost": 0')


async def _spelled(exchange: Exchange, old: str, new: str) -> web.StreamResponse:
    """JSON that no encoder writes."""
    exchange.bill()
    completion = exchange.completion({"content": TEXT})
    if not exchange.stream:
        return exchange.json(json.dumps(completion).replace(old, new))
    texts = [json.dumps(chunk).replace(old, new) for chunk in exchange.chunks(completion)]
    return await exchange.send_events(texts)


@scenario
async def ignores_stream(exchange: Exchange) -> web.StreamResponse:
    exchange.bill()
    return exchange.json(exchange.completion({"content": TEXT}))


@scenario
async def refuses_stream(exchange: Exchange) -> web.StreamResponse:
    if exchange.stream:
        return exchange.error(400, "`stream` is not supported by this model")
    return await exchange.answer(exchange.completion({"content": TEXT}))


@scenario
async def slow_loris(exchange: Exchange) -> web.StreamResponse:
    """One byte at a time, for ever."""
    exchange.bill()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(exchange.request)
    while True:
        await response.write(b":")
        await asyncio.sleep(0.02)


@scenario
async def falls_silent(exchange: Exchange) -> web.StreamResponse:
    """Some text, and then nothing for as long as anybody waits."""
    exchange.bill()
    chunks = exchange.chunks(exchange.completion({"content": TEXT}))
    response = await exchange.send_events(chunks[:6], done=False)
    await asyncio.sleep(3600)
    return response


@scenario
async def never_answers(exchange: Exchange) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return exchange.json({})


@scenario
async def huge_body(exchange: Exchange) -> web.StreamResponse:
    """A gigabyte, as long as the client reads."""
    return await _huge(exchange, 200)


@scenario
async def huge_error(exchange: Exchange) -> web.StreamResponse:
    return await _huge(exchange, 500)


async def _huge(exchange: Exchange, status: int) -> web.StreamResponse:
    exchange.bill()
    response = web.StreamResponse(status=status, headers={"Content-Type": "application/json"})
    await response.prepare(exchange.request)
    await response.write(b'{"choices": "')
    for _ in range(1024):
        await response.write(b"x" * 2**20)
    return response


@scenario
async def gzip_bomb(exchange: Exchange) -> web.StreamResponse:
    exchange.bill()
    packed = gzip.compress(b'{"choices": "' + b"x" * 2**26, 1)
    return web.Response(body=packed, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})


@scenario
async def gzip_answer(exchange: Exchange) -> web.StreamResponse:
    """Packed correctly, although it was not requested."""
    exchange.bill()
    packed = gzip.compress(json.dumps(exchange.completion({"content": TEXT})).encode())
    return web.Response(body=packed, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})


@scenario
async def redirect(exchange: Exchange) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data/"})


@scenario
async def redirect_here(exchange: Exchange) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "/v1/trap"})


@scenario
async def reset_after_send(exchange: Exchange) -> web.StreamResponse:
    """The question was taken, computed and billed; nothing comes back."""
    exchange.bill()
    exchange.reset()
    return web.Response()


@scenario
async def split_emoji(exchange: Exchange) -> web.StreamResponse:
    """Half a surrogate pair in one chunk and half in the next, as a proxy that cuts UTF-16 writes it."""
    if not exchange.stream:
        return await exchange.answer(exchange.completion({"content": "\U0001f600"}))
    exchange.bill()
    chunks = exchange.chunks(exchange.completion({"content": "A B"}))
    chunks[1]["choices"][0]["delta"]["content"] = "\ud83d"
    chunks[2]["choices"][0]["delta"]["content"] = "\ude00"
    return await exchange.send_events(chunks)


@scenario
async def lone_surrogate(exchange: Exchange) -> web.StreamResponse:
    return await exchange.answer(exchange.completion({"content": "half \ud83d"}))
