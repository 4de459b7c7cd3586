"""An OpenAI-compatible endpoint that charges, counts by itself, and fails on purpose.

**Its counts are the reference**: what it was asked, what it charged and what it answered in full, whatever
the client believes.
**It charges before it answers**, so a client that dies in between has spent money without knowing how much.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Sequence
from random import Random
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web

PROMPT_MICROUSD, CACHED_MICROUSD, COMPLETION_MICROUSD = 3, 1, 15
"""Per token; the same as dollars per million tokens."""
FAULTS = (
    "rate_limit",
    "unavailable",
    "error_body",
    "no_choices",
    "cut_stream",
    "reset",
    "no_usage",
    "silent_cost",
)


class ServerCounts(NamedTuple):
    """The requests of a server, by the hash of their bodies, and its charges."""

    asked: Counter[str]
    answered: Counter[str]
    """Answers that were sent to their end."""
    charged_microusd: int


class PricedServer:
    """A running server; a context manager."""

    def __init__(
        self,
        *,
        faults: Sequence[str] = (),
        fault_rate: float = 0.0,
        seed: int = 0,
        delay_s: float = 0.0,
        states_cost: bool = True,
        credit_microusd: int | None = None,
        caches_prompts: bool = False,
    ) -> None:
        self._faults, self._fault_rate, self._delay_s = faults, fault_rate, delay_s
        self._states_cost, self._credit = states_cost, credit_microusd
        self._prompts: set[str] | None = set() if caches_prompts else None
        """Every prompt that was read, whole: the beginning of a later one is cheaper."""
        self._draws = Random(seed)
        self._asked: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._costs: dict[str, int] = {}
        self.charged_microusd = 0
        self.at_once = self.at_once_max = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def counts(self) -> ServerCounts:
        return ServerCounts(self._asked.copy(), self._answered.copy(), self.charged_microusd)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._completion)
        app.router.add_get("/v1/generation", self._generation)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def _generation(self, request: web.Request) -> web.Response:
        cost = self._costs.get(request.query.get("id", ""))
        if cost is None:
            return web.json_response({"error": {"code": 404, "message": "no such generation"}}, status=404)
        return web.json_response({"data": {"id": request.query["id"], "total_cost": cost / 10**6}})

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw)
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            return await self._answer(request, body)
        finally:
            self.at_once -= 1

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        fault = self._drawn()
        if fault == "rate_limit":
            return _error(429, "slow down", {"Retry-After": "0"})
        if fault == "unavailable":
            return _error(503, "no provider")
        usage = _usage(body)
        cached = self._cached_count(body["messages"])
        if cached is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": cached}
        plain = usage["prompt_tokens"] - (cached or 0)
        cost = plain * PROMPT_MICROUSD + (cached or 0) * CACHED_MICROUSD
        cost += usage["completion_tokens"] * COMPLETION_MICROUSD
        if self._credit is not None and self.charged_microusd + cost > self._credit:
            return _error(402, "insufficient credits")
        name = body_name(body)
        self._asked[name] += 1
        self.charged_microusd += cost
        response_id = f"gen-{len(self._costs)}-{name[:12]}"
        self._costs[response_id] = cost
        if self._delay_s:
            await asyncio.sleep(self._delay_s * self._draws.uniform(0.5, 1.5))
        if fault == "reset":
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if fault == "error_body":
            return web.json_response({"id": response_id, "error": {"code": 502, "message": "upstream"}})
        if fault == "no_choices":
            return web.json_response({"id": response_id, "model": body["model"], "choices": []})
        if self._states_cost and fault != "silent_cost":
            usage["cost"] = cost / 10**6
        stated = None if fault == "no_usage" else usage
        return await self._said(request, body, response_id, stated, cut=fault == "cut_stream")

    async def _said(
        self, request: web.Request, body: dict[str, Any], response_id: str, usage: Any, *, cut: bool
    ) -> web.StreamResponse:
        text = f"answer {body_name(body)}"
        head = {"id": response_id, "model": body["model"], "created": 0}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._answered[body_name(body)] += 1
            return web.json_response(
                head | {"object": "chat.completion", "choices": [choice], "usage": usage}
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in (text[:7], text[7:]):
            delta = {"index": 0, "delta": {"role": "assistant", "content": part}, "finish_reason": None}
            await response.write(_chunk(head | {"object": "chat.completion.chunk", "choices": [delta]}))
            if cut:
                if request.transport is not None:
                    request.transport.abort()
                return response
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        await response.write(_chunk(head | {"object": "chat.completion.chunk", "choices": [end]}))
        await response.write(
            _chunk(head | {"object": "chat.completion.chunk", "choices": [], "usage": usage})
        )
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        self._answered[body_name(body)] += 1
        return response

    def _cached_count(self, messages: list[Any]) -> int | None:
        """Tokens of the longest beginning that was a prompt before; null without a cache."""
        if self._prompts is None:
            return None
        known = (messages[:count] for count in range(len(messages), 0, -1))
        longest = next((each for each in known if json.dumps(each) in self._prompts), None)
        self._prompts.add(json.dumps(messages))
        return 0 if longest is None else _token_count(longest)

    def _drawn(self) -> str | None:
        return self._draws.choice(self._faults) if self._draws.random() < self._fault_rate else None


def body_name(body: dict[str, Any]) -> str:
    """Of a request, whatever way it is transported."""
    fields = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _usage(body: dict[str, Any]) -> dict[str, Any]:
    prompt = _token_count(body["messages"])
    longest = body.get("max_tokens", 64)
    return {"prompt_tokens": prompt, "completion_tokens": min(longest, 5 + prompt % 20), "total_tokens": 0}


def _token_count(messages: list[Any]) -> int:
    return len(json.dumps(messages)) // 3


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"code": status, "message": message}}, status=status, headers=headers)


def _chunk(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"
