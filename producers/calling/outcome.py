"""What one attempt at a question came to: an answer, or a failure with all that is known of it.

**Money may be gone even for a failure**, so a failure keeps the usage that the endpoint told and the id under
which its cost can be looked up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tracelake.producers.calling.failures import FailureClass, Reaction, reaction

DETAIL_LENGTH_MAX = 2000


class Answered(NamedTuple):
    """A whole answer."""

    message: dict[str, Any]
    """The assistant message in OpenAI's shape: role, content, and what there was of refusal, tool calls,
    reasoning and annotations. The same whether it was streamed or not."""
    finish_reason: str | None
    """As told; null where the endpoint ended an answer without one."""
    model_served: str | None
    provider: str | None
    response_id: str | None
    native_finish_reason: str | None
    usage: dict[str, Any] | None
    """As told, cost included, and not believed: `tracelake.producers.teachers.pricing.usage` reads it."""
    completion_ids: list[int] | None
    logprobs: list[float] | None
    """Nats, one per completion token; null if any is missing, or if there are not as many as ids."""
    raw_top_logprobs: list[dict[str, Any]] | None
    """The endpoint's own list, one per completion token, where it holds alternatives."""
    latency_ms: float
    first_token_ms: float | None
    """Until the first text, call or reasoning; the whole latency where the answer was not streamed."""
    system_fingerprint: str | None = None


class Failed(NamedTuple):
    """No usable answer."""

    failure: FailureClass
    http_status: int | None
    detail: str
    """At most 2,000 characters of what the endpoint said, text of the answer included, well-formed."""
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


Outcome = Answered | Failed


def cut(text: str) -> str:
    """At most `DETAIL_LENGTH_MAX` characters, lone surrogates escaped."""
    short = text if len(text) <= DETAIL_LENGTH_MAX else f"{text[: DETAIL_LENGTH_MAX - 1]}…"
    return short.encode("utf-8", "backslashreplace").decode()
