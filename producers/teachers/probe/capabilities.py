"""What an endpoint really does for a model, found out by asking it.

**Null is "not found out"**: the endpoint was busy, broken, or its answer showed nothing either way. False is
what it refused, or silently left out: many take a parameter and ignore it.
**A probe is paid like any other call**: some ten short requests, whose usages are handed back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from tracelake.producers.calling.answer_shape import shown
from tracelake.producers.calling.http_client import (
    ConnectionLostError,
    HttpAnswer,
    NotSentError,
    TeacherClient,
    teacher_client,
)
from tracelake.producers.calling.outcome import cut
from tracelake.producers.calling.reading import BodyTooLargeError, Reading

BODY_BYTE_MAX = 2**20
TOP_LOGPROBS = 5
_TOOL = {
    "type": "function",
    "function": {
        "name": "report",
        "description": "Reports a status.",
        "parameters": {"type": "object", "properties": {"status": {"type": "string"}}},
    },
}
_REFUSED = (400, 405, 415, 422, 501)
# Here it is the path that is missing; elsewhere a 404 speaks of the model, and shows nothing.
_NO_PATH = 404
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")


class Refusal(NamedTuple):
    """A question of a probe that was not answered."""

    question: str
    http_status: int | None
    detail: str


class Capabilities(NamedTuple):
    """Each null where it was not found out."""

    model_served: str | None
    streams: bool | None
    usage_in_stream: bool | None
    states_cost: bool | None
    cached_token_counts: bool | None
    """Whether usages tell how much of a prompt came from a cache, if only that it was nothing."""
    logprobs: bool | None
    top_logprob_count: int | None
    """Alternatives per token that came when five were asked for."""
    tools: bool | None
    """Whether a call came when one was demanded."""
    several_choices: bool | None
    """Whether `n: 2` gives two."""
    seed: bool | None
    """Whether one seed gives one text, where another seed gives another."""
    completion_ids: bool | None
    prompt_logprobs: bool | None
    """Of chat messages, by `prompt_logprobs`."""
    echo_logprobs: bool | None
    """Of a plain prompt, by `echo` at `/completions`."""
    refusals: tuple[Refusal, ...]
    usages: tuple[dict[str, Any], ...]
    """As told, one per answer that told any."""


class _Reply(NamedTuple):
    status: int | None
    reading: Reading
    body: dict[str, Any]
    """The whole JSON answer; empty for a stream."""

    @property
    def is_answer(self) -> bool:
        return self.status == 200 and not self.reading.parts.error

    def shows(self, found: bool) -> bool | None:
        """What an answer shows; a refusal shows that it is not there, anything else shows nothing."""
        if self.is_answer:
            return found
        return False if self.status in _REFUSED else None


async def probe(
    base_url: str,
    model: str,
    api_key: str | None = None,
    *,
    extra_body: Mapping[str, Any] | None = None,
    timeout_s: float = 60.0,
) -> Capabilities:
    """Ask an endpoint for everything that a replay may want. Never raises for what the endpoint does.

    `extra_body` goes with every request, such as a router's choice of provider.
    """
    client = teacher_client(base_url, api_key)
    try:
        asking = _Probe(client, {"model": model, **(extra_body or {})}, timeout_s)
        return await asking.run()
    finally:
        await client.close()


class _Probe:
    def __init__(self, client: TeacherClient, base: dict[str, Any], timeout_s: float) -> None:
        self._client, self._base, self._timeout_s = client, base, timeout_s
        self._refusals: list[Refusal] = []
        self._usages: list[dict[str, Any]] = []
        self._model_served: str | None = None

    async def run(self) -> Capabilities:
        stream = await self._chat("stream", stream=True, stream_options={"include_usage": True})
        streams = stream.shows(stream.reading.is_stream)
        logprobs = await self._chat("logprobs", logprobs=True, top_logprobs=TOP_LOGPROBS)
        tokens = logprobs.reading.parts.tokens()
        alternatives = [len(item.get("top_logprobs") or []) for item in tokens.raw_top_logprobs or []]
        tools = await self._chat("tools", "Call the tool `report` with status ok.", tools=[_TOOL])
        several = await self._chat("n", n=2)
        prompt = await self._chat("prompt_logprobs", prompt_logprobs=1, return_token_ids=True)
        echo = await self._echo()
        seed = await self._seed()
        return Capabilities(
            model_served=self._model_served,
            streams=streams,
            usage_in_stream=stream.reading.parts.usage is not None if streams else None,
            states_cost=self._told("cost"),
            cached_token_counts=self._told(*_CACHED),
            logprobs=logprobs.shows(tokens.logprobs is not None),
            top_logprob_count=max(alternatives, default=0) if logprobs.is_answer else None,
            tools=tools.shows(_has_call(tools)),
            several_choices=several.shows(len(_choices(several.body)) == 2),
            seed=seed,
            completion_ids=prompt.shows(prompt.reading.parts.tokens().completion_ids is not None),
            prompt_logprobs=prompt.shows(_has_values(prompt.body.get("prompt_logprobs"))),
            echo_logprobs=echo,
            refusals=tuple(self._refusals),
            usages=tuple(self._usages),
        )

    async def _chat(self, question: str, text: str = "Say OK.", **fields: Any) -> _Reply:
        messages = [{"role": "user", "content": text}]
        body = {"messages": messages, "max_tokens": 32, "temperature": 0, **fields}
        return await self._post(question, "/chat/completions", body)

    async def _echo(self) -> bool | None:
        body = {"prompt": "The capital of France is", "max_tokens": 1, "echo": True, "logprobs": 1}
        reply = await self._post("echo", "/completions", body)
        told = [choice.get("logprobs") for choice in _choices(reply.body)]
        values = told[0].get("token_logprobs") if told and isinstance(told[0], dict) else None
        # One would be that of the completion.
        if reply.status == _NO_PATH:
            return False
        return reply.shows(isinstance(values, list) and len(values) > 2 and _has_values(values))

    async def _seed(self) -> bool | None:
        text = "Write twenty random digits."
        replies = [await self._chat("seed", text, temperature=1, seed=seed) for seed in (7, 7, 8)]
        if not all(reply.is_answer for reply in replies):
            return replies[0].shows(False)
        one, same, other = (reply.reading.parts.said() for reply in replies)
        if one != same:
            return False
        return True if one != other else None

    async def _post(self, question: str, path: str, body: dict[str, Any]) -> _Reply:
        reading, status, detail, text = Reading(BODY_BYTE_MAX), None, "", b""
        content = orjson.dumps({**self._base, **body})
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.post_bytes(path, content, connect_timeout_s=self._timeout_s)
                try:
                    status, text = answer.status, await _read(answer, reading)
                finally:
                    answer.close()
            detail = "" if answer.is_success else text.decode("utf-8", "backslashreplace")
        except (NotSentError, ConnectionLostError, BodyTooLargeError, TimeoutError, ValueError) as error:
            status, detail = None, f"{type(error).__name__}: {error}"
        reply = _Reply(status, reading, _whole(text) if not reading.is_stream else {})
        if not reply.is_answer:
            self._refusals.append(Refusal(question, status, cut(detail or shown(reading.parts.error))))
        if usage := reading.parts.usage:
            self._usages.append(usage)
        self._model_served = self._model_served or reading.parts.model_served
        return reply

    def _told(self, *names: str) -> bool | None:
        if not self._usages:
            return None
        details = [usage.get("prompt_tokens_details") for usage in self._usages]
        told = [*self._usages, *(each for each in details if isinstance(each, dict))]
        return any(type(each.get(name)) in (int, float) for each in told for name in names)


async def _read(answer: HttpAnswer, reading: Reading) -> bytes:
    """The text of an answer; one that is a success is taken by the reading, too."""
    is_event_stream = "event-stream" in answer.headers.get("content-type", "")
    pieces: list[bytes] = []
    async for piece in answer.pieces():
        pieces.append(piece)
        if answer.is_success:
            reading.feed(piece, is_event_stream=is_event_stream)
    if answer.is_success:
        reading.end()
    return b"".join(pieces)


def _whole(text: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _choices(body: dict[str, Any]) -> list[dict[str, Any]]:
    choices = body.get("choices")
    return [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []


def _has_call(reply: _Reply) -> bool:
    try:
        return bool(reply.reading.parts.message().get("tool_calls"))
    except ValueError:
        return False


def _has_values(told: object) -> bool:
    return isinstance(told, list) and any(each is not None for each in told)
