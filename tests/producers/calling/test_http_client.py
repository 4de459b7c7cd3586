"""Where the connections of a client lead, what they never do, and what broken HTTP becomes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.producers.teachers.fault_scenarios import COST_MICROUSD
from tests.producers.teachers.fault_server import FaultServer
from tracelake.producers.calling.call import CallLimits, call
from tracelake.producers.calling.failures import FailureClass
from tracelake.producers.calling.http_client import (
    DECODED_PIECE_BYTES_MAX,
    ConnectionLostError,
    EndpointClient,
)
from tracelake.producers.calling.outcome import Answered, CallOutcome, Failed

BODY: dict[str, Any] = {"model": "maker/teacher-1", "messages": []}


RAW = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "status that is none": b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "long header": b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10**6 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 10**5 + b"\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nhello",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n",
    "no gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    "unknown packing": b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\nhello",
    "bad cookie": b"HTTP/1.1 500 No\r\nSet-Cookie: \xff=;;;\r\nContent-Length: 0\r\n\r\n",
    "bad charset": b"HTTP/1.1 500 No\r\nContent-Type: x/y; charset=\xff\r\nContent-Length: 1\r\n\r\n\xff",
    "odd location": b"HTTP/1.1 302 Found\r\nLocation: http://[::bad\r\nContent-Length: 0\r\n\r\n",
    "bad wait": b"HTTP/1.1 429 Slow\r\nRetry-After: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def over(base_url: str, use: Callable[[EndpointClient], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with EndpointClient(base_url, "key-1") as client:
            return await use(client)

    return asyncio.run(run())


async def asked(client: EndpointClient) -> CallOutcome:
    return await call(client, BODY, limits=CallLimits(total_timeout_s=30.0, connect_timeout_s=30.0))


async def posted(client: EndpointClient) -> bytes:
    answer = await client.post("/chat/completions", b'{"model": "m"}', connect_timeout_s=30.0)
    return await answer.read(2**20)


def test_a_cost_can_be_looked_up_over_the_same_connection(server: FaultServer) -> None:
    async def use(client: EndpointClient) -> bytes:
        outcome = await asked(client)
        assert isinstance(outcome, Answered)
        answer = await client.get("/generation", {"id": str(outcome.response_id)}, connect_timeout_s=30.0)
        return await answer.read(2**20)

    text = over(server.base_url, use)
    assert json.loads(text)["data"]["total_cost"] == COST_MICROUSD / 10**6
    assert server.served[-1].headers["authorization"] == "Bearer key-1"


def test_without_a_key_none_is_sent(server: FaultServer) -> None:
    async def run() -> None:
        async with EndpointClient(server.base_url, None) as client:
            await asked(client)

    asyncio.run(run())
    assert "authorization" not in server.served[-1].headers


@pytest.mark.parametrize("scenario", ["huge_body", "gzip_bomb", "reset_after_send"])
def test_a_body_is_read_up_to_its_bound(server: FaultServer, scenario: str) -> None:
    server.play(scenario)
    with pytest.raises(ConnectionLostError):
        over(server.base_url, posted)
    assert over(server.base_url, posted)


@pytest.mark.parametrize("scenario", ["huge_body", "huge_error"])
def test_a_gigabyte_is_not_read(server: FaultServer, scenario: str) -> None:
    server.play(scenario)
    assert isinstance(over(server.base_url, asked), Failed)
    assert not server.served[-1].was_sent


def test_a_packed_answer_is_unpacked_piece_by_piece(server: FaultServer) -> None:
    async def sizes(client: EndpointClient) -> list[int]:
        answer = await client.post("/chat/completions", b'{"model": "m"}', connect_timeout_s=30.0)
        try:
            return [len(piece) async for piece in answer.pieces()]
        finally:
            await answer.close()

    server.play("gzip_bomb")
    found = over(server.base_url, sizes)
    assert sum(found) > 2**26
    assert max(found) <= DECODED_PIECE_BYTES_MAX


def test_a_connection_that_times_out_sent_nothing() -> None:
    """The server's queue of connections is full, so the next one waits."""
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for _ in range(4):
            other = waiting.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(("127.0.0.1", port))
        limits = CallLimits(total_timeout_s=30.0, connect_timeout_s=0.2)
        outcome = over(f"http://127.0.0.1:{port}/v1", lambda client: call(client, BODY, limits=limits))
    assert isinstance(outcome, Failed)
    assert (outcome.failure, outcome.sent, outcome.reaction.billed) == (FailureClass.TIMEOUT, False, "no")


def test_an_endpoint_that_speaks_no_tls_is_sent_nothing(server: FaultServer) -> None:
    before = len(server.served)
    outcome = over(server.base_url.replace("http:", "https:"), asked)
    assert isinstance(outcome, Failed)
    assert (outcome.failure, outcome.sent) == (FailureClass.CONNECTION, False)
    assert len(server.served) == before


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.base_url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "direct.invalid")
    proxied = over("http://teacher.invalid/v1", asked)
    assert isinstance(proxied, Answered)
    assert server.served[-1].headers["host"] == "teacher.invalid"
    assert isinstance(over("http://direct.invalid/v1", asked), Failed)
    monkeypatch.setenv("http_proxy", "http://nowhere.invalid")
    assert isinstance(over(server.base_url, asked), Answered)


def raw(text: bytes, *, hangs_up: bool = True) -> CallOutcome:
    """The outcome of a call to a server that sends these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(2**16)
        writer.write(text)
        # A client that refuses the bytes hangs up first.
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            if not hangs_up:
                await reader.read()
        writer.close()

    async def run() -> CallOutcome:
        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        limits = CallLimits(total_timeout_s=30.0, idle_timeout_s=30.0 if hangs_up else 0.2)
        async with listening, EndpointClient(f"http://127.0.0.1:{port}/v1", None) as client:
            return await call(client, BODY, limits=limits)

    return asyncio.run(run())


@pytest.mark.parametrize("hangs_up", [True, False])
def test_the_status_of_an_error_counts_even_if_its_text_does_not_come(hangs_up: bool) -> None:
    half = b'HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 500\r\n\r\n{"error": "slow'
    outcome = raw(half, hangs_up=hangs_up)
    assert isinstance(outcome, Failed)
    assert (outcome.failure, outcome.http_status) == (FailureClass.RATE_LIMITED, 429)
    assert (outcome.retry_after_s, outcome.detail) == (7.0, '{"error": "slow')


@pytest.mark.parametrize("name", RAW)
def test_bytes_that_are_bad_http_are_a_failure(name: str) -> None:
    outcome = raw(RAW[name])
    assert isinstance(outcome, Failed)
    assert outcome.sent
    assert outcome.detail.encode()


@settings(max_examples=40)
@given(
    st.sampled_from(
        [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"]
    ),
    st.binary(max_size=300),
)
def test_any_bytes_are_a_failure(head: bytes, text: bytes) -> None:
    assert isinstance(raw(head + text), Failed)
