"""What a response says it used and cost: read, and believed only where it can be true.

**A provider's figures are foreign data.** Nothing here raises; a figure that cannot be true is named in
`disbelieved`, and takes the whole of its kind with it: half a usage would be a wrong cost.
**Prompt tokens include what the provider read from, or wrote to, its cache.**
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

# Ten times the largest context that is sold, and far over the price of filling it.
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
    """What can be believed of a `usage` object."""

    usage: Usage | None
    """None: not stated, or not believed."""
    cost_usd: Decimal | None
    """What the provider says the call cost, all parts together; None: not stated, or not believed."""
    reasoning_token_count: int | None
    disbelieved: tuple[str, ...]
    """`field: why`, of every figure that was stated and cannot be true."""


NOTHING_READ = UsageRead(None, None, None, ())


def read_usage(
    raw: object, *, prompt_token_max: int = TOKEN_COUNT_MAX, completion_token_max: int = TOKEN_COUNT_MAX
) -> UsageRead:
    """Reads OpenAI's `usage` object and the ways in which OpenRouter, DeepSeek and Anthropic extend it.

    The maxima are what the request can have used at most; more cannot be true.
    """
    if raw is None:
        return NOTHING_READ
    if not isinstance(raw, Mapping):
        return UsageRead(None, None, None, (f"usage: {_named(raw)} is no object",))
    wrong: list[str] = []
    usage = _usage(raw, wrong, prompt_token_max, completion_token_max)
    reasoning = _first(raw, _REASONING, wrong)
    cost = _cost(raw, wrong)
    return UsageRead(usage, cost, reasoning, tuple(wrong))


def read_cost(value: object) -> Decimal | None:
    """Dollars, from a number or its text; None for what is missing or cannot be a price of one call.

    Text is read as it stands, a float by its shortest text: `0.1` is a tenth.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    if isinstance(value, int) and abs(value) > COST_USD_MAX:
        # Huge integers have no text within the interpreter's limit.
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
        wrong.append("prompt_tokens: 0, but something was asked")
    if prompt > prompt_max:
        wrong.append(f"prompt_tokens: {prompt} of a request that holds at most {prompt_max}")
    if completion > completion_max:
        wrong.append(f"completion_tokens: {completion} of at most {completion_max}")
    # Each alone: some providers count what is in the cache as read and as written.
    for name, part in (("cached tokens", cached or 0), ("cache-write tokens", written or 0)):
        if part > prompt:
            wrong.append(f"{name}: {part} of {prompt} in the prompt")
    return Usage(prompt, cached or 0, written or 0, completion) if len(wrong) == before else None


def _cost(raw: Mapping[Any, Any], wrong: list[str]) -> Decimal | None:
    if raw.get("cost") is None:
        return None
    cost = read_cost(raw["cost"])
    if cost is None:
        wrong.append(f"cost: {_named(raw['cost'])}")
        return None
    if raw.get("is_byok") is not True:
        return cost
    # With a key of one's own at the provider, the router's cost is its fee alone.
    details = raw.get("cost_details")
    upstream = read_cost(details.get("upstream_inference_cost")) if isinstance(details, Mapping) else None
    if upstream is None:
        wrong.append("cost_details.upstream_inference_cost: needed where the key is one's own")
        return None
    return cost + upstream


def _first(raw: Mapping[Any, Any], paths: tuple[tuple[str, ...], ...], wrong: list[str]) -> int | None:
    """The first of these counts that is stated."""
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
            wrong.append(f"{name}: {_named(value)} is no object")
            return None
    count = _whole(value)
    if count is None:
        wrong.append(f"{'.'.join(path)}: {_named(value)}")
    return count


def _whole(value: object) -> int | None:
    """A count from 0 to the largest that can be; JSON writes 3 as 3.0, too."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        return None
    return int(value) if 0 <= value <= TOKEN_COUNT_MAX else None


def _named(value: object) -> str:
    """A foreign value for a message: short, whatever it is."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 64:
        return "an integer of more than 64 bits"
    if isinstance(value, (str, int, float, Decimal)):
        return repr(value)[:NUMBER_LENGTH_MAX]
    return f"a {type(value).__name__}"
