"""One attempt at a question: one request, and its outcome as an `Answered` or a `Failed`.

Flow: body → POST → bytes → `AnswerReader` → `validate_answer` → outcome.

**No behaviour of an endpoint raises an error.** Redirects are not followed. The time of the whole call, the
time between two pieces and the number of decoded bytes are limited.
**One attempt is one request**, except at an endpoint that refuses to stream: it is asked once more without,
and `CallLimits.stream` remembers it.
**The response id is reported as soon as it is known**, because a router can be asked for the cost under it.
**A complete answer counts**, even if the connection was lost before its usage came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from tracelake.producers.calling.answer_reader import AnswerReader, BodyTooLargeError
from tracelake.producers.calling.answer_shape import AnswerShapeError, decoded, label
from tracelake.producers.calling.failures import FailureClass, class_of_status, retry_after_s
from tracelake.producers.calling.http_client import (
    ConnectionLostError,
    EndpointClient,
    HttpAnswer,
    NotSentError,
)
from tracelake.producers.calling.outcome import Answered, CallOutcome, Failed, cut
from tracelake.producers.calling.validate_answer import Flaw, validate_answer
from tracelake.schemas.canonical import canonical_json
from tracelake.schemas.clock import now_s, since_ms

ERROR_BYTES_MAX = 64 * 2**10
# After the end of a stream, its connection can be reused if the server ends the body this fast.
CLOSING_S = 0.25
_PATH = "/chat/completions"
_STREAM = {"stream": True, "stream_options": {"include_usage": True}}
_WHOLE = {"stream": False}
# An endpoint that cannot stream says so by one of these.
_REFUSAL_STATUSES = (400, 404, 405, 415, 422, 501)


@dataclass(slots=True)
class CallLimits:
    """Bounds of the calls to one endpoint."""

    stream: bool = True
    """Whether to ask for a stream; `call` turns it off at an endpoint that refuses."""
    total_timeout_s: float = 120.0
    idle_timeout_s: float = 60.0
    """Between two pieces of an answer. The first may take the total time: models think."""
    connect_timeout_s: float = 10.0
    body_byte_max: int = 16 * 2**20
    """Decoded bytes of an answer."""


async def call(
    client: EndpointClient,
    body: Mapping[str, Any],
    *,
    limits: CallLimits,
    on_response_id: Callable[[str], None] | None = None,
) -> CallOutcome:
    """Send the body, plus the fields that ask for a stream, once.

    Raises EventInvalidError for a body that is no JSON, what `on_response_id` raises, and CancelledError.
    """
    streams = limits.stream  # Another call may turn it off meanwhile.
    outcome = await _Exchange(client, body, limits, on_response_id).run(stream=streams)
    if streams and isinstance(outcome, Failed) and _refuses_stream(outcome):
        limits.stream = False
        outcome = await _Exchange(client, body, limits, on_response_id).run(stream=False)
    return outcome


def _refuses_stream(failed: Failed) -> bool:
    return failed.http_status in _REFUSAL_STATUSES and "stream" in failed.detail.lower() and not failed.usage


class _Exchange:
    """One request, and the part of its answer that has come so far."""

    def __init__(
        self,
        client: EndpointClient,
        body: Mapping[str, Any],
        limits: CallLimits,
        on_response_id: Callable[[str], None] | None,
    ) -> None:
        self._client, self._body, self._limits = client, body, limits
        self._on_response_id = on_response_id
        self._began_s = now_s()
        self._first_token_ms: float | None = None
        self._response_id: str | None = None
        self._answer: HttpAnswer | None = None
        self._error_text = b""
        self._reader = AnswerReader(limits.body_byte_max)

    async def run(self, *, stream: bool) -> CallOutcome:
        content = _json({**self._body, **(_STREAM if stream else _WHOLE)})
        limits, reader = self._limits, self._reader
        end_s = asyncio.get_running_loop().time() + limits.total_timeout_s
        deadline = asyncio.timeout_at(end_s)
        try:
            async with deadline:
                await self._send_and_read(content, deadline, end_s)
            return self._ended()
        except TimeoutError:
            if not deadline.expired():
                raise  # It came from `on_response_id`.
            was_silent = (deadline.when() or end_s) < end_s
            silence, total = f"{limits.idle_timeout_s:g} s", f"{limits.total_timeout_s:g} s"
            detail = f"silent for {silence}" if was_silent else f"no end after {total}"
            return self._cut_off(FailureClass.TIMEOUT, detail)
        except NotSentError as error:
            failure = FailureClass.TIMEOUT if error.timed_out else FailureClass.CONNECTION
            return self._failed(failure, str(error), sent=False)
        except ConnectionLostError as error:
            has_begun = reader.is_stream
            failure = FailureClass.TRUNCATED_STREAM if has_begun else FailureClass.CONNECTION
            return self._cut_off(failure, str(error))
        except BodyTooLargeError:
            return self._failed(FailureClass.OVERSIZED_BODY, f"more than {limits.body_byte_max} bytes")
        except AnswerShapeError as error:
            return self._failed(FailureClass.MALFORMED_ANSWER, f"{error}; {reader.beginning()}")

    async def _send_and_read(self, content: bytes, deadline: asyncio.Timeout, end_s: float) -> None:
        now = asyncio.get_running_loop().time

        def allow(seconds: float) -> None:
            if not deadline.expired():
                deadline.reschedule(min(now() + seconds, end_s))

        answer = await self._client.post(_PATH, content, connect_timeout_s=self._limits.connect_timeout_s)
        self._answer = answer
        self._response_id = label(answer.headers.get("x-generation-id"))
        try:
            if answer.is_success:
                await self._read_answer(answer, allow)
            else:
                await self._read_error(answer, allow)
        finally:
            await answer.close()

    async def _read_answer(self, answer: HttpAnswer, allow: Callable[[float], None]) -> None:
        reader = self._reader
        is_event_stream = "event-stream" in answer.headers.get("content-type", "")
        async for piece in answer.pieces():
            if reader.is_done:
                continue  # Nothing after the end counts, and it buys no time.
            allow(self._limits.idle_timeout_s)
            reader.feed(piece, is_event_stream=is_event_stream)
            self._report_response_id()
            if reader.is_done:
                allow(CLOSING_S)
            elif self._first_token_ms is None and reader.parts.has_content:
                self._first_token_ms = since_ms(self._began_s)
        reader.end()
        self._report_response_id()

    async def _read_error(self, answer: HttpAnswer, allow: Callable[[float], None]) -> None:
        """The status decides the class; the text is for people, so whatever comes of it is enough."""
        allow(self._limits.idle_timeout_s)
        with suppress(ConnectionLostError):
            async for piece in answer.pieces():
                allow(self._limits.idle_timeout_s)
                self._error_text += piece[:ERROR_BYTES_MAX]
                if len(self._error_text) >= ERROR_BYTES_MAX:
                    return

    def _report_response_id(self) -> None:
        response_id = self._response_id or self._reader.parts.response_id
        if response_id is not None and self._on_response_id is not None:
            report, self._on_response_id = self._on_response_id, None
            self._response_id = response_id
            report(response_id)

    def _ended(self) -> CallOutcome:
        """The outcome of a complete answer, or of an error status."""
        if self._answer is not None and not self._answer.is_success:
            return self._refused(self._answer)
        message = validate_answer(self._reader, str(self._body.get("model")))
        if isinstance(message, Flaw):
            return self._failed(message.failure, message.detail)
        parts, latency_ms = self._reader.parts, since_ms(self._began_s)
        return Answered(
            message=message,
            finish_reason=parts.finish_reason,
            model_served=parts.model_served,
            provider=parts.provider,
            response_id=self._response_id or parts.response_id,
            native_finish_reason=parts.native_finish_reason,
            usage=parts.usage,
            latency_ms=latency_ms,
            first_token_ms=latency_ms if self._first_token_ms is None else self._first_token_ms,
            system_fingerprint=parts.system_fingerprint,
            **parts.tokens()._asdict(),
        )

    def _cut_off(self, failure: FailureClass, detail: str) -> CallOutcome:
        """The outcome of a call that was cut off: still an answer, or an error status, if that had come."""
        if self._reader.is_whole or (self._answer is not None and not self._answer.is_success):
            return self._ended()
        return self._failed(failure, f"{detail}; {self._reader.parts.text_so_far()}")

    def _refused(self, answer: HttpAnswer) -> Failed:
        """The outcome of an error status."""
        try:
            body = decoded(self._error_text)
        except AnswerShapeError:
            body = None
        fields = body if isinstance(body, dict) else {}
        self._reader.parts.add({key: fields.get(key) for key in ("id", "usage", "model", "provider")})
        location = answer.headers.get("location")
        status_line = f"status {answer.status}" + (f", to {location[:500]}" if location else "")
        wait_s = retry_after_s(answer.headers)
        return self._failed(
            class_of_status(answer.status, fields.get("error", fields), wait_s),
            self._error_text[:8000].decode("utf-8", "backslashreplace") or status_line,
            wait_s=wait_s,
        )

    def _failed(
        self, failure: FailureClass, detail: str, *, sent: bool = True, wait_s: float | None = None
    ) -> Failed:
        parts = self._reader.parts
        return Failed(
            failure=failure,
            http_status=None if self._answer is None else self._answer.status,
            detail=cut(detail),
            response_id=self._response_id or parts.response_id,
            usage=parts.usage,
            latency_ms=since_ms(self._began_s),
            retry_after_s=wait_s,
            sent=sent,
            model_served=parts.model_served,
            provider=parts.provider,
        )


def _json(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # Integers beyond 64 bits, which orjson refuses.
        return canonical_json(body)
