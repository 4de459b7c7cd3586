"""One attempt at a question: a request, and whatever comes back as an `Answered` or a `Failed`.

Flow: body → POST → bytes → `Reading` → `judged` → the outcome.

**Nothing that an endpoint does is raised, followed, waited for without end, or taken in without bound.** The
time of the whole call, the time between bytes and the decoded bytes are limited.
**One attempt is one request**, but for an endpoint that refuses to stream: it is asked once more without,
and `CallLimits.stream` remembers it.
**The generation id is told at the first sign of it**, because money that is spent can be looked up under it.
**An answer that is whole is kept**, even if the connection was lost before its usage came.

The SDK's models of requests and of chunks are not used: they cost several milliseconds of CPU per call.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import openai
import orjson

from tracelake.producers.calling.answer_json import decoded
from tracelake.producers.calling.answer_shape import label
from tracelake.producers.calling.call_limits import CallLimits, Deadline
from tracelake.producers.calling.failures import FailureClass, class_of_status, retry_after_s
from tracelake.producers.calling.http_client import (
    ConnectionLostError,
    HttpAnswer,
    NotSentError,
    TeacherClient,
)
from tracelake.producers.calling.outcome import Answered, Failed, Outcome, cut
from tracelake.producers.calling.reading import BodyTooLargeError, Reading
from tracelake.producers.calling.validate_answer import Flaw, judged
from tracelake.schemas.canonical import canonical_json
from tracelake.schemas.clock import now_s, since_ms

OnResponseId = Callable[[str], Awaitable[None] | None]
_STREAM = {"stream": True, "stream_options": {"include_usage": True}}
_WHOLE = {"stream": False}
# An endpoint that cannot stream says so by one of these.
_REFUSALS = (400, 404, 405, 415, 422, 501)


async def call(
    client: openai.AsyncOpenAI,
    body: Mapping[str, Any],
    *,
    limits: CallLimits,
    on_response_id: OnResponseId | None = None,
) -> Outcome:
    """Ask once, by a client of `tracelake.producers.calling.http_client.teacher_client`.

    The body is sent as it is, plus what asks for a stream. Raises what `on_response_id` raises,
    EventInvalidError for a body that is no JSON, CancelledError, and TypeError for another client.
    """
    if not isinstance(client, TeacherClient):
        raise TypeError(
            "a client of teacher_client is needed: others follow redirects and read without bound"
        )
    # Calls that began beside this one may have found out already.
    streams = limits.stream
    outcome = await _Attempt(client, body, limits, on_response_id).outcome(stream=streams)
    if streams and isinstance(outcome, Failed) and _refuses_stream(outcome):
        limits.stream = False
        outcome = await _Attempt(client, body, limits, on_response_id).outcome(stream=False)
    return outcome


def _refuses_stream(failed: Failed) -> bool:
    return failed.http_status in _REFUSALS and "stream" in failed.detail.lower() and not failed.usage


class _NotTakenError(Exception):
    """Carries an error of the caller's own function past those of the endpoint."""


class _Attempt:
    """One request and what became of it."""

    def __init__(
        self,
        client: TeacherClient,
        body: Mapping[str, Any],
        limits: CallLimits,
        on_response_id: OnResponseId | None,
    ) -> None:
        self._client = client
        self._body = body
        self._limits = limits
        self._on_response_id = on_response_id
        self._began_s = now_s()
        self._first_token_ms: float | None = None
        self._response_id: str | None = None
        self._status: int | None = None
        self._refusal: tuple[HttpAnswer, list[bytes]] | None = None
        self._reading = Reading(limits.body_byte_max)

    async def outcome(self, *, stream: bool) -> Outcome:
        content = _request_bytes({**self._body, **(_STREAM if stream else _WHOLE)})
        deadline = Deadline(self._limits)
        try:
            async with deadline:
                await self._ask(content, deadline)
            return self._ended() if self._refusal is None else self._refused(*self._refusal)
        except _NotTakenError as error:
            raise (error.__cause__ or error) from None
        except TimeoutError:
            if self._refusal is not None:
                return self._refused(*self._refusal)
            return self._lost(FailureClass.TIMEOUT, deadline.passed)
        except NotSentError as error:
            late = isinstance(error.__cause__, TimeoutError)
            return self._failed(
                FailureClass.TIMEOUT if late else FailureClass.CONNECTION, str(error), sent=False
            )
        except ConnectionLostError as error:
            was_begun = self._reading.is_stream
            return self._lost(
                FailureClass.TRUNCATED_STREAM if was_begun else FailureClass.CONNECTION, str(error)
            )
        except BodyTooLargeError:
            return self._failed(FailureClass.OVERSIZED_BODY, f"more than {self._limits.body_byte_max} bytes")
        except ValueError as error:
            return self._failed(FailureClass.MALFORMED_ANSWER, f"{error}; {self._reading.beginning()}")

    async def _ask(self, content: bytes, deadline: Deadline) -> None:
        answer = await self._client.post_bytes(
            "/chat/completions", content, connect_timeout_s=self._limits.connect_timeout_s
        )
        try:
            self._status = answer.status
            self._response_id = label(answer.headers.get("x-generation-id"))
            if answer.is_success:
                await self._read(answer, deadline)
            else:
                await self._read_refusal(answer, deadline)
        finally:
            answer.close()

    async def _read_refusal(self, answer: HttpAnswer, deadline: Deadline) -> None:
        """The status has told the class; as much of the text as comes is for its reader."""
        pieces: list[bytes] = []
        self._refusal = answer, pieces
        deadline.heard()
        async for piece in answer.pieces():
            deadline.heard()
            pieces.append(piece)

    async def _read(self, answer: HttpAnswer, deadline: Deadline) -> None:
        is_event_stream = "event-stream" in answer.headers.get("content-type", "")
        reading = self._reading
        async for piece in answer.pieces():
            deadline.heard()
            reading.feed(piece, is_event_stream=is_event_stream)
            if self._on_response_id is not None:
                await self._tell_id()
            if reading.is_done and not answer.has_come:
                deadline.ended()
            elif self._first_token_ms is None and reading.parts.has_content:
                self._first_token_ms = since_ms(self._began_s)
        reading.end()
        await self._tell_id()

    async def _tell_id(self) -> None:
        told, tell = self._response_id or self._reading.parts.response_id, self._on_response_id
        if told is None or tell is None:
            return
        self._response_id, self._on_response_id = told, None
        try:
            waiting = tell(told)
            if inspect.isawaitable(waiting):
                await waiting
        except Exception as error:
            raise _NotTakenError from error

    def _ended(self) -> Outcome:
        message = judged(self._reading, str(self._body.get("model")))
        if isinstance(message, Flaw):
            return self._failed(message.failure, message.detail)
        parts, latency_ms = self._reading.parts, since_ms(self._began_s)
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

    def _lost(self, failure: FailureClass, detail: str, *, sent: bool = True) -> Outcome:
        """The end of a connection that did not end the answer, unless the answer had ended already."""
        if self._reading.is_whole:
            return self._ended()
        return self._failed(failure, f"{detail}; {self._reading.parts.said()}", sent=sent)

    def _refused(self, answer: HttpAnswer, pieces: list[bytes]) -> Failed:
        """An answer whose status is no success."""
        content = b"".join(pieces)
        try:
            body = decoded(content)
        except ValueError:
            body = None
        fields = body if isinstance(body, dict) else {}
        self._reading.parts.add({key: fields.get(key) for key in ("id", "usage", "model", "provider")})
        wait_s = retry_after_s(answer.headers)
        return self._failed(
            class_of_status(answer.status, fields.get("error", fields), wait_s),
            content[:8000].decode("utf-8", "backslashreplace") or _status_line(answer),
            wait_s=wait_s,
        )

    def _failed(
        self, failure: FailureClass, detail: str, *, sent: bool = True, wait_s: float | None = None
    ) -> Failed:
        parts = self._reading.parts
        return Failed(
            failure=failure,
            http_status=self._status,
            detail=cut(detail),
            response_id=self._response_id or parts.response_id,
            usage=parts.usage,
            latency_ms=since_ms(self._began_s),
            retry_after_s=wait_s,
            sent=sent,
            model_served=parts.model_served,
            provider=parts.provider,
        )


def _status_line(answer: HttpAnswer) -> str:
    where = answer.headers.get("location")
    return f"status {answer.status}" + (f", to {where[:500]}" if where else "")


def _request_bytes(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # Integers beyond 64 bits, which the faster encoder refuses.
        return canonical_json(body)
