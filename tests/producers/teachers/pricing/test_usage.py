"""Goal: only plausible figures of a provider are accepted, and no input raises.

Method: usage objects as real providers write them, those that cannot be true, and arbitrary JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.producers.teachers.recorded_calls import recorded_calls
from tracelake.producers.teachers.pricing.price_lists import genai_prices
from tracelake.producers.teachers.pricing.prices import exact_cost_usd
from tracelake.producers.teachers.pricing.usage import (
    COST_USD_MAX,
    NOTHING_READ,
    TOKEN_COUNT_MAX,
    Usage,
    read_cost,
    read_usage,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "cost",
        "is_byok",
        "cost_details",
        "prompt_tokens_details",
        "completion_tokens_details",
        "prompt_cache_hit_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cached_tokens",
        "cache_write_tokens",
    ]
)


def plain(**more: Any) -> dict[str, Any]:
    return {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, **more}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (plain(), Usage(100, 0, 0, 20)),
        (plain(prompt_tokens=100.0), Usage(100, 0, 0, 20)),
        (plain(prompt_tokens_details=None), Usage(100, 0, 0, 20)),
        (plain(prompt_tokens_details={"cached_tokens": None}), Usage(100, 0, 0, 20)),
        (plain(prompt_tokens_details={"cached_tokens": 80}), Usage(100, 80, 0, 20)),
        (plain(prompt_tokens_details={"cached_tokens": 80, "cache_write_tokens": 9}), Usage(100, 80, 9, 20)),
        (plain(prompt_cache_hit_tokens=64, prompt_cache_miss_tokens=36), Usage(100, 64, 0, 20)),
        (plain(cache_read_input_tokens=64, cache_creation_input_tokens=36), Usage(100, 64, 36, 20)),
        (plain(completion_tokens=0), Usage(100, 0, 0, 0)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_usage_is_read_in_every_providers_format(said: dict[str, Any], expected: Usage) -> None:
    read = read_usage(said)
    assert (read.usage, read.rejected) == (expected, ())


@pytest.mark.parametrize(
    "count", [-1, 10**12, "100", math.nan, math.inf, True, [], {}, 1.5, 10**400, "1" * 10_000]
)
@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens", "prompt_cache_hit_tokens"])
def test_an_impossible_count_rejects_the_whole_usage(field: str, count: object) -> None:
    read = read_usage(plain(**{field: count}))
    assert read.usage is None
    assert any(entry.startswith(field) for entry in read.rejected)
    assert all(len(entry) < 200 for entry in read.rejected)


def test_missing_counts_are_named_unless_all_are_missing() -> None:
    assert read_usage(None) == NOTHING_READ
    assert read_usage({}) == NOTHING_READ
    assert read_usage({"completion_tokens": 3}).rejected == ("prompt_tokens: missing",)
    assert read_usage("usage").rejected == ("usage: 'usage' is not an object",)


def test_a_prompt_of_zero_tokens_is_rejected() -> None:
    """Cached responses and broken counters report it, but a prompt is never empty."""
    assert read_usage(plain(prompt_tokens=0)).usage is None


def test_more_tokens_than_the_request_can_use_are_rejected() -> None:
    assert read_usage(plain(), prompt_token_max=100, completion_token_max=20).usage
    assert read_usage(plain(), prompt_token_max=99).usage is None
    assert read_usage(plain(), completion_token_max=19).usage is None


def test_more_cached_tokens_than_prompt_tokens_are_rejected() -> None:
    assert read_usage(plain(prompt_cache_hit_tokens=101)).usage is None
    assert read_usage(plain(cache_creation_input_tokens=101)).usage is None


def test_the_same_tokens_may_be_read_and_written() -> None:
    said = plain(prompt_tokens_details={"cached_tokens": 90, "cache_write_tokens": 90})
    assert read_usage(said).usage == Usage(100, 90, 90, 20)


def test_a_rejected_usage_leaves_the_cost() -> None:
    read = read_usage(plain(prompt_tokens=-1, cost=0.25))
    assert (read.usage, read.cost_usd) == (None, Decimal("0.25"))


@pytest.mark.parametrize(
    ("said", "dollars"),
    [
        (0.1, "0.1"),
        ("0.1", "0.1"),
        (1, "1"),
        (0, "0"),
        (0.0, "0"),
        (4.25e-06, "0.00000425"),
        ("1E-3", "0.001"),
    ],
)
def test_a_cost_is_read_exactly(said: object, dollars: str) -> None:
    assert read_cost(said) == Decimal(dollars)


@pytest.mark.parametrize(
    "said",
    [
        *(math.nan, math.inf, -math.inf, float("1e309"), -0.0, -1, 10_001, 10**5000),
        *("-0", "NaN", "sNaN", "Infinity", "", "one", "1e999999", "9" * 100),
        *(None, True, [], {}),
    ],
    ids=lambda value: str(value)[:12] if not isinstance(value, int) else f"{value.bit_length()} bits",
)
def test_an_impossible_cost_is_rejected(said: object) -> None:
    assert read_cost(said) is None
    if said is not None:
        read = read_usage(plain(cost=said))
        assert (read.usage, read.cost_usd) == (Usage(100, 0, 0, 20), None)
        assert read.rejected[0].startswith("cost")


def test_with_the_users_own_provider_key_the_cost_includes_the_providers_part() -> None:
    """The router's `cost` is only its fee then."""
    said = plain(cost=0.01, is_byok=True, cost_details={"upstream_inference_cost": 0.5})
    assert read_usage(said).cost_usd == Decimal("0.51")
    assert read_usage(plain(cost=0.01, is_byok=True)).cost_usd is None
    assert read_usage(said | {"is_byok": False}).cost_usd == Decimal("0.01")


@given(st.dictionaries(FIELDS, JSON) | JSON)
def test_no_json_value_raises_or_gives_an_impossible_figure(said: object) -> None:
    read = read_usage(said)
    if read.usage is not None:
        assert all(type(count) is int and 0 <= count <= TOKEN_COUNT_MAX for count in read.usage)
        assert (
            max(read.usage.cached_token_count, read.usage.cache_write_token_count)
            <= read.usage.prompt_token_count
        )
    if read.cost_usd is not None:
        assert 0 <= read.cost_usd <= 2 * COST_USD_MAX
    assert json.dumps(read.rejected)


@pytest.mark.realdata
def test_recorded_answers_of_openrouter_cost_what_the_price_list_says(
    real_traces: Callable[[str], Path],
) -> None:
    """But for calls of tools that the router ran."""
    compared = 0
    for uri, request, said in recorded_calls(real_traces("pydantic-ai-cassettes")):
        read = read_usage(said)
        prices = genai_prices(request["model"], uri) if read.cost_usd is not None else None
        runs_tools = any(tool.get("type") != "function" for tool in request.get("tools") or ())
        if prices is None or read.usage is None or runs_tools:
            continue
        assert abs(exact_cost_usd(prices, read.usage) - read.cost_usd) < Decimal("1e-12"), request["model"]
        compared += 1
    assert compared >= 25
