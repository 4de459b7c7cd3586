"""A client of OpenAI that records what passes.

Flow: a call → its request is read → the client sends it → the answer is read → the caller gets it unchanged.

**The wrapped client is a client of the same class**, with the same connections and options. Only its method
`post` does more, for the two paths that ask a model. The client that was given stays as it was.
**Errors pass untouched**: a call that fails is noted and raises what it raised.
**A stream is recorded when it ends.** One that its reader leaves early is recorded as far as it was read.
**Answers that the client hands out unread** (`with_streaming_response`, raw streams) are not recorded, and
the rollout says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cached_property
from typing import Any, Literal, TypeVar, cast

import orjson
from openai import AsyncOpenAI, AsyncStream, OpenAI, Stream

from tracelake.producers.recording.live_rollout import Rollout, active_rollout
from tracelake.producers.recording.model_calls import LEFT_EARLY, Api, ModelCall
from tracelake.producers.recording.streamed import plain, whole_completion
from tracelake.schemas.clock import now_s, since_ms
from tracelake.schemas.errors import RecordingError

Client = TypeVar("Client", bound="OpenAI | AsyncOpenAI")
Outside = Literal["error", "pass"]
_API_OF_PATH: dict[str, Api] = {"/chat/completions": "chat", "/responses": "responses"}
_RAW_HEADER = "X-Stainless-Raw-Response"
"""The client's own mark for an answer that is to be handed out raw; `stream` means unread."""
_ENDINGS = ("response.completed", "response.incomplete", "response.failed")
"""Events of the Responses API that contain the whole response."""


def wrap(client: Client, *, outside: Outside = "error", rollout: Rollout | None = None) -> Client:
    """A client that records its calls into the active rollout.

    `outside` says what a call outside any rollout does: fail before it is sent, or pass unrecorded.
    `rollout` binds the client to one rollout, for threads that do not inherit the block that they belong to.
    Raises RecordingError for anything but a client of OpenAI."""
    recorded = _RecordedAsync if isinstance(client, AsyncOpenAI) else _Recorded
    if not isinstance(client, (OpenAI, AsyncOpenAI)):
        raise RecordingError(
            "only a client of OpenAI can be wrapped",
            got=type(client).__name__,
            expected="OpenAI or AsyncOpenAI",
            cure="Record other clients with `Rollout.turn`.",
        )
    cls = type(client)
    if isinstance(client, (_Recorded, _RecordedAsync)):
        # Wrapped again, for other options: one call is recorded once.
        cls = cls.__mro__[2]
    options = {"_outside": outside, "_rollout": rollout}
    wrapped = object.__new__(type(cls.__name__, (recorded, cls), options))
    # Not the resources that it has opened: they would call the client that was given.
    opened = {name for each in cls.__mro__ for name, item in vars(each).items() if _is_cached(item)}
    wrapped.__dict__.update({key: value for key, value in vars(client).items() if key not in opened})
    return cast("Client", wrapped)


def _is_cached(item: object) -> bool:
    return isinstance(item, cached_property)


class _Call:
    """One call of a wrapped client on its way."""

    def __init__(self, rollout: Rollout, api: Api, path: str, given: dict[str, Any]) -> None:
        options = given.get("options") or {}
        self._rollout = rollout
        self._api: Api = api
        self._path = path
        self._raw = (options.get("headers") or {}).get(_RAW_HEADER)
        self._streams = bool(given.get("stream"))
        body = given.get("body")
        request = {**(body if isinstance(body, dict) else {}), **(options.get("extra_json") or {})}
        self._call: ModelCall | None = rollout.read_call(api, request)
        self._start_s = now_s()

    def returned(self, result: Any) -> Any:
        """What the caller gets: the result, or its stream with a reader in it."""
        if self._raw == "stream" or (self._raw is not None and self._streams):
            self._rollout.pass_call(f"an answer of {self._path} was handed out unread")
        elif isinstance(result, (Stream, AsyncStream)):
            _OpenStream(self).read_along(result)
        elif self._raw is not None:
            self.answered(orjson.loads(result.http_response.content))
        else:
            self.answered(plain(result))
        return result

    def answered(self, response: dict[str, Any]) -> None:
        self._rollout.record_answer(self._call, response, self.latency_ms())

    def failed(self, error: BaseException | str) -> None:
        self._rollout.fail_call(error, self.latency_ms())

    def latency_ms(self) -> float:
        return since_ms(self._start_s)

    @property
    def rollout(self) -> Rollout:
        return self._rollout

    @property
    def api(self) -> Api:
        return self._api


class _OpenStream:
    """A streamed answer: chunks are collected while they pass, and read when the stream ends."""

    def __init__(self, call: _Call) -> None:
        self._call = call
        self._chunks: list[Any] = []
        self._ended = False
        call.rollout.add_stream(self)

    def read_along(self, stream: Stream[Any] | AsyncStream[Any]) -> None:
        if isinstance(stream, Stream):
            stream._iterator = self._sync(stream._iterator)
        else:
            stream._iterator = self._async(stream._iterator)

    def abandon(self) -> None:
        """The reader left, or the rollout ends."""
        if self._begin_end():
            if self._chunks:
                self._record(whole=False)
            else:
                self._call.failed("the stream was not read")

    def _sync(self, chunks: Iterator[Any]) -> Iterator[Any]:
        try:
            for chunk in chunks:
                self._chunks.append(chunk)
                yield chunk
        except GeneratorExit:
            self.abandon()
            raise
        except BaseException as error:
            self._fail(error)
            raise
        self._complete()

    async def _async(self, chunks: AsyncIterator[Any]) -> AsyncIterator[Any]:
        try:
            async for chunk in chunks:
                self._chunks.append(chunk)
                yield chunk
        except GeneratorExit:
            self.abandon()
            raise
        except BaseException as error:
            self._fail(error)
            raise
        self._complete()

    def _complete(self) -> None:
        if self._begin_end():
            self._record(whole=True)

    def _fail(self, error: BaseException) -> None:
        if self._begin_end():
            self._call.failed(error)

    def _begin_end(self) -> bool:
        """False if the stream has ended before."""
        if self._ended:
            return False
        self._ended = True
        self._call.rollout.remove_stream(self)
        return True

    def _record(self, *, whole: bool) -> None:
        if self._call.api == "responses":
            ended = next((each for each in reversed(self._chunks) if each.type in _ENDINGS), None)
            if ended is None:
                self._call.failed("the stream ended before its response")
            else:
                self._call.answered(plain(ended.response))
            return
        completion = whole_completion(self._chunks)
        if "choices" not in completion:
            self._call.failed("the stream ended before its answer")
            return
        if not whole and not any(choice.get("finish_reason") for choice in completion["choices"]):
            completion[LEFT_EARLY] = True
        self._call.answered(completion)


class _Recorded:
    """Mixed into the class of a client."""

    _outside: Outside = "error"
    _rollout: Rollout | None = None

    def post(self, path: str, **given: Any) -> Any:
        send = super().post  # type: ignore[misc]
        call = _call_of(self, path, given)
        if call is None:
            return send(path, **given)
        try:
            result = send(path, **given)
        except BaseException as error:
            call.failed(error)
            raise
        return call.returned(result)


class _RecordedAsync:
    """Mixed into the class of an asynchronous client."""

    _outside: Outside = "error"
    _rollout: Rollout | None = None

    async def post(self, path: str, **given: Any) -> Any:
        send = super().post  # type: ignore[misc]
        call = _call_of(self, path, given)
        if call is None:
            return await send(path, **given)
        try:
            result = await send(path, **given)
        except BaseException as error:
            call.failed(error)
            raise
        return call.returned(result)


def _call_of(client: _Recorded | _RecordedAsync, path: str, given: dict[str, Any]) -> _Call | None:
    """Null for calls that are not recorded. Raises RecordingError outside a rollout."""
    api = _API_OF_PATH.get(path)
    if api is None:
        return None
    rollout = client._rollout or active_rollout()
    if rollout is not None and rollout.is_open:
        return _Call(rollout, api, path, given)
    if client._outside == "pass":
        return None
    ended = rollout is not None and rollout.has_ended
    raise RecordingError(
        "a model call outside a rollout",
        got=f"rollout {rollout.rollout_id}, which has ended" if rollout and ended else "no active rollout",
        expected="a call inside the block of `record.rollout`",
        cure="A thread that does not inherit the block needs `record.wrap(client, rollout=rollout)`; "
        '`record.wrap(client, outside="pass")` lets such calls pass unrecorded.',
    )
