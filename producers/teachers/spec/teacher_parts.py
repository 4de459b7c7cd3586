"""The tables inside a teacher of `teachers.toml`: sampling, routing, limits, price.

**Unknown keys are refused**, and values of another type: `"5"` is no number, `true` is not 1.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

PRICE_LIST = r"^(free|genai-prices(:[a-z0-9_-]+)?|litellm:.+)$"

Dollars = Annotated[Decimal, Field(ge=0, le=100_000, strict=False)]


class Part(BaseModel):
    """Base of every table of the file."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class Sampling(Part):
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    max_tokens: int = Field(default=4096, ge=1, le=10_000_000)
    """Completion tokens at most, reasoning included; what the reservation of a call rests on."""
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Under which name the endpoint takes the maximum."""
    sample_count: int = Field(default=1, ge=1, le=1000)
    """Answers per question."""
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    reasoning_effort: str | None = Field(default=None, pattern=r"^[a-z]{1,16}$")

    @model_validator(mode="after")
    def _alternatives_need_logprobs(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs = true")
        return self

    def request_fields(self) -> dict[str, Any]:
        """The fields of a request body that sampling decides; what is not set is not sent."""
        names = ("temperature", "top_p", "seed", "top_logprobs", "reasoning_effort")
        fields = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        fields[self.max_tokens_name] = self.max_tokens
        return {**fields, "logprobs": True} if self.logprobs else fields


class MaxPrice(Part):
    """The dearest provider that may be routed to, in dollars per million tokens and per request."""

    prompt: Dollars
    completion: Dollars
    request: Dollars | None = None


class Routing(Part):
    """OpenRouter's `provider` object. What a teacher says must not depend on who happens to be free."""

    enabled: bool | None = None
    """Whether the object is sent; not set: where the endpoint is OpenRouter's."""
    allow_fallbacks: bool = False
    require_parameters: bool = True
    """Without it, providers drop silently what they do not support."""
    data_collection: Literal["deny", "allow"] = "deny"
    enforce_distillable_text: bool = True
    """Only models whose authors allow training on what they say."""
    only: tuple[str, ...] | None = Field(default=None, min_length=1, strict=False)
    order: tuple[str, ...] | None = Field(default=None, min_length=1, strict=False)
    quantizations: tuple[str, ...] | None = Field(default=None, min_length=1, strict=False)
    max_price: MaxPrice | None = None
    """With it, a reservation holds even if the price has moved since the price list was written."""

    def extra_body(self) -> dict[str, Any]:
        """What the request body carries beside OpenAI's fields: `{"provider": …}`, or nothing."""
        if not self.enabled:
            return {}
        provider = self.model_dump(exclude={"enabled", "max_price"}, exclude_none=True, mode="json")
        if self.max_price is not None:
            rates = self.max_price.model_dump(exclude_none=True)
            provider["max_price"] = {name: float(dollars) for name, dollars in rates.items()}
        return {"provider": provider}


class Limits(Part):
    requests_per_minute: int | None = Field(default=None, ge=1)
    concurrency_max: int | None = Field(default=None, ge=1, le=1000)
    context_token_max: int | None = Field(default=None, ge=1)
    """Prompt and completion together."""
    over_context: Literal["skip", "drop_oldest_tool_outputs"] = "skip"
    request_timeout_s: float = Field(default=120.0, gt=0, le=3600)
    body_byte_max: int = Field(default=16 * 2**20, ge=1024)
    """Of a response; more is not read."""


class PriceTable(Part):
    """Prices in dollars per million tokens, and per request. A cache that is not priced costs as input."""

    input: Dollars
    output: Dollars
    cached_input: Dollars | None = None
    cache_write: Dollars | None = None
    request: Dollars = Decimal(0)


def _price_kind(price: object) -> str:
    return "list" if isinstance(price, str) else "table"


PriceSource = Annotated[
    Annotated[PriceTable, Tag("table")] | Annotated[str, Field(pattern=PRICE_LIST), Tag("list")],
    Discriminator(_price_kind),
]
