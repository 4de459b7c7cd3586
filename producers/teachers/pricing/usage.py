"""Usage and cost as a response reports them, accepted only if they are possible.

**A provider's figures are untrusted input.** Nothing here raises. An impossible figure is named in
`rejected`, and the whole usage is rejected with it: half a usage would give a wrong cost.
**Prompt tokens include tokens read from the cache and tokens written to it.**
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

# Ten times the largest context on the market, and far more than filling it costs.
TOKEN_COUNT_MAX = 100_000_000
COST_USD_MAX = Decimal(10_000)
NUMBER_LENGTH_MAX = 64

_CACHED = (
    ("prompt_tokens_details", "cached_tokens"),
    ("prompt_cache_hit_tokens",),
    ("cache_read_input_tokens",),
)
_CACHE_WRITE = (
    ("prompt_tokens_details", "cache_write_tokens"),
    ("prompt_tokens_details", "cache_creation_tokens"),
    ("cache_creation_input_tokens",),
)
_REASONING = (("completion_tokens_details", "reasoning_tokens"), ("reasoning_tokens",))


class Usage(NamedTuple):
    """Tokens of one call. Cached and cache-write tokens are parts of the prompt."""

    prompt_token_count: int
    cached_token_count: int
    cache_write_token_count: int
    completion_token_count: int


class UsageRead(NamedTuple):
    """The possible figures of a `usage` object."""

    usage: Usage | None
    """None: not reported, or impossible."""
    cost_usd: Decimal | None
    """Total cost of the call as the provider reports it; None: not reported, or impossible."""
    reasoning_token_count: int | None
    rejected: tuple[str, ...]
    """`field: why`, for each reported figure that is impossible."""


NOTHING_READ = UsageRead(None, None, None, ())


def read_usage(
    raw: object, *, prompt_token_max: int = TOKEN_COUNT_MAX, completion_token_max: int = TOKEN_COUNT_MAX
) -> UsageRead:
    """Read OpenAI's `usage` object with the extensions of OpenRouter, DeepSeek and Anthropic.

    The maxima are the most that the request can have used.
    """
    if raw is None:
        return NOTHING_READ
    if not isinstance(raw, Mapping):
        return UsageRead(None, None, None, (f"usage: {_short_text(raw)} is not an object",))
    wrong: list[str] = []
    usage = _usage(raw, wrong, prompt_token_max, completion_token_max)
    reasoning = _first(raw, _REASONING, wrong)
    cost = _cost(raw, wrong)
    return UsageRead(usage, cost, reasoning, tuple(wrong))


def read_cost(value: object) -> Decimal | None:
    """Dollars from a number or its text; None if missing or impossible for one call.

    A float is read by its shortest text: `0.1` is exactly a tenth.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    if isinstance(value, int) and abs(value) > COST_USD_MAX:
        # The interpreter refuses to convert huge integers to text.
        return None
    text = str(value)
    if len(text) > NUMBER_LENGTH_MAX:
        return None
    try:
        cost = Decimal(text)
    except InvalidOperation:
        return None
    if not cost.is_finite() or cost.is_signed() or cost > COST_USD_MAX:
        return None
    return cost


def _usage(raw: Mapping[Any, Any], wrong: list[str], prompt_max: int, completion_max: int) -> Usage | None:
    before = len(wrong)
    prompt = _count(raw, ("prompt_tokens",), wrong)
    completion = _count(raw, ("completion_tokens",), wrong)
    cached = _first(raw, _CACHED, wrong)
    written = _first(raw, _CACHE_WRITE, wrong)
    if prompt is None and completion is None and len(wrong) == before:
        return None
    for name, count in (("prompt_tokens", prompt), ("completion_tokens", completion)):
        if count is None and not any(entry.startswith(name) for entry in wrong):
            wrong.append(f"{name}: missing")
    if prompt is None or completion is None or len(wrong) > before:
        return None
    if prompt == 0:
        wrong.append("prompt_tokens: 0 of a request that has a prompt")
    if prompt > prompt_max:
        wrong.append(f"prompt_tokens: {prompt} of a request with at most {prompt_max}")
    if completion > completion_max:
        wrong.append(f"completion_tokens: {completion} of at most {completion_max}")
    # Checked separately: some providers count the same tokens as read and as written.
    for name, part in (("cached tokens", cached or 0), ("cache-write tokens", written or 0)):
        if part > prompt:
            wrong.append(f"{name}: {part} of {prompt} in the prompt")
    return Usage(prompt, cached or 0, written or 0, completion) if len(wrong) == before else None


def _cost(raw: Mapping[Any, Any], wrong: list[str]) -> Decimal | None:
    if raw.get("cost") is None:
        return None
    cost = read_cost(raw["cost"])
    if cost is None:
        wrong.append(f"cost: {_short_text(raw['cost'])}")
        return None
    if raw.get("is_byok") is not True:
        return cost
    # If the user has a key at the provider itself, `cost` is the router's fee only.
    details = raw.get("cost_details")
    upstream = read_cost(details.get("upstream_inference_cost")) if isinstance(details, Mapping) else None
    if upstream is None:
        wrong.append("cost_details.upstream_inference_cost: missing, but is_byok is true")
        return None
    return cost + upstream


def _first(raw: Mapping[Any, Any], paths: tuple[tuple[str, ...], ...], wrong: list[str]) -> int | None:
    """The first of these counts that is reported."""
    for path in paths:
        count = _count(raw, path, wrong)
        if count is not None:
            return count
    return None


def _count(raw: Mapping[Any, Any], path: tuple[str, ...], wrong: list[str]) -> int | None:
    value: Any = raw
    for depth, name in enumerate(path):
        value = value.get(name)
        if value is None:
            return None
        if depth + 1 < len(path) and not isinstance(value, Mapping):
            wrong.append(f"{name}: {_short_text(value)} is not an object")
            return None
    count = _whole(value)
    if count is None:
        wrong.append(f"{'.'.join(path)}: {_short_text(value)}")
    return count


def _whole(value: object) -> int | None:
    """A count from 0 to the maximum; JSON may write 3 as 3.0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        return None
    return int(value) if 0 <= value <= TOKEN_COUNT_MAX else None


def _short_text(value: object) -> str:
    """A short text of an untrusted value, for a message."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 64:
        return "an integer of more than 64 bits"
    if isinstance(value, (str, int, float, Decimal)):
        return repr(value)[:NUMBER_LENGTH_MAX]
    return f"a {type(value).__name__}"
