"""What an endpoint supports for a model, measured by requests.

**Null is "not measured"**: the endpoint was busy or broken, or its answer showed nothing either way. False is
what it refused, or silently left out: many accept a parameter and ignore it.
**A probe costs money like any other call.** It is one attempt: its reservation covers the most that all its
requests can cost, and is durable before the first one is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from tracelake.lake import Lake
from tracelake.producers.calling.answer_reader import AnswerReader, BodyTooLargeError
from tracelake.producers.calling.answer_shape import AnswerShapeError, shown
from tracelake.producers.calling.http_client import ConnectionLostError, EndpointClient, NotSentError
from tracelake.producers.calling.outcome import cut
from tracelake.producers.teachers.asking.jobs import PricedTeacher
from tracelake.producers.teachers.history import read_history
from tracelake.producers.teachers.pricing.price_lists import reserved_prices
from tracelake.producers.teachers.pricing.prices import exact_cost_usd, maximum_microusd, microusd
from tracelake.producers.teachers.pricing.usage import read_usage
from tracelake.schemas.canonical import hash_of
from tracelake.schemas.errors import BudgetExhaustedError
from tracelake.schemas.events.teacher_events import SettledBy, TeacherCallReserved, TeacherCallSettled

PROBE = "probe"
REQUEST_COUNT = 9
PROMPT_TOKEN_MAX, COMPLETION_TOKEN_MAX = 2000, 64
"""Of one request."""
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
# At `/completions` a 404 says that the path is missing; elsewhere it is about the model, and shows nothing.
_NO_PATH = 404
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")


class Refusal(NamedTuple):
    """A request of a probe that was not answered."""

    question: str
    http_status: int | None
    detail: str


class Capabilities(NamedTuple):
    """Each is null if it was not measured."""

    model_served: str | None
    streams: bool | None
    usage_in_stream: bool | None
    states_cost: bool | None
    cached_token_counts: bool | None
    """Whether usages state how much of a prompt came from a cache, even if it is nothing."""
    logprobs: bool | None
    top_logprob_count: int | None
    """Alternatives per token that came when five were requested."""
    tools: bool | None
    """Whether a tool call came when one was demanded."""
    several_choices: bool | None
    """Whether `n: 2` gives two."""
    seed: bool | None
    """Whether equal seeds give equal texts, and another seed another text."""
    completion_ids: bool | None
    prompt_logprobs: bool | None
    """Of chat messages, by `prompt_logprobs`."""
    echo_logprobs: bool | None
    """Of a plain prompt, by `echo` at `/completions`."""
    refusals: tuple[Refusal, ...]
    usages: tuple[dict[str, Any], ...]
    """As reported, one per answer that has any."""


class _Reply(NamedTuple):
    status: int | None
    reader: AnswerReader
    body: dict[str, Any]
    """The whole JSON answer; empty for a stream."""

    @property
    def is_answer(self) -> bool:
        return self.status == 200 and not self.reader.parts.error

    def shows(self, found: bool) -> bool | None:
        """What an answer shows; a refusal shows that the feature is missing, anything else shows nothing."""
        if self.is_answer:
            return found
        return False if self.status in _REFUSED else None


def probe_teacher(
    lake: Lake, teacher: PricedTeacher, api_key: str | None, budget_microusd: int
) -> Capabilities:
    """Raises BudgetExhaustedError if the probe may cost more than the budget."""
    prices = reserved_prices(teacher.spec, teacher.prices)
    each = maximum_microusd(prices, PROMPT_TOKEN_MAX, COMPLETION_TOKEN_MAX)
    if each * REQUEST_COUNT > budget_microusd:
        raise BudgetExhaustedError(
            f"a probe of {teacher.spec.name} may exceed its budget",
            got=f"{budget_microusd} micro-dollars",
            expected=f"{each * REQUEST_COUNT}",
            cure="Raise it by --budget.",
        )
    reserved = _reserved(lake, teacher, each * REQUEST_COUNT)
    with lake.writer(PROBE) as writer:
        writer.append([reserved])
        found = asyncio.run(
            probe(
                teacher.spec.base_url,
                teacher.spec.model,
                api_key,
                extra_body=teacher.spec.routing.extra_body(),
                timeout_s=teacher.spec.limits.request_timeout_s,
            )
        )
        writer.append([_settled(teacher, found, reserved)])
    return found


def _reserved(lake: Lake, teacher: PricedTeacher, maximum: int) -> TeacherCallReserved:
    key = hash_of([PROBE, teacher.spec.identity()])
    number = read_history(lake).attempt_count.get((key, 0), 0)
    return TeacherCallReserved(
        attempt_id=hash_of([PROBE, key, number])[:32],
        replay_id=PROBE,
        request_key=key,
        attempt_index=number,
        state_key=PROBE,
        teacher=teacher.name,
        rollout_id=PROBE,
        turn_index=0,
        max_cost_microusd=maximum,
    )


def _settled(
    teacher: PricedTeacher, found: Capabilities, reserved: TeacherCallReserved
) -> TeacherCallSettled:
    """The maximum, unless every request was refused or reported its usage."""
    cost, stated = Decimal(0), 0
    read = [read_usage(usage) for usage in found.usages]
    for each in read:
        if each.cost_usd is not None:
            cost, stated = cost + each.cost_usd, stated + 1
        elif each.usage is not None:
            cost += exact_cost_usd(teacher.prices, each.usage)
    known = sum(each.cost_usd is not None or each.usage is not None for each in read)
    refused = sum(refusal.http_status is not None and refusal.http_status < 500 for refusal in found.refusals)
    source: SettledBy = "provider" if stated == known else "price_table"
    amount = microusd(cost)
    if known + refused < REQUEST_COUNT and reserved.max_cost_microusd:
        source, amount = "maximum", reserved.max_cost_microusd
    return TeacherCallSettled(attempt_id=reserved.attempt_id, cost_microusd=amount, cost_source=source)


async def probe(
    base_url: str,
    model: str,
    api_key: str | None = None,
    *,
    extra_body: Mapping[str, Any] | None = None,
    timeout_s: float = 60.0,
) -> Capabilities:
    """Ask an endpoint for everything that a replay may use. Never raises for what the endpoint does.

    `extra_body` goes with every request, such as a router's choice of provider.
    """
    async with EndpointClient(base_url, api_key) as client:
        return await _Probe(client, {"model": model, **(extra_body or {})}, timeout_s).run()


class _Probe:
    def __init__(self, client: EndpointClient, base: dict[str, Any], timeout_s: float) -> None:
        self._client, self._base, self._timeout_s = client, base, timeout_s
        self._refusals: list[Refusal] = []
        self._usages: list[dict[str, Any]] = []
        self._model_served: str | None = None

    async def run(self) -> Capabilities:
        stream = await self._chat("stream", stream=True, stream_options={"include_usage": True})
        streams = stream.shows(stream.reader.is_stream)
        logprobs = await self._chat("logprobs", logprobs=True, top_logprobs=TOP_LOGPROBS)
        tokens = logprobs.reader.parts.tokens()
        alternatives = [len(item.get("top_logprobs") or []) for item in tokens.raw_top_logprobs or []]
        tools = await self._chat("tools", "Call the tool `report` with status ok.", tools=[_TOOL])
        several = await self._chat("n", n=2)
        prompt = await self._chat("prompt_logprobs", prompt_logprobs=1, return_token_ids=True)
        echo = await self._echo()
        seed = await self._seed()
        return Capabilities(
            model_served=self._model_served,
            streams=streams,
            usage_in_stream=stream.reader.parts.usage is not None if streams else None,
            states_cost=self._usages_state("cost"),
            cached_token_counts=self._usages_state(*_CACHED),
            logprobs=logprobs.shows(tokens.logprobs is not None),
            top_logprob_count=max(alternatives, default=0) if logprobs.is_answer else None,
            tools=tools.shows(_has_call(tools)),
            several_choices=several.shows(len(_choices(several.body)) == 2),
            seed=seed,
            completion_ids=prompt.shows(prompt.reader.parts.tokens().completion_ids is not None),
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
        if reply.status == _NO_PATH:
            return False
        found = [choice.get("logprobs") for choice in _choices(reply.body)]
        values = found[0].get("token_logprobs") if found and isinstance(found[0], dict) else None
        # A single one would be that of the completion.
        return reply.shows(isinstance(values, list) and len(values) > 2 and _has_values(values))

    async def _seed(self) -> bool | None:
        text = "Write twenty random digits."
        replies = [await self._chat("seed", text, temperature=1, seed=seed) for seed in (7, 7, 8)]
        if not all(reply.is_answer for reply in replies):
            return replies[0].shows(False)
        one, same, other = (reply.reader.parts.text_so_far() for reply in replies)
        if one != same:
            return False
        return True if one != other else None

    async def _post(self, question: str, path: str, body: dict[str, Any]) -> _Reply:
        reader, status, detail, text = AnswerReader(BODY_BYTE_MAX), None, "", b""
        content = orjson.dumps({**self._base, **body})
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.post(path, content, connect_timeout_s=self._timeout_s)
                text = await answer.read(BODY_BYTE_MAX)
            status = answer.status
            if answer.is_success:
                content_type = answer.headers.get("content-type", "")
                reader.feed(text, is_event_stream="event-stream" in content_type)
                reader.end()
            else:
                detail = text.decode("utf-8", "backslashreplace")
        except (
            NotSentError,
            ConnectionLostError,
            BodyTooLargeError,
            AnswerShapeError,
            TimeoutError,
        ) as error:
            status, detail = None, f"{type(error).__name__}: {error}"
        reply = _Reply(status, reader, _whole(text) if not reader.is_stream else {})
        if not reply.is_answer:
            self._refusals.append(Refusal(question, status, cut(detail or shown(reader.parts.error))))
        if usage := reader.parts.usage:
            self._usages.append(usage)
        self._model_served = self._model_served or reader.parts.model_served
        return reply

    def _usages_state(self, *names: str) -> bool | None:
        """Whether any usage has a number under one of the names."""
        if not self._usages:
            return None
        details = [usage.get("prompt_tokens_details") for usage in self._usages]
        places = [*self._usages, *(each for each in details if isinstance(each, dict))]
        return any(type(each.get(name)) in (int, float) for each in places for name in names)


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
        return bool(reply.reader.parts.message().get("tool_calls"))
    except ValueError:
        return False


def _has_values(values: object) -> bool:
    return isinstance(values, list) and any(each is not None for each in values)
