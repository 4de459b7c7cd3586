"""The HTTP client of one endpoint.

Flow: JSON → `post` or `get` → `HttpAnswer` → its status, its headers, its body in decoded pieces.

**Nothing is followed, stored or sent again.** Requests go to httpx2's transport; redirects, cookies and
retries belong to httpx2's client, which is not used.
**`NotSentError` means that no connection was established.** After that a request may have been served and
billed: `ConnectionLostError`.
**A body that is not read to its end closes its connection**, so no caller has to take what a server sends.
"""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from urllib.parse import urlencode, urlsplit

import httpx2

DECODED_PIECE_BYTES_MAX = 2**20
"""httpx2 unpacks a packed body in pieces of at most this size."""
# Shorter than servers keep idle connections: a request that meets a closing connection has an unknown cost.
KEEPALIVE_S = 4.0
# The concurrency limit of a caller counts requests; a queue in here would count as latency.
_CONNECTIONS = httpx2.Limits(
    max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_S
)
_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.InvalidURL,
)


class NotSentError(Exception):
    """No connection was established, so nothing of the request left this machine."""

    def __init__(self, detail: str, *, timed_out: bool = False) -> None:
        super().__init__(detail)
        self.timed_out = timed_out


class ConnectionLostError(Exception):
    """The connection failed after the request may have left."""


class HttpAnswer:
    """The head of an answer, and its body to be read once. Close it in any case."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        """Names without case."""
        self.is_success = 200 <= self.status < 300

    async def pieces(self) -> AsyncIterator[bytes]:
        """Decoded bytes as they come. Raises ConnectionLostError."""
        try:
            async with aclosing(self._response.aiter_bytes()) as pieces:
                async for piece in pieces:
                    yield piece
        except httpx2.HTTPError as error:
            raise ConnectionLostError(_text_of(error)) from error

    async def read(self, byte_max: int) -> bytes:
        """The whole body; closes it. Raises ConnectionLostError, for a larger body too."""
        body = b""
        try:
            async for piece in self.pieces():
                body += piece
                if len(body) > byte_max:
                    raise ConnectionLostError(f"more than {byte_max} bytes")
        finally:
            await self.close()
        return body

    async def close(self) -> None:
        await self._response.aclose()


class EndpointClient:
    """The connections to one endpoint, an async context manager.

    A proxy of the environment is used, but not for this machine.
    """

    def __init__(self, base_url: str, api_key: str | None) -> None:
        self._base_url = base_url.rstrip("/")
        # Packing delays the tokens of a stream, and unpacking costs more than it saves.
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": "tracelake",
        }
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._transport = httpx2.AsyncHTTPTransport(limits=_CONNECTIONS, proxy=_proxy_for(base_url))

    async def __aenter__(self) -> EndpointClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def post(self, path: str, body: bytes, *, connect_timeout_s: float) -> HttpAnswer:
        """Post JSON. Raises NotSentError, ConnectionLostError."""
        return await self._send("POST", path, body, connect_timeout_s)

    async def get(self, path: str, fields: Mapping[str, str], *, connect_timeout_s: float) -> HttpAnswer:
        """Raises NotSentError, ConnectionLostError."""
        return await self._send("GET", f"{path}?{urlencode(fields)}", None, connect_timeout_s)

    async def close(self) -> None:
        await self._transport.aclose()

    async def _send(self, method: str, path: str, body: bytes | None, connect_timeout_s: float) -> HttpAnswer:
        # Callers limit the time of a whole call, and of silence within it.
        timeout = httpx2.Timeout(None, connect=connect_timeout_s).as_dict()
        try:
            request = httpx2.Request(
                method,
                self._base_url + path,
                content=body,
                headers=self._headers,
                extensions={"timeout": timeout},
            )
            return HttpAnswer(await self._transport.handle_async_request(request))
        except _NOT_SENT as error:
            timed_out = isinstance(error, httpx2.TimeoutException)
            raise NotSentError(_text_of(error), timed_out=timed_out) from error
        except httpx2.HTTPError as error:
            raise ConnectionLostError(_text_of(error)) from error


def _text_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _proxy_for(base_url: str) -> str | None:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if host in ("127.0.0.1", "::1", "localhost") or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)
