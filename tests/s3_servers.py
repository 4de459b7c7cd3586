"""S3 servers for tests: moto in a separate process, and proxies in front of it that misbehave as real servers
do.

Everything listens on 127.0.0.1 only.
"""

from __future__ import annotations

import http.client
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

READY_WITHIN_S = 30.0
PAGE_KEYS = 100
"""Keys per page of a listing, instead of a thousand: a few files make two pages."""
# moto checks a condition and writes then. On a busy machine two racing creates can both succeed, as no real
# server with conditional writes allows: one PUT at a time.
MOTO = """
import sys, threading
from moto.s3.responses import S3Response
from moto.server import main

put, lock = S3Response._key_response_put, threading.Lock()

def put_alone(*arguments, **named):
    with lock:
        return put(*arguments, **named)

S3Response._key_response_put = put_alone
main(sys.argv[1:])
"""
KEYS = {"AWS_ACCESS_KEY_ID": "dev-key", "AWS_SECRET_ACCESS_KEY": "dev-secret"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(endpoint: str) -> dict[str, str]:
    """Variables of a process that uses the server; the last one is for tests that call Lance directly."""
    return {**KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}


@contextmanager
def moto() -> Iterator[str]:
    """The endpoint of a server that stores everything in memory and accepts any keys."""
    port = free_port()
    # A separate process: imports fork only from a process with one thread.
    server = subprocess.Popen(
        [sys.executable, "-c", MOTO, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **KEYS, "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE_KEYS)},
    )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def wait_until_ready(endpoint: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"no S3 server at {endpoint}, exit code {server.poll()}")


def make_bucket(endpoint: str, name: str) -> None:
    """For a server that does not check signatures."""
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")).close()


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    """With lowercase names."""
    body: bytes


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


RESET = Answer(0)
"""Instead of an answer the connection is reset, as when the server's process is killed."""
Pass = Callable[[Request], Answer]
Behaviour = Callable[[Request, Pass], Answer | None]
"""Answers a request, with a function that passes it on to the real server; null drops the connection."""


@contextmanager
def in_front_of(upstream: str, behaviour: Behaviour) -> Iterator[str]:
    """The endpoint of a proxy with a behaviour."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            answer = behaviour(request, lambda passed: _pass(upstream, passed))
            self.close_connection = True
            if answer is None:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if answer is RESET:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())
                return
            self.send_response(answer.status)
            for name, value in {
                "Content-Length": str(len(answer.body)),
                **answer.headers,
                "Connection": "close",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, args=(0.02,))
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def _pass(upstream: str, request: Request) -> Answer:
    host = urlsplit(upstream)
    connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=30)
    connection.request(request.method, request.path, request.body, request.headers)
    answer = connection.getresponse()
    body = answer.read()
    headers = {
        name: value
        for name, value in answer.getheaders()
        if name.lower() not in ("transfer-encoding", "connection", "content-length")
    }
    # An answer to HEAD has the length of a body that it does not send.
    length = answer.getheader("Content-Length") if request.method == "HEAD" else str(len(body))
    connection.close()
    return Answer(answer.status, {**headers, "Content-Length": length or "0"}, body)


def without_condition(request: Request) -> Request:
    headers = {name: value for name, value in request.headers.items() if name != "if-none-match"}
    return request._replace(headers=headers)


def ignores_conditions(request: Request, pass_on: Pass) -> Answer:
    """Some servers do not know the header."""
    return pass_on(without_condition(request))


def checks_then_writes(request: Request, pass_on: Pass) -> Answer:
    """Some gateways check the condition before they write: it is right in turn, and wrong in a race."""
    if request.method != "PUT" or without_condition(request) == request:
        return pass_on(request)
    headers = {name: request.headers[name] for name in ("host", "authorization")}
    checked = pass_on(Request("HEAD", request.path, headers, b""))
    time.sleep(0.05)
    return Answer(412) if checked.status == 200 else pass_on(without_condition(request))


def drops_metadata(request: Request, pass_on: Pass) -> Answer:
    """Some gateways store the bytes only."""
    answer = pass_on(request)
    headers = {
        name: value for name, value in answer.headers.items() if not name.lower().startswith("x-amz-meta")
    }
    return answer._replace(headers=headers)


class Faults:
    """The first writes meet the given faults, in turn; later ones succeed. `seen` has the methods of all
    requests."""

    def __init__(self, *faults: str) -> None:
        self._left = list(faults)
        self._lock = threading.Lock()
        self.seen: list[str] = []

    def __call__(self, request: Request, pass_on: Pass) -> Answer | None:
        with self._lock:
            self.seen.append(request.method)
            fault = self._left.pop(0) if request.method == "PUT" and self._left else ""
        if fault == "refused with 409" and "if-none-match" in request.headers:
            return Answer(409, body=b"<Error><Code>ConditionalRequestConflict</Code></Error>")
        if fault == "unavailable":
            return Answer(503)
        if fault == "reset":
            return RESET
        answer = pass_on(request)
        if fault == "done, then 500":
            return Answer(500)
        if fault == "done, then reset":
            return RESET
        return None if fault == "done, then silence" else answer
