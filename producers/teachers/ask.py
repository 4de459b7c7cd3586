"""Asking teachers for their action at recorded states, over any OpenAI-compatible endpoint.

Flow: student turns → contexts → one request per teacher and state that the lake has no answer to →
`TeacherAnswered` or `TeacherFailed`.

**An answer that the lake holds is not asked for again**: the request key is the hash of the whole request
and the teacher.
**A failure is an event**; it stops nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import openai
import orjson

from lake import Lake
from schemas.canonical import canonical_text, hash_of
from schemas.clock import now_s, since_ms
from schemas.context import CONTEXT_COLUMNS, ContextFold
from schemas.errors import TableMissingError
from schemas.event import Event
from schemas.teacher_events import TeacherAnswered, TeacherFailed

FLUSH_EVERY = 500
REQUEST_TIMEOUT_S = 60.0


class Question(NamedTuple):
    """One state to be put to every teacher."""

    state_key: str
    rollout_id: str
    turn_index: int
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]


class Endpoint(NamedTuple):
    base_url: str
    api_key: str
    teachers: tuple[str, ...]
    concurrency: int = 4


class Asked(NamedTuple):
    """What a run of questions came to."""

    answered: int
    known: int
    failed: int


def questions(lake: Lake, rollout_ids: Sequence[str]) -> list[Question]:
    """The distinct states of these rollouts, in the order of their keys."""
    import polars as pl

    wanted = pl.col("rollout_id").is_in(list(rollout_ids))
    turns = lake.scan("turn_completed").filter(wanted).select(*CONTEXT_COLUMNS, "state_key").collect()
    started = lake.scan("rollout_started").filter(wanted).select("rollout_id", "tools_json").collect()
    tools = {rollout_id: orjson.loads(text) if text else [] for rollout_id, text in started.iter_rows()}
    fold = ContextFold(turns.select(CONTEXT_COLUMNS).iter_rows())
    first = (
        turns.sort("state_key", "rollout_id", "turn_index")
        .unique("state_key", keep="first")
        .sort("state_key")
    )
    return [
        Question(
            row["state_key"],
            row["rollout_id"],
            row["turn_index"],
            fold.context(row["rollout_id"], row["turn_index"]),
            tools[row["rollout_id"]],
        )
        for row in first.iter_rows(named=True)
    ]


def ask_teachers(
    lake: Lake, endpoint: Endpoint, asked: Iterable[Question], on_answer: Callable[[], None] = lambda: None
) -> Asked:
    """Put every question to every teacher of the endpoint and land what comes back."""
    known = _known_requests(lake)
    requests = [_request(question, teacher) for question in asked for teacher in endpoint.teachers]
    missing = [request for request in requests if request.key not in known]
    client = openai.OpenAI(base_url=endpoint.base_url, api_key=endpoint.api_key, timeout=REQUEST_TIMEOUT_S)
    answered = failed = 0
    with (
        client,
        ThreadPoolExecutor(endpoint.concurrency) as pool,
        lake.writer(f"ask-{hash_of(list(endpoint.teachers))[:8]}") as writer,
    ):
        for events in _batched(pool.map(lambda request: _ask(client, request), missing), FLUSH_EVERY):
            writer.append(events)
            failed += sum(isinstance(event, TeacherFailed) for event in events)
            answered += sum(isinstance(event, TeacherAnswered) for event in events)
            for _ in events:
                on_answer()
    for _ in range(len(requests) - len(missing)):
        on_answer()
    return Asked(answered, len(requests) - len(missing), failed)


class _Request(NamedTuple):
    key: str
    teacher: str
    question: Question
    body: dict[str, Any]


def _request(question: Question, teacher: str) -> _Request:
    body: dict[str, Any] = {"model": teacher, "messages": question.messages, "temperature": 0}
    if question.tools:
        body["tools"] = question.tools
    return _Request(hash_of({"teacher": teacher, "request": body}), teacher, question, body)


def _known_requests(lake: Lake) -> set[str]:
    lake.project(["teacher_answered"])
    try:
        return set(lake.scan("teacher_answered").select("request_key").collect()["request_key"])
    except TableMissingError:
        return set()


def _ask(client: openai.OpenAI, request: _Request) -> Event:
    began = now_s()
    try:
        response = client.chat.completions.create(**request.body)
    except openai.APIError as error:
        return _failure(request, type(error).__name__, str(error), getattr(error, "status_code", None), began)
    if not response.choices:
        return _failure(request, "empty_choices", response.to_json(), None, began)
    choice, usage = response.choices[0], response.usage
    details = usage.prompt_tokens_details if usage else None
    return TeacherAnswered(
        request_key=request.key,
        state_key=request.question.state_key,
        teacher=request.teacher,
        origin="asked",
        rollout_id=request.question.rollout_id,
        turn_index=request.question.turn_index,
        action_json=canonical_text(choice.message.model_dump(mode="json", exclude_none=True)),
        model_requested=request.teacher,
        model_served=response.model,
        response_id=response.id,
        finish_reason=choice.finish_reason,
        prompt_token_count=usage.prompt_tokens if usage else None,
        cached_token_count=details.cached_tokens if details else None,
        completion_token_count=usage.completion_tokens if usage else None,
        latency_ms=since_ms(began),
        sampling_json=canonical_text({"temperature": 0}),
    )


def _failure(
    request: _Request, failure: str, detail: str, http_status: int | None, began: float
) -> TeacherFailed:
    return TeacherFailed(
        request_key=request.key,
        # Attempts of different runs are different facts.
        attempt_index=time.time_ns(),
        state_key=request.question.state_key,
        teacher=request.teacher,
        failure=failure,
        http_status=http_status,
        detail=detail[:2000],
        latency_ms=since_ms(began),
    )


def _batched(events: Iterator[Event], size: int) -> Iterator[list[Event]]:
    batch: list[Event] = []
    for event in events:
        batch.append(event)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
