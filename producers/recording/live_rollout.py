"""A rollout that is recorded while it happens.

Flow: `rollout` opened → model calls, tool results and rewards as they happen → the block ends → its events
are durable.

**Events go to the lake one by one**, so that a program that dies leaves what happened before. Such a rollout
has no `RolloutEnded`.
**The start lands with the first call**, which names the model, its tools and its settings.
**Recording never costs an answer**: what of a call cannot be recorded is listed in `RolloutEnded`, and the
end of the block raises it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Mapping
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from math import isfinite
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from pydantic import ValidationError

from tracelake.lake.lake import Lake
from tracelake.producers.importers.conversion.fields import without_secrets
from tracelake.producers.recording.event_queue import EventQueue
from tracelake.producers.recording.model_calls import (
    Answer,
    Api,
    CallReader,
    ModelCall,
    answers_of,
    message_answer,
)
from tracelake.producers.recording.streamed import plain
from tracelake.producers.recording.tool_calls import ToolCalls, output_text, well_formed
from tracelake.producers.recording.turn_fields import TurnFields
from tracelake.schemas.canonical import INT_64_MAX, canonical_text
from tracelake.schemas.clock import is_still, now_s, since_ms
from tracelake.schemas.errors import EventInvalidError, LakeError, RecordingError, TracelakeError
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.rollout_events import (
    RewardAssigned,
    RolloutEnded,
    RolloutStarted,
    StopReason,
    ToolReturned,
    TurnCompleted,
)
from tracelake.schemas.message import tools_key

_CUT_OFF = ("max_turns", "max_tokens", "max_cost", "timeout")
_active: ContextVar[Rollout | None] = ContextVar("tracelake_rollout", default=None)
_log = logging.getLogger("tracelake")


class OpenStream(Protocol):
    """A streamed answer that has not ended."""

    def abandon(self) -> None:
        """Record what has arrived."""
        ...


def active_rollout() -> Rollout | None:
    """The rollout whose block this task or thread is in."""
    return _active.get()


class Rollout:
    """One rollout; threads and tasks may share it. `with` and `async with` open it."""

    def __init__(self, lake: Lake, queue: EventQueue, started: RolloutStarted) -> None:
        self.rollout_id = started.rollout_id
        self._lake = lake
        """The queues of a lake close when nobody uses its object."""
        self._queue = queue
        self._started = started
        self._lock = threading.RLock()
        self._state: Literal["new", "open", "ended"] = "new"
        self._has_start = False
        self._token: Token[Rollout | None] | None = None
        self._start_s = 0.0
        self._first_call: ModelCall | None = None
        self._reader = CallReader()
        self._tool_calls = ToolCalls()
        self._turns = TurnFields(self._tool_calls)
        self._streams: set[OpenStream] = set()
        self._failed_calls: list[dict[str, Any]] = []
        self._last_failure: str | None = None
        self._faults: list[str] = []
        """What could not be recorded, and why."""
        self._passed_calls: list[str] = []
        """Calls that were not to be recorded, and why."""
        self._lost_count = 0

    @property
    def turn_count(self) -> int:
        return self._turns.turn_count

    @property
    def is_open(self) -> bool:
        return self._state == "open"

    @property
    def has_ended(self) -> bool:
        return self._state == "ended"

    def __enter__(self) -> Self:
        if self._state != "new":
            raise RecordingError(
                "a rollout is opened once", got=f"rollout {self.rollout_id} again", cure="Open another."
            )
        self._queue.reserve(self._started)
        self._state, self._start_s = "open", now_s()
        self._token = _active.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        self._close(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        await asyncio.to_thread(self._close, error)

    def turn(
        self,
        messages: Iterable[Any],
        response: Any,
        *,
        model: str | None = None,
        tools: list[Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        latency_ms: float | None = None,
    ) -> int:
        """Record a model call that no wrapped client saw; returns its turn index.

        `response` is a chat completion or a response of the OpenAI client, its JSON, or the assistant message
        alone. `messages` are the whole context, or the input of a response. `settings` are other parameters
        of the request. Raises RecordingError, SourceFormatError, EventInvalidError."""
        answer = plain(response)
        if not isinstance(answer, dict):
            raise RecordingError(
                "no response of a model",
                got=type(response).__name__,
                expected="a chat completion, a response, or an assistant message",
            )
        api: Api = "responses" if "output" in answer else "chat"
        request = {**(settings or {}), "model": model, "tools": plain(tools)}
        request["input" if api == "responses" else "messages"] = [
            message if type(message) is dict else plain(message) for message in messages
        ]
        with self._lock:
            call = self.begin_call(self._reader.read(api, request))
            found = [message_answer(answer)] if "role" in answer else list(answers_of(api, answer))
            return self.complete_call(call, found, latency_ms)

    def tool(
        self,
        call_id: str | None,
        output: Any = None,
        *,
        visible_output: str | None = None,
        return_code: int | None = None,
        error: BaseException | str | None = None,
        duration_ms: float | None = None,
        name: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Record the result of a tool call, before the next model call.

        `output` is the complete output, text or JSON. `visible_output` is what the agent shows the model, if
        it shortens the output. A null `call_id` means an action of the latest turn that is no tool call.
        Raises RecordingError for an unknown call and for a second result of one call."""
        with self._lock:
            self._require_open("a tool result")
            raw = output_text(output)
            shown = raw if visible_output is None else visible_output
            self._put(
                ToolReturned,
                {
                    **self._tool_calls.take_result(call_id, shown, name),
                    "raw_output": raw,
                    "visible_output": shown,
                    "visible_truncated": None if raw is None else shown != raw,
                    "return_code": return_code,
                    "error": _error_text(error) if isinstance(error, BaseException) else error,
                    "duration_ms": duration_ms,
                    "extra_json": _json_or_null({**(extra or {}), **_note_on(output)}),
                    "occurred_at": _now(),
                },
            )

    def reward(
        self,
        score: float | None,
        *,
        grader: str,
        name: str = "reward",
        grader_version: str = "1",
        turn_index: int | None = None,
        weight: float | None = None,
        details: Any = None,
    ) -> None:
        """Record a score of the rollout, or of one turn; null means that it could not be graded.

        Raises RecordingError after the end, and for a turn that does not exist."""
        with self._lock:
            self._require_open("a reward")
            if turn_index is not None and not 0 <= turn_index < self.turn_count:
                raise RecordingError(
                    "a reward for a turn that does not exist",
                    got=turn_index,
                    expected=f"one of {self.turn_count} turns, from 0",
                )
            self._start()
            self._put(
                RewardAssigned,
                {
                    "name": name,
                    "score": score,
                    "grader": grader,
                    "grader_version": grader_version,
                    "turn_index": turn_index,
                    "weight": weight,
                    "details_json": _json_or_null(details),
                    "occurred_at": _now(),
                },
            )

    def end(
        self,
        stop_reason: StopReason = "completed",
        *,
        exit_status: str | None = None,
        submission: str | None = None,
        error: BaseException | str | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """End the rollout before its block does, for example because a limit was reached.

        Raises RecordingError if it has ended."""
        with self._lock:
            self._require_open("an end")
            for stream in list(self._streams):
                stream.abandon()
            self._start()
            notes = {
                "failed_calls": self._failed_calls,
                "calls_not_recorded": self._passed_calls,
                "faults": self._faults,
            }
            cut_off = stop_reason in _CUT_OFF
            self._put(
                RolloutEnded,
                {
                    "stop_reason": stop_reason,
                    "exit_status": exit_status,
                    "turn_count": self.turn_count,
                    "truncated": cut_off if cut_off or stop_reason == "completed" else None,
                    "truncated_by": stop_reason if cut_off else None,
                    "error": _error_text(error) if isinstance(error, BaseException) else error,
                    "submission": submission,
                    "duration_ms": since_ms(self._start_s),
                    "metrics_json": _json_or_null(metrics),
                    "extra_json": _json_or_null({key: value for key, value in notes.items() if value}),
                    "occurred_at": _now(),
                },
            )
            self._state = "ended"

    def flush(self) -> None:
        """Returns when everything recorded so far is durable. Raises LakeError."""
        self._queue.drain()

    # For the wrapped client.

    def read_call(self, api: Api, request: dict[str, Any]) -> ModelCall | None:
        """A request that is about to be sent; null if it cannot be read. Raises RecordingError if the rollout
        is not open."""
        with self._lock:
            self._require_open("a model call")
            try:
                return self.begin_call(self._reader.read(api, request))
            except TracelakeError as error:
                self.note_fault(error)
                return None

    def begin_call(self, call: ModelCall) -> ModelCall:
        with self._lock:
            self._require_open("a model call")
            self._start(call)
            return call

    def complete_call(self, call: ModelCall, answers: Iterable[Answer], latency_ms: float | None) -> int:
        """Record each answer of a call as a turn; returns the index of the first. Raises RecordingError if
        the rollout has ended, and EventInvalidError."""
        with self._lock:
            self._require_open("an answer")
            place = self._turns.place(call)
            for result in self._tool_calls.results_in(place.new_messages):
                self._put(ToolReturned, {**result, "occurred_at": _now()})
            first = self.turn_count
            for answer in answers:
                fields = self._turns.add(call, self._first_call, place, answer)
                self._put(TurnCompleted, {**fields, "occurred_at": _now(), "latency_ms": latency_ms})
            self._last_failure = None
            return first

    def record_answer(
        self, call: ModelCall | None, response: dict[str, Any], latency_ms: float | None
    ) -> None:
        """Record the answer of a wrapped client's call; never raises what its contents cause."""
        if call is None:
            return
        try:
            self.complete_call(call, list(answers_of(call.api, response)), latency_ms)
        except TracelakeError as error:
            self.note_fault(error)

    def fail_call(self, error: BaseException | str, latency_ms: float | None) -> None:
        """Note a call that failed. It is no turn, and `RolloutEnded` lists it."""
        with self._lock:
            text = error if isinstance(error, str) else _error_text(error)
            self._last_failure = text
            after = self.turn_count - 1 if self.turn_count else None
            failed = {"after_turn": after, "error": text, "latency_ms": latency_ms, "at": _now_text()}
            self._failed_calls.append({key: value for key, value in failed.items() if value is not None})

    def pass_call(self, reason: str) -> None:
        """Note a call that the client made and nobody recorded."""
        with self._lock:
            self._passed_calls.append(reason)
        _log.warning("rollout %s: %s", self.rollout_id, reason)

    def note_fault(self, error: TracelakeError) -> None:
        with self._lock:
            self._faults.append(str(error))
        _log.error("rollout %s: a model call could not be recorded: %s", self.rollout_id, error)

    def add_stream(self, stream: OpenStream) -> None:
        with self._lock:
            self._streams.add(stream)

    def remove_stream(self, stream: OpenStream) -> None:
        with self._lock:
            self._streams.discard(stream)

    def _start(self, call: ModelCall | None = None) -> None:
        if self._has_start:
            return
        self._has_start, self._first_call = True, call
        fields: dict[str, Any] = {"occurred_at": _now()}
        if call is not None:
            fields |= {
                "model_requested": call.model,
                "tools_json": call.tools_json,
                "tools_key": tools_key(call.tools_json),
                "sampling_json": _json_or_null(call.settings),
            }
        self._queue_event(self._started.model_copy(update=fields))

    def _leave(self) -> None:
        """Outside the block the rollout is not the active one."""
        if self._token is not None:
            try:
                _active.reset(self._token)
            except ValueError:
                # Another context than the one that was entered, where it never was the active one.
                _log.debug("rollout %s was left in another context", self.rollout_id)

    def _close(self, error: BaseException | None) -> None:
        """End the rollout unless it has ended, and wait until it is durable."""
        try:
            with self._lock:
                if not self.has_ended:
                    self._end_by(error)
            self._queue.drain()
            self._raise_faults()
        except TracelakeError as fault:
            if error is None:
                raise
            # The block's own error matters more, and is raised.
            error.add_note(f"tracelake: {fault}")
            _log.error("rollout %s: %s", self.rollout_id, fault)
        finally:
            self._queue.release(self.rollout_id)

    def _end_by(self, error: BaseException | None) -> None:
        if error is not None:
            self.end("error", exit_status=type(error).__name__, error=error)
        elif self._last_failure is not None:
            # The block went on without the answer that it did not get.
            self.end("error", error=self._last_failure)
        else:
            self.end()

    def _raise_faults(self) -> None:
        if self._lost_count:
            raise LakeError(
                "the lake could not take all events of a rollout in time",
                got=f"{self._lost_count} lost of rollout {self.rollout_id}",
                cure="Record into a lake on a faster disk.",
            )
        if self._faults:
            raise RecordingError(
                f"{len(self._faults)} model calls of rollout {self.rollout_id} could not be recorded",
                got=self._faults[0],
                cure="The rest of the rollout is recorded. `RolloutEnded.extra_json` lists the calls.",
            )

    def _require_open(self, what: str) -> None:
        if self._state == "open":
            return
        raise RecordingError(
            f"{what} outside the rollout",
            got=f"rollout {self.rollout_id}, which has {'ended' if self.has_ended else 'not begun'}",
            expected="the time between the begin and the end of its block",
        )

    def _put(self, cls: type[Event], fields: dict[str, Any]) -> None:
        """Raises EventInvalidError for values that a lake cannot store: later, they would cost others too."""
        for name, value in fields.items():
            if isinstance(value, (int, float)) and not (isfinite(value) and abs(value) <= INT_64_MAX):
                raise EventInvalidError(
                    "a number that cannot be recorded",
                    got=f"{name}: {value}",
                    expected="a finite number, and an integer within 64 bits",
                )
        try:
            event = cls(**{**fields, "rollout_id": self.rollout_id})
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)[0]
            raise EventInvalidError(
                "something to record has a wrong type",
                got=f"{'.'.join(map(str, found['loc']))}: {found['msg']}",
                expected=f"the fields of {cls.__name__}",
            ) from error
        self._queue_event(event)

    def _queue_event(self, event: Event) -> None:
        if not self._queue.put(event):
            self._lost_count += 1


def _now() -> datetime | None:
    return None if is_still() else datetime.now(UTC)


def _now_text() -> str | None:
    now = _now()
    return None if now is None else now.isoformat()


def _error_text(error: BaseException) -> str:
    return well_formed(f"{type(error).__name__}: {error}")


def _note_on(output: object) -> dict[str, Any]:
    is_escaped = isinstance(output, str) and well_formed(output) is not output
    return {"output_has_escaped_bytes": True} if is_escaped else {}


def _json_or_null(value: Any) -> str | None:
    return canonical_text(without_secrets(value)) if value else None
