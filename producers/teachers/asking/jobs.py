"""What is to be bought: one answer of one teacher to one question, and what was done to make it fit.

**A context beyond the teacher's window is treated by the teacher's rule**, and the answer says how: nothing
is cut in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tracelake.producers.teachers.asking.questions import Question
from tracelake.producers.teachers.asking.request_body import request_body, request_key, teacher_name
from tracelake.producers.teachers.pricing.prices import (
    FREE,
    Prices,
    maximum_microusd,
    prices_for,
    reserved_prices,
)
from tracelake.producers.teachers.pricing.token_estimate import estimate, prompt_token_max
from tracelake.producers.teachers.pricing.usage import TOKEN_COUNT_MAX
from tracelake.producers.teachers.spec.teacher_file import TeacherSpec
from tracelake.schemas.errors import BadInputError
from tracelake.schemas.message import Message

DROPPED_OUTPUT = "[this output was dropped: the context is longer than the model's window]"
CONTEXT_TOO_LONG = "context_too_long"
UNBOUNDED_COST = "unbounded_cost"
DROP_RULE = "drop_oldest_tool_outputs"

JobKey = tuple[str, int]
"""Request key and sample index."""


class PricedTeacher(NamedTuple):
    """A teacher, and what its calls cost."""

    spec: TeacherSpec
    prices: Prices

    @property
    def name(self) -> str:
        """In the lake."""
        return teacher_name(self.spec)


class Bounds(NamedTuple):
    """What a request can use and cost at most."""

    prompt_token_max: int
    completion_token_max: int
    cost_microusd: int


class Job(NamedTuple):
    """One answer to be bought."""

    question: Question
    teacher: PricedTeacher
    sample_index: int
    request_key: str
    """Of what is sent; of the whole context where nothing is."""
    bounds: Bounds
    unsent: str | None = None
    """Class of the failure, where nothing is sent: it is over the window, or its cost is unbounded."""
    context_rule: str | None = None

    @property
    def key(self) -> JobKey:
        """Under which its answer is known."""
        return self.request_key, self.sample_index

    def body(self) -> dict[str, Any]:
        """Made anew at each call: bodies of all jobs at once would not fit into memory."""
        return _body(self.question, self.teacher, self.context_rule, self.sample_index)


def priced(specs: Iterable[TeacherSpec]) -> list[PricedTeacher]:
    """Raises BadInputError for a teacher whose price nobody knows."""
    teachers: list[PricedTeacher] = []
    for spec in specs:
        prices = prices_for(spec)
        if prices is None:
            raise BadInputError(
                f"nobody knows the price of teacher {spec.name}",
                got=f"{spec.model} in {spec.price}",
                expected="a model of the price list",
                cure="Give price_model, a price table, or `free`.",
            )
        teachers.append(PricedTeacher(spec, prices))
    return teachers


def jobs_of(questions: Sequence[Question], teachers: Sequence[PricedTeacher]) -> list[Job]:
    """Each distinct answer once: by question, teacher, sample."""
    jobs: dict[tuple[str, int], Job] = {}
    for question in questions:
        for teacher in teachers:
            for job in _samples(question, teacher):
                jobs.setdefault(job.key, job)
    return list(jobs.values())


def _samples(question: Question, teacher: PricedTeacher) -> Iterable[Job]:
    body = _body(question, teacher, None, 0)
    unsent = rule = None
    if not _within(teacher.spec, body):
        rule = _rule_that_fits(question, teacher)
        unsent = CONTEXT_TOO_LONG if rule is None else None
        body = _body(question, teacher, rule, 0)
    bounds = _bounds(teacher, body)
    if bounds is None:
        unsent, bounds = UNBOUNDED_COST, Bounds(0, 0, 0)
    first = request_key(teacher.spec, body)
    for sample_index in range(teacher.spec.sampling.sample_count):
        # The seed is the one field in which samples differ.
        same = sample_index == 0 or "seed" not in body
        key = first if same else request_key(teacher.spec, body | {"seed": body["seed"] + sample_index})
        yield Job(question, teacher, sample_index, key, bounds, unsent, rule)


def _body(question: Question, teacher: PricedTeacher, rule: str | None, sample_index: int) -> dict[str, Any]:
    messages = question.messages
    if rule is not None:
        messages = _dropped(messages, int(rule.rpartition(":")[2]))
    return request_body(teacher.spec, messages, question.tools, sample_index)


def _bounds(teacher: PricedTeacher, body: dict[str, Any]) -> Bounds | None:
    """Null where there is no bound."""
    completion = teacher.spec.sampling.max_tokens
    if teacher.prices == FREE:
        return Bounds(TOKEN_COUNT_MAX, TOKEN_COUNT_MAX, 0)
    try:
        prompt = prompt_token_max(body)
    except BadInputError:
        return None
    prices = reserved_prices(teacher.spec, teacher.prices)
    return Bounds(prompt, completion, maximum_microusd(prices, prompt, completion))


def _within(spec: TeacherSpec, body: dict[str, Any]) -> bool:
    window = spec.limits.context_token_max
    return window is None or estimate(body).expected + spec.sampling.max_tokens <= window


def _rule_that_fits(question: Question, teacher: PricedTeacher) -> str | None:
    """The fewest oldest outputs that must go, by halving: each output that goes makes the request shorter."""
    if teacher.spec.limits.over_context != DROP_RULE:
        return None

    def fits(count: int) -> bool:
        return _within(teacher.spec, _body(question, teacher, f"{DROP_RULE}:{count}", 0))

    low, high = 1, sum(message.get("role") == "tool" for message in question.messages)
    if not high or not fits(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return f"{DROP_RULE}:{low}"


def _dropped(messages: Sequence[Message], count: int) -> list[Message]:
    """The oldest tool outputs replaced by a line that says so."""
    kept: list[Message] = []
    for message in messages:
        if count and message.get("role") == "tool":
            count -= 1
            message = message | {"content": DROPPED_OUTPUT}
        kept.append(message)
    return kept
