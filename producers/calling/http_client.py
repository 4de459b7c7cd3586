"""The HTTP below every call to a teacher: aiohttp under the OpenAI SDK.

Flow: bytes of a request → one POST → status, headers, decoded and bounded pieces of the answer.

**Nothing is followed, stored or sent again**: no redirect, no cookie, no retry.
**"Not sent" is said only of a connection that never stood.** A reset after that is a request that may have
been served.
**A reader that stops stops everything**: packed answers are unpacked in pieces, answers that are no success
end after `ERROR_BYTES_MAX`, and a connection that was not read to its end is closed.
**The SDK says where to and as whom**: its address, key and headers are taken once per client. Building each
request by it costs more than all the rest of a call; its other methods go over the same connections.
"""

from __future__ import annotations

import urllib.request
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from urllib.parse import urlsplit

import aiohttp
import httpx2
import openai
from aiohttp.http_exceptions import HttpProcessingError

ERROR_BYTES_MAX = 64 * 2**10
PIECE_BYTES_MAX = 64 * 2**10
# The SDK reads an answer whole; those that it is asked for are small.
SDK_BYTES_MAX = 4 * 2**20
# Shorter than servers keep a connection: one that closes while a request leaves makes its cost unknown.
KEPT_S = 4.0
# Packing holds tokens of a stream back, and unpacking costs more than it saves.
_PLAIN = {"Accept-Encoding": "identity"}
# aiohttp writes these itself.
_OWN_HEADERS = frozenset(("host", "content-length", "accept-encoding", "connection"))
_CODED = frozenset((b"content-encoding", b"content-length"))
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
_LOST = (aiohttp.ClientError, HttpProcessingError, OSError, EOFError, zlib.error)


class NotSentError(Exception):
    """No connection came to stand, so nothing of a request left; inside of this package only."""


class ConnectionLostError(Exception):
    """A connection broke after a request may have left; inside of this package only."""


class HttpAnswer:
    """The head of an answer, and its body to be read once. Close it in any case."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        """Names without case."""
        self.is_success = 200 <= self.status < 300

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """As they came, but for those that speak of the packed body."""
        return [pair for pair in self._response.raw_headers if pair[0].lower() not in _CODED]

    @property
    def has_come(self) -> bool:
        """Whether all of the body is here, read or not."""
        return self._response.content.is_eof()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Decoded bytes, each time what has come since the last. Raises ConnectionLostError.

        The body of an answer that is no success ends early rather than raise: the status has told what it is.
        """
        room = ERROR_BYTES_MAX
        try:
            unpacked = _unpacker(self.headers.get("Content-Encoding", ""))
            while raw := await self._response.content.readany():
                for piece in unpacked(raw):
                    if self.is_success:
                        yield piece
                        continue
                    yield piece[:room]
                    room -= len(piece)
                    if room <= 0:
                        return
        except _LOST as error:
            if self.is_success:
                raise ConnectionLostError(_told(error)) from error

    def close(self) -> None:
        """A connection whose answer was not read to its end is closed, another is kept."""
        self._response.release()


class TeacherClient(openai.AsyncOpenAI):
    """The SDK's client of one endpoint, with a lean way to post. Close it with `await client.close()`."""

    def __init__(self, base_url: str, api_key: str | None) -> None:
        self._connections = _Connections(base_url)
        http = httpx2.AsyncClient(
            transport=_Transport(self._connections), follow_redirects=False, trust_env=False
        )
        # The SDK insists on a key; an endpoint without one ignores it.
        super().__init__(base_url=base_url, api_key=api_key or "none", max_retries=0, http_client=http)
        own = {**self.default_headers, **self.auth_headers, **_PLAIN}
        self._post_headers = {name: value for name, value in own.items() if isinstance(value, str)}
        self._address = str(self.base_url).rstrip("/")

    async def post_bytes(self, path: str, body: bytes, *, connect_timeout_s: float) -> HttpAnswer:
        """One POST of JSON text. Raises NotSentError, ConnectionLostError."""
        return await self._connections.send(
            "POST", self._address + path, body, self._post_headers, connect_timeout_s
        )


def teacher_client(base_url: str, api_key: str | None) -> TeacherClient:
    """A client for every call to one endpoint; connections are kept.

    A proxy of the environment is used, as by other HTTP clients.
    """
    return TeacherClient(base_url, api_key)


class _Connections:
    """The connections to one endpoint."""

    def __init__(self, base_url: str) -> None:
        self._proxy = _proxy_for(base_url)
        self._tls = httpx2.create_ssl_context() if base_url.startswith("https") else True
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
        connect_timeout_s: float | None,
    ) -> HttpAnswer:
        """Raises NotSentError, ConnectionLostError."""
        timeout = aiohttp.ClientTimeout(sock_connect=connect_timeout_s)
        try:
            response = await self._opened().request(
                method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                proxy=self._proxy,
                timeout=timeout,
            )
        except _NOT_SENT as error:
            raise NotSentError(_told(error)) from error
        except _LOST as error:
            raise ConnectionLostError(_told(error)) from error
        return HttpAnswer(response)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        # aiohttp wants a running loop, which a constructor need not have.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Concurrency is limited above; a queue here would count as latency.
                connector=aiohttp.TCPConnector(limit=0, ssl=self._tls, keepalive_timeout=KEPT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept"),
            )
        return self._session


class _Transport(httpx2.AsyncBaseTransport):
    """The same connections for what the SDK sends by itself."""

    def __init__(self, connections: _Connections) -> None:
        self._connections = connections

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        kept = [pair for pair in request.headers.multi_items() if pair[0].lower() not in _OWN_HEADERS]
        connect_timeout_s = request.extensions.get("timeout", {}).get("connect")
        try:
            answer = await self._connections.send(
                request.method,
                str(request.url),
                request.content or None,
                [*kept, *_PLAIN.items()],
                connect_timeout_s,
            )
        except NotSentError as error:
            raise httpx2.ConnectError(str(error)) from error
        except ConnectionLostError as error:
            raise httpx2.ReadError(str(error)) from error
        return httpx2.Response(
            answer.status, headers=answer.raw_headers, stream=_Stream(answer), request=request
        )

    async def aclose(self) -> None:
        await self._connections.close()


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, answer: HttpAnswer) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        room = SDK_BYTES_MAX
        try:
            async for piece in self._answer.pieces():
                room -= len(piece)
                if room < 0:
                    raise httpx2.ReadError(f"more than {SDK_BYTES_MAX} bytes")
                yield piece
        except ConnectionLostError as error:
            raise httpx2.ReadError(str(error)) from error

    async def aclose(self) -> None:
        self._answer.close()


def _unpacker(coding: str) -> Callable[[bytes], Iterable[bytes]]:
    """Raises OSError for a coding that was not asked for and that nobody can read."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return lambda raw: (raw,)
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise OSError(f"an encoding that was not asked for: {coding[:40]}")
    machine = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)

    def unpacked(raw: bytes) -> Iterator[bytes]:
        while raw:
            yield machine.decompress(raw, PIECE_BYTES_MAX)
            raw = machine.unconsumed_tail

    return unpacked


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _proxy_for(base_url: str) -> str | None:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if host in ("127.0.0.1", "::1", "localhost") or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)
