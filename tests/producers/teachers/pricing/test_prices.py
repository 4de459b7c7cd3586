"""Goal: a call costs what its list says, to the micro-dollar, and never more than was reserved for it.

Method: calls priced by hand, shipped and broken price lists, and invariants over arbitrary prices and usage.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tracelake.producers.teachers.pricing.price_lists import (
    genai_prices,
    litellm_prices,
    prices_for,
    reserved_prices,
)
from tracelake.producers.teachers.pricing.prices import (
    FREE,
    CacheSaving,
    Prices,
    PriceTier,
    exact_cost_usd,
    highest_prices,
    maximum_microusd,
    microusd,
)
from tracelake.producers.teachers.pricing.usage import Usage
from tracelake.producers.teachers.spec.teacher_file import TeacherSpec
from tracelake.schemas.errors import SourceFormatError, SourceMissingError

OPENROUTER = "https://openrouter.ai/api/v1"
PER_MILLION = Decimal("1e-6")
# Dollars per million tokens: input, cached input, cache write, output.
SURCHARGED = Prices(3 * PER_MILLION, Decimal("3e-7"), Decimal("3.75e-6"), 15 * PER_MILLION)
STORED = Prices(Decimal("3e-7"), Decimal("3e-8"), Decimal("8.25e-8"), Decimal("2.5e-6"))

RATES = st.decimals(0, Decimal("1e-4"), places=9)
COUNTS = st.integers(0, 2_000_000)


@st.composite
def prices(draw: st.DrawFn, *, rising: bool = False) -> Prices:
    """Any prices; rising: the cache costs at most as much as input, and no tier less than the one before."""
    rates = [draw(RATES) for _ in range(4)]
    if rising:
        rates[1] = min(rates[0], rates[1])
    tiers, factor = [], Decimal(1)
    for bound in sorted(draw(st.sets(st.integers(0, 2_000_000), max_size=3))):
        factor += draw(st.decimals(0, 3, places=2))
        tiers.append(
            PriceTier(bound, *(rate * factor for rate in rates) if rising else (draw(RATES) for _ in rates))
        )
    return Prices(*rates, per_request=draw(RATES), tiers=tuple(tiers))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    prompt = draw(COUNTS)
    return Usage(prompt, draw(st.integers(0, prompt)), draw(st.integers(0, prompt)), draw(COUNTS))


def teacher(**fields: Any) -> TeacherSpec:
    return TeacherSpec.model_validate(
        {"name": "t", "base_url": OPENROUTER, "model": "anthropic/claude-opus-5.5-20260921"} | fields
    )


@pytest.mark.parametrize(
    ("prices_", "usage", "dollars"),
    [
        (SURCHARGED, Usage(2572, 0, 2569, 63), "0.01058775"),
        (SURCHARGED, Usage(2649, 2569, 79, 100), "0.00256995"),
        (STORED, Usage(2167, 2161, 0, 99), "0.00031413"),
        # Tokens that are read and written in one call cost both rates if writing is a fee on top…
        (STORED, Usage(2168, 2161, 2161, 100), "0.0004952125"),
        # …and one rate if the write price replaces the read price.
        (SURCHARGED, Usage(10, 10, 10, 0), "0.0000375"),
        (FREE, Usage(1, 0, 0, 1), "0"),
    ],
)
def test_recorded_calls_cost_what_their_provider_charged(prices_: Prices, usage: Usage, dollars: str) -> None:
    assert exact_cost_usd(prices_, usage) == Decimal(dollars)


def cost_microusd(any_prices: Prices, usage: Usage) -> int:
    return microusd(exact_cost_usd(any_prices, usage))


def test_a_long_prompt_is_priced_at_its_tier_as_a_whole() -> None:
    tier = PriceTier(200_000, 2 * PER_MILLION, PER_MILLION, 2 * PER_MILLION, 4 * PER_MILLION)
    tiered = Prices(PER_MILLION, PER_MILLION, PER_MILLION, PER_MILLION, tiers=(tier,))
    assert cost_microusd(tiered, Usage(200_000, 0, 0, 0)) == 200_000
    assert cost_microusd(tiered, Usage(200_001, 0, 0, 10)) == 400_042
    assert maximum_microusd(tiered, 200_000, 10) == 200_010
    assert maximum_microusd(tiered, 200_001, 10) == 400_042


def test_amounts_round_up() -> None:
    assert [microusd(Decimal(text)) for text in ("0", "0.0000001", "0.000001", "0.0000010000001")] == [
        0,
        1,
        1,
        2,
    ]


@given(prices(), usages(), COUNTS, COUNTS)
def test_the_reservation_covers_every_call_within_the_maxima(
    any_prices: Prices, usage: Usage, more_prompt: int, more_completion: int
) -> None:
    reserved = maximum_microusd(
        any_prices, usage.prompt_token_count + more_prompt, usage.completion_token_count + more_completion
    )
    assert reserved >= cost_microusd(any_prices, usage) >= exact_cost_usd(any_prices, usage) * 1_000_000


@given(prices(rising=True), usages(), st.integers(1, 500_000))
def test_more_tokens_never_cost_less(any_prices: Prices, usage: Usage, more: int) -> None:
    cost = exact_cost_usd(any_prices, usage)
    longer = usage._replace(prompt_token_count=usage.prompt_token_count + more)
    wordier = usage._replace(completion_token_count=usage.completion_token_count + more)
    assert exact_cost_usd(any_prices, longer) >= cost
    assert exact_cost_usd(any_prices, wordier) >= cost
    written = min(usage.cache_write_token_count + more, usage.prompt_token_count)
    assert exact_cost_usd(any_prices, usage._replace(cache_write_token_count=written)) >= cost


@given(prices(rising=True), usages(), st.integers(1, 500_000))
def test_a_token_from_the_cache_never_costs_more(any_prices: Prices, usage: Usage, more: int) -> None:
    cached = min(usage.cached_token_count + more, usage.prompt_token_count)
    assume(cached > usage.cached_token_count)
    warmer = usage._replace(cached_token_count=cached)
    assert exact_cost_usd(any_prices, warmer) <= exact_cost_usd(any_prices, usage)


@given(st.lists(prices(), min_size=1, max_size=4), usages())
def test_the_highest_of_several_prices_has_each_highest_rate(several: list[Prices], usage: Usage) -> None:
    highest = highest_prices(several).at(usage.prompt_token_count)
    for one in several:
        assert all(
            high >= rate for high, rate in zip(highest[1:], one.at(usage.prompt_token_count)[1:], strict=True)
        )


@given(st.lists(usages(), max_size=5))
def test_cache_savings_add_up_to_the_difference_of_two_bills(calls: list[Usage]) -> None:
    """The bill with caching, and the bill of the same prompts without it."""
    total = CacheSaving()
    for call in calls:
        total = total.plus(CacheSaving().with_call(SURCHARGED, call))
    plain = [call._replace(cached_token_count=0, cache_write_token_count=0) for call in calls]
    bills = [
        sum((exact_cost_usd(SURCHARGED, call) for call in billed), Decimal(0)) for billed in (plain, calls)
    ]
    assert total.saved_usd == bills[0] - bills[1]
    assert total.cached_token_count == sum(call.cached_token_count for call in calls)


def test_cache_writes_that_are_never_read_are_a_loss() -> None:
    saving = CacheSaving().with_call(SURCHARGED, Usage(1_000_000, 0, 1_000_000, 0))
    assert saving.saved_usd == Decimal("-0.75")


@given(st.decimals(0, 100, places=3), st.decimals(0, 100, places=3), usages())
def test_the_reservation_covers_any_provider_within_max_price(
    prompt: Decimal, completion: Decimal, usage: Usage
) -> None:
    """A provider at exactly `max_price`, whose cache costs in proportion, stays within the reservation."""
    spec = teacher(routing={"max_price": {"prompt": prompt, "completion": completion}})
    reserved = reserved_prices(spec, SURCHARGED)
    expensive = Prices(
        prompt * PER_MILLION, prompt * PER_MILLION, prompt * PER_MILLION * 5 / 4, completion * PER_MILLION
    )
    most = maximum_microusd(reserved, usage.prompt_token_count, usage.completion_token_count)
    assert most >= cost_microusd(expensive, usage)
    assert most >= cost_microusd(SURCHARGED, usage)


def test_without_a_router_max_price_changes_nothing() -> None:
    spec = teacher(
        base_url="https://api.example.org/v1", routing={"max_price": {"prompt": 99, "completion": 99}}
    )
    assert reserved_prices(spec, SURCHARGED) == SURCHARGED


def test_a_table_in_the_file_is_in_dollars_per_million() -> None:
    found = prices_for(teacher(price={"input": 2, "output": 10.5, "request": 0.01}))
    assert found is not None
    assert (found.input, found.output, found.per_request) == (
        2 * PER_MILLION,
        Decimal("0.0000105"),
        Decimal("0.01"),
    )
    assert found.cached_input == found.cache_write == found.input


def test_free_is_free() -> None:
    found = prices_for(teacher(price="free"))
    assert found is not None
    assert maximum_microusd(found, 10**6, 10**6) == 0


def test_the_installed_list_knows_dated_names_of_the_endpoints_provider() -> None:
    found = prices_for(teacher())
    assert found is not None
    assert (found.input, found.output) == (4 * PER_MILLION, 20 * PER_MILLION)
    assert found.source.startswith("genai-prices ")
    assert found.source.endswith(" openrouter/anthropic/claude-opus-5.5")
    assert prices_for(teacher(model="nobody/nothing-20260101")) is None
    assert prices_for(teacher(base_url="https://api.example.org/v1")) is None
    named = teacher(base_url="https://api.example.org/v1", price="genai-prices:openrouter")
    assert prices_for(named) == found
    renamed = teacher(model="our-opus-20260921", price_model="anthropic/claude-opus-5.5")
    assert prices_for(renamed) == found


def test_tiers_of_the_installed_list_are_read() -> None:
    found = genai_prices("openai/gpt-6.1-sol-20260929", OPENROUTER)
    assert found is not None
    assert [tier.above_token_count for tier in found.tiers] == [272_000]
    assert found.at(272_001).input == 2 * found.at(272_000).input


def test_a_price_that_changes_within_the_day_is_taken_at_its_highest() -> None:
    model = "deepseek/deepseek-v4-pro"
    evening = genai_prices(model, OPENROUTER, at=datetime(2026, 11, 2, 23, 50, tzinfo=UTC))
    noon_before = genai_prices(model, OPENROUTER, at=datetime(2026, 10, 31, 12, tzinfo=UTC))
    assert evening is not None
    assert noon_before is not None
    assert (noon_before.input, evening.input) == (Decimal("9.5526e-7"), Decimal("1.416e-6"))


def test_a_price_lookup_opens_no_connection_and_starts_no_thread() -> None:
    """In a separate interpreter, in which opening a socket is an error."""
    code = """
import socket, threading
def refuse(*arguments, **more): raise AssertionError("a connection")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from tracelake.producers.teachers.pricing.price_lists import genai_prices
assert genai_prices("openai/gpt-5-2025-08-07", "https://openrouter.ai/api/v1")
assert threading.active_count() == 1, threading.enumerate()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def listed(folder: Path, entry: object) -> Path:
    path = folder / "list.json"
    path.write_text(json.dumps({"m": entry}) if not isinstance(entry, str) else entry)
    return path


def test_litellms_list_is_read_to_the_last_digit(tmp_path: Path) -> None:
    entry = {
        "input_cost_per_token": 2.8e-07,
        "cache_read_input_token_cost": 2.8e-08,
        "output_cost_per_token": 4.2e-07,
        "input_cost_per_token_above_200k_tokens": 5.6e-07,
        "output_cost_per_reasoning_token": 5e-07,
        "input_cost_per_request": 0.001,
    }
    found = litellm_prices(listed(tmp_path, entry), "m")
    assert found is not None
    assert (found.input, found.cached_input, found.cache_write) == (
        Decimal("2.8e-7"),
        Decimal("2.8e-8"),
        Decimal("2.8e-7"),
    )
    # Not every usage reports reasoning tokens: the higher of the two prices.
    assert (found.output, found.per_request) == (Decimal("5e-7"), Decimal("0.001"))
    assert found.at(200_001).input == Decimal("5.6e-7")
    assert found.at(200_001).output == Decimal("5e-7")


def test_litellms_ranges_are_tiers(tmp_path: Path) -> None:
    ranges = [
        {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "range": [0, 128_000]},
        {"input_cost_per_token": 3e-6, "output_cost_per_token": 4e-6, "range": [128_000, 1_000_000]},
    ]
    found = litellm_prices(listed(tmp_path, {"tiered_pricing": ranges}), "m")
    assert found is not None
    assert (found.at(128_000).input, found.at(128_001).input) == (PER_MILLION, 3 * PER_MILLION)


def test_a_model_without_prices_per_token_has_none(tmp_path: Path) -> None:
    path = listed(tmp_path, {"output_cost_per_image": 0.04, "input_cost_per_token": 1e-6})
    assert litellm_prices(path, "m") is None
    assert litellm_prices(path, "other") is None


@pytest.mark.parametrize(
    "entry",
    [
        "[]",
        "{",
        '{"m": 3}',
        '{"m": {"input_cost_per_token": NaN, "output_cost_per_token": 1}}',
        '{"m": {"input_cost_per_token": 1e999, "output_cost_per_token": 1}}',
        '{"m": {"input_cost_per_token": -1, "output_cost_per_token": 1}}',
        '{"m": {"input_cost_per_token": "1", "output_cost_per_token": 1}}',
        '{"m": {"input_cost_per_token": true, "output_cost_per_token": 1}}',
        '{"m": {"input_cost_per_token": 2, "output_cost_per_token": 1}}',
        '{"m": {"tiered_pricing": [{"input_cost_per_token": 0, "output_cost_per_token": 0},'
        ' {"input_cost_per_token": 0, "output_cost_per_token": 0, "range": [1e999999999]}]}}',
        "[" * 100_000,
    ],
    ids=lambda entry: entry[:45],
)
def test_an_invalid_price_list_is_refused(tmp_path: Path, entry: str) -> None:
    with pytest.raises(SourceFormatError, match=r"list\.json is not litellm's price list"):
        litellm_prices(listed(tmp_path, entry), "m")


ENTRY_KEYS = st.sampled_from(
    [
        "input_cost_per_token",
        "output_cost_per_token",
        "cache_read_input_token_cost",
        "input_cost_per_token_above_128k_tokens",
        "tiered_pricing",
        "range",
        "input_cost_per_request",
    ]
)
ENTRIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(0, 1e-3) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ENTRY_KEYS, inner),
    max_leaves=12,
)


@given(ENTRIES)
def test_any_entry_gives_prices_or_none_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, entry: object
) -> None:
    path = tmp_path_factory.mktemp("list") / "list.json"
    path.write_text(json.dumps({"m": entry}))
    try:
        found = litellm_prices(path, "m")
    except SourceFormatError:
        return
    assert found is None or maximum_microusd(found, 1000, 1000) >= cost_microusd(
        found, Usage(1000, 1000, 0, 1000)
    )


def test_a_missing_list_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError):
        prices_for(teacher(price=f"litellm:{tmp_path / 'none.json'}"))


@pytest.mark.realdata
def test_every_model_of_litellms_list_has_prices_or_none(litellm_list: Path) -> None:
    names = json.loads(litellm_list.read_text())
    found = {name: litellm_prices(litellm_list, name) for name in names}
    assert len(found) == 4_553
    assert sum(one is not None for one in found.values()) > 3_500
    deepseek = found["deepseek/deepseek-chat"]
    assert deepseek is not None
    assert deepseek.source.endswith("deepseek/deepseek-chat")
