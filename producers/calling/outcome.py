"""The outcome of one attempt at a question: an answer, or a failure.

**A failure may have cost money**, so it carries the usage that the endpoint reported and the id under which
its cost can be looked up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tracelake.producers.calling.failures import FailureClass, Reaction, reaction

DETAIL_LENGTH_MAX = 2000


class Answered(NamedTuple):
    """A whole answer."""

    message: dict[str, Any]
    """The assistant message in OpenAI's shape: role, content, and, where there are any, refusal, tool calls,
    reasoning and annotations. The same whether it was streamed or not."""
    finish_reason: str | None
    """As reported; null if the endpoint ended the answer without one."""
    model_served: str | None
    provider: str | None
    response_id: str | None
    native_finish_reason: str | None
    usage: dict[str, Any] | None
    """As reported, cost included, and not checked: `tracelake.producers.teachers.pricing.usage` checks it."""
    completion_ids: list[int] | None
    logprobs: list[float] | None
    """Nats, one per completion token; null if one is missing, or if there are not as many as ids."""
    raw_top_logprobs: list[dict[str, Any]] | None
    """The endpoint's own list, one item per completion token, if it has alternatives."""
    latency_ms: float
    first_token_ms: float | None
    """Until the first text, call or reasoning; the whole latency if the answer was not streamed."""
    system_fingerprint: str | None = None


class Failed(NamedTuple):
    """No usable answer."""

    failure: FailureClass
    http_status: int | None
    detail: str
    """At most 2,000 well-formed characters from the endpoint, the text of the answer included."""
    response_id: str | None = None
    usage: dict[str, Any] | None = None
    latency_ms: float = 0.0
    retry_after_s: float | None = None
    sent: bool = True
    """False only if provably nothing of the request left this machine."""
    model_served: str | None = None
    provider: str | None = None

    @property
    def reaction(self) -> Reaction:
        return reaction(
            self.failure, http_status=self.http_status, sent=self.sent, retry_after_s=self.retry_after_s
        )


CallOutcome = Answered | Failed


def cut(text: str) -> str:
    """At most `DETAIL_LENGTH_MAX` characters, lone surrogates escaped."""
    short = text if len(text) <= DETAIL_LENGTH_MAX else f"{text[: DETAIL_LENGTH_MAX - 1]}…"
    return short.encode("utf-8", "backslashreplace").decode()
