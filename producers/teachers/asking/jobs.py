"""Jobs: each is one answer of one teacher to one question.

Flow: questions × teachers × samples → request → does it fit the window? → key and bounds → `Job`.

**A context beyond the teacher's window is treated by the teacher's rule**, and the answer records how
(`context_rule`): nothing is cut silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tracelake.producers.teachers.asking.questions import Question
from tracelake.producers.teachers.asking.request_body import request_body, request_key, teacher_name
from tracelake.producers.teachers.pricing.price_lists import prices_for, reserved_prices
from tracelake.producers.teachers.pricing.prices import FREE, Prices, maximum_microusd
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
    """A teacher with its prices."""

    spec: TeacherSpec
    prices: Prices

    @property
    def name(self) -> str:
        """Its name in the lake."""
        return teacher_name(self.spec)


class Bounds(NamedTuple):
    """The most that a request can use and cost."""

    prompt_token_max: int
    completion_token_max: int
    cost_microusd: int


class Job(NamedTuple):
    """One answer to ask for."""

    question: Question
    teacher: PricedTeacher
    sample_index: int
    request_key: str
    """Hash of what is sent; of the whole context if nothing is sent."""
    bounds: Bounds
    unsent: str | None = None
    """Failure class if nothing is sent: the context is too long, or its cost has no bound."""
    context_rule: str | None = None

    @property
    def key(self) -> JobKey:
        """Identifies its answer in the lake."""
        return self.request_key, self.sample_index

    def body(self) -> dict[str, Any]:
        """Built on every call: the bodies of all jobs at once would not fit into memory."""
        return _body(self.question, self.teacher, self.context_rule, self.sample_index)


def price_teachers(specs: Iterable[TeacherSpec]) -> list[PricedTeacher]:
    """Raises BadInputError for a teacher without a known price."""
    teachers: list[PricedTeacher] = []
    for spec in specs:
        prices = prices_for(spec)
        if prices is None:
            raise BadInputError(
                f"the price of teacher {spec.name} is unknown",
                got=f"{spec.model} in {spec.price}",
                expected="a model of the price list",
                cure="Give price_model, a price table, or `free`.",
            )
        teachers.append(PricedTeacher(spec, prices))
    return teachers


def jobs_of(questions: Sequence[Question], teachers: Sequence[PricedTeacher]) -> list[Job]:
    """Each distinct answer once, ordered by question, teacher, sample."""
    jobs: dict[JobKey, Job] = {}
    for question in questions:
        for teacher in teachers:
            for job in _samples(question, teacher):
                jobs.setdefault(job.key, job)
    return list(jobs.values())


def _samples(question: Question, teacher: PricedTeacher) -> Iterable[Job]:
    body = _body(question, teacher, None, 0)
    unsent = rule = None
    if not _fits_window(teacher.spec, body):
        rule = _rule_that_fits(question, teacher)
        unsent = CONTEXT_TOO_LONG if rule is None else None
        body = _body(question, teacher, rule, 0)
    bounds = _bounds(teacher, body)
    if bounds is None:
        unsent, bounds = UNBOUNDED_COST, Bounds(0, 0, 0)
    first = request_key(teacher.spec, body)
    for sample_index in range(teacher.spec.sampling.sample_count):
        # Samples differ in their seed only.
        same = sample_index == 0 or "seed" not in body
        key = first if same else request_key(teacher.spec, body | {"seed": body["seed"] + sample_index})
        yield Job(question, teacher, sample_index, key, bounds, unsent, rule)


def _body(question: Question, teacher: PricedTeacher, rule: str | None, sample_index: int) -> dict[str, Any]:
    messages = question.messages
    if rule is not None:
        messages = _without_oldest_outputs(messages, int(rule.rpartition(":")[2]))
    return request_body(teacher.spec, messages, question.tools, sample_index)


def _bounds(teacher: PricedTeacher, body: dict[str, Any]) -> Bounds | None:
    """None if there is no bound."""
    completion = teacher.spec.sampling.max_tokens
    if teacher.prices == FREE:
        return Bounds(TOKEN_COUNT_MAX, TOKEN_COUNT_MAX, 0)
    try:
        prompt = prompt_token_max(body)
    except BadInputError:
        return None
    prices = reserved_prices(teacher.spec, teacher.prices)
    return Bounds(prompt, completion, maximum_microusd(prices, prompt, completion))


def _fits_window(spec: TeacherSpec, body: dict[str, Any]) -> bool:
    window = spec.limits.context_token_max
    return window is None or estimate(body).expected + spec.sampling.max_tokens <= window


def _rule_that_fits(question: Question, teacher: PricedTeacher) -> str | None:
    """The rule with the fewest dropped outputs, found by bisection; None if dropping all is not enough."""
    if teacher.spec.limits.over_context != DROP_RULE:
        return None

    def fits(count: int) -> bool:
        return _fits_window(teacher.spec, _body(question, teacher, f"{DROP_RULE}:{count}", 0))

    low, high = 1, sum(message.get("role") == "tool" for message in question.messages)
    if not high or not fits(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return f"{DROP_RULE}:{low}"


def _without_oldest_outputs(messages: Sequence[Message], count: int) -> list[Message]:
    """The messages, with the oldest `count` tool outputs replaced by a note."""
    shortened: list[Message] = []
    for message in messages:
        if count and message.get("role") == "tool":
            count -= 1
            message = message | {"content": DROPPED_OUTPUT}
        shortened.append(message)
    return shortened
