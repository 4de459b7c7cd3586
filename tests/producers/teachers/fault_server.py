"""An endpoint over real HTTP on 127.0.0.1 that fails in chosen ways, and records what it served.

**Its record is the reference**: `served` has one entry per request that arrived, in order, with what was
billed for it, whether or not the client knows. `GET /v1/generation?id=` has the same costs.
**A schedule is drawn from a seed**, so that a failing one can be run again.

As a command, in its own process: `python -m tests.producers.teachers.fault_server --median-ms 300`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import math
import threading
from collections import deque
from collections.abc import Iterable
from random import Random
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web

from tests.producers.teachers.fault_scenarios import (
    COST_MICROUSD,
    SCENARIOS,
    TEXT,
    Exchange,
    Scenario,
)

ENDLESS = (
    *("holds_on", "talks_on", "slow_loris", "falls_silent", "never_answers", "huge_body", "huge_error"),
    "gzip_bomb",
)
"""Scenarios that cost a client time or memory, and are left out of schedules."""


class Served(NamedTuple):
    """One request that arrived."""

    scenario: str
    body: dict[str, Any]
    response_id: str
    billed_microusd: int
    headers: dict[str, str]
    """Names in lower case."""
    connection: int
    """The caller's port: equal for calls over one connection."""
    was_sent: bool = False
    """Whether the whole answer was sent."""
    slept_s: float = 0.0
    """Of a latency: how long the answer was delayed, by the clock."""


class Latency(NamedTuple):
    """Good answers after a log-normal wait, and rate limits at a rate."""

    median_s: float = 0.3
    sigma: float = 0.5
    rate_limited_share: float = 0.0
    retry_after_s: float = 1.0
    burst_count: int = 4
    """A stream's twenty chunks come in so many bursts over the second half of the wait."""
    seed: int = 0


def schedule(seed: int, count: int, *, good_share: float = 0.5) -> list[str]:
    """Names of scenarios: `answer` at the share, the others evenly."""
    dice = Random(seed)
    bad = [name for name in SCENARIOS if name not in ENDLESS and name != "answer"]
    return ["answer" if dice.random() < good_share else dice.choice(bad) for _ in range(count)]


class FaultServer:
    """A running server; a context manager. It plays the names given to it in the order of arrival, then
    `default`.
    """

    def __init__(
        self,
        names: Iterable[str | Scenario] = (),
        *,
        default: str | Scenario = "answer",
        latency: Latency | None = None,
        port: int = 0,
    ) -> None:
        self.served: list[Served] = []
        self.in_flight = self.in_flight_max = self.trapped = 0
        self._names = deque(names)
        self._default, self._latency, self._port = default, latency, port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-server", daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def billed_microusd(self) -> int:
        return sum(each.billed_microusd for each in self.served)

    def play(self, *names: str | Scenario) -> None:
        """Give the next requests these scenarios, by name or as functions."""
        self._names.extend(names)

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
        # These scenarios make clients hang up on handlers; the loop need not report it.
        self._loop.set_exception_handler(lambda _loop, _context: None)
        runner = self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        with contextlib.suppress(TimeoutError):
            self._loop.run_until_complete(asyncio.wait_for(runner.cleanup(), 5))
        self._loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._completion)
        app.router.add_post("/v1/completions", self._completion)
        app.router.add_get("/v1/generation", self._generation)
        app.router.add_route("*", "/v1/trap", self._trap)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port, backlog=1024).start()
        self._port = runner.addresses[0][1]
        return runner

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        number = len(self.served)
        exchange = Exchange(request, body, f"gen-{number}", lambda: self._bill(number))
        played = self._names.popleft() if self._names else self._default
        play = SCENARIOS[played] if isinstance(played, str) else played
        name = (
            (played if isinstance(played, str) else "own") if self._latency is None else self._drawn(number)
        )
        assert request.transport is not None
        port = request.transport.get_extra_info("peername")[1]
        headers = {key.lower(): value for key, value in request.headers.items()}
        self.served.append(Served(name, body, exchange.response_id, 0, headers, port))
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            if self._latency is not None:
                return await self._timed(exchange, number, self._latency)
            response = await play(exchange)
            self.served[number] = self.served[number]._replace(was_sent=True)
            return response
        except ConnectionError:
            return web.Response()
        finally:
            self.in_flight -= 1

    def _bill(self, number: int) -> None:
        """Before anything is sent: a client may have its answer before its handler has ended."""
        self.served[number] = self.served[number]._replace(billed_microusd=COST_MICROUSD)

    async def _trap(self, request: web.Request) -> web.Response:
        """The target of redirects."""
        self.trapped += 1
        return web.json_response({})

    async def _generation(self, request: web.Request) -> web.Response:
        """The cost of a request, as a router reports it afterwards."""
        for each in self.served:
            if each.response_id == request.query.get("id"):
                cost = each.billed_microusd / 10**6
                return web.json_response({"data": {"id": each.response_id, "total_cost": cost}})
        return web.json_response({"error": {"code": 404, "message": "no such generation"}}, status=404)

    def _drawn(self, number: int) -> str:
        assert self._latency is not None
        dice = Random(f"{self._latency.seed}:limit:{number}")
        return "rate_limited" if dice.random() < self._latency.rate_limited_share else "answer"

    async def _timed(self, exchange: Exchange, number: int, latency: Latency) -> web.StreamResponse:
        if self.served[number].scenario == "rate_limited":
            return exchange.error(429, "slow down", Retry_After=str(latency.retry_after_s))
        dice = Random(f"{latency.seed}:wait:{number}")
        wait_s = latency.median_s * math.exp(latency.sigma * dice.gauss(0.0, 1.0))
        exchange.bill()
        completion = exchange.completion({"content": TEXT})
        if not exchange.stream:
            await self._sleep(number, wait_s)
            return exchange.json(completion)
        await self._sleep(number, wait_s / 2)
        return await self._in_bursts(exchange, number, exchange.chunks(completion), wait_s / 2)

    async def _in_bursts(
        self, exchange: Exchange, number: int, chunks: list[dict[str, Any]], seconds: float
    ) -> web.StreamResponse:
        assert self._latency is not None
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(exchange.request)
        count = self._latency.burst_count
        size = -(-len(chunks) // count)
        for start in range(0, len(chunks), size):
            lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks[start : start + size]]
            await response.write("".join(lines).encode())
            await self._sleep(number, seconds / count)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _sleep(self, number: int, seconds: float) -> None:
        began_s = self._loop.time()
        await asyncio.sleep(seconds)
        slept_s = self.served[number].slept_s + self._loop.time() - began_s
        self.served[number] = self.served[number]._replace(slept_s=slept_s)


def main() -> None:
    """Serve until the input ends. The first line of output is the base URL, the last one the record.

    `calls` are in the order of arrival: `[hash of the messages, scenario, seconds slept, micro-dollars]`.
    """
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--median-ms", type=float, default=300.0)
    options.add_argument("--sigma", type=float, default=0.5)
    options.add_argument("--rate-limited", type=float, default=0.0, help="share of requests, from 0 to 1")
    options.add_argument("--retry-after-s", type=float, default=1.0)
    options.add_argument("--bursts", type=int, default=4)
    given = options.parse_args()
    latency = Latency(
        given.median_ms / 1000, given.sigma, given.rate_limited, given.retry_after_s, given.bursts, given.seed
    )
    with FaultServer(latency=latency, port=given.port) as server:
        print(json.dumps({"base_url": server.base_url, "cost_microusd": COST_MICROUSD}), flush=True)
        with contextlib.suppress(KeyboardInterrupt, EOFError):
            while input():
                pass
        totals = {"requests": len(server.served), "billed_microusd": server.billed_microusd}
        calls = [_call_row(each) for each in server.served]
        print(json.dumps({**totals, "in_flight_max": server.in_flight_max, "calls": calls}), flush=True)


def _call_row(served: Served) -> tuple[str, str, float, int]:
    asked = hashlib.sha256(json.dumps(served.body.get("messages")).encode()).hexdigest()
    return asked, served.scenario, served.slept_s, served.billed_microusd


if __name__ == "__main__":
    main()
