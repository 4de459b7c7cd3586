"""Prices of one model, and what a call costs at them: exactly, at most, and with what saved by the cache.

**Money is exact**: decimals while computing, whole micro-dollars at the end, always rounded up, so that no
recorded sum is below what was spent.
**A price list is an estimate.** What the provider charges is the truth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from typing import NamedTuple

from tracelake.producers.teachers.pricing.usage import Usage

MICROUSD_PER_USD = 1_000_000
# Counts have at most 9 digits and prices about 20: nothing is rounded before the end.
EXACT = Context(prec=80)


class PriceTier(NamedTuple):
    """Rates of a whole call whose prompt is longer than a bound. Dollars per token."""

    above_token_count: int
    input: Decimal
    cached_input: Decimal
    cache_write: Decimal
    output: Decimal

    @property
    def adds_cache_write(self) -> bool:
        """Whether cache writes cost extra, on top of the input price, as at Google: then they
        cost less than input. Otherwise their price replaces the input price.
        """
        return self.cache_write < self.input


@dataclass(frozen=True)
class Prices:
    """Dollars per token, and per request."""

    input: Decimal
    cached_input: Decimal
    cache_write: Decimal
    output: Decimal
    per_request: Decimal = Decimal(0)
    tiers: tuple[PriceTier, ...] = ()
    """Ordered by their bounds."""
    source: str = ""
    """The list, its version, and the name in it."""

    def at(self, prompt_token_count: int) -> PriceTier:
        """The rates of a call with a prompt of this length."""
        rates = PriceTier(-1, self.input, self.cached_input, self.cache_write, self.output)
        for tier in self.tiers:
            if prompt_token_count > tier.above_token_count:
                rates = tier
        return rates


FREE = Prices(Decimal(0), Decimal(0), Decimal(0), Decimal(0), source="free")


def per_token(dollars_per_million: Decimal) -> Decimal:
    return dollars_per_million.scaleb(-6, EXACT)


def prices_of_rates(
    rates: Iterable[PriceTier], *, per_request: Decimal = Decimal(0), source: str = ""
) -> Prices:
    """Prices from rates in any order; the rates with the lowest bound are the base."""
    base, *tiers = sorted(rates)
    return Prices(*base[1:], per_request=per_request, tiers=tuple(tiers), source=source)


def highest_prices(prices: Iterable[Prices]) -> Prices:
    """The highest of each rate, at every length of prompt."""
    every = list(prices)
    bounds = sorted({tier.above_token_count for one in every for tier in one.tiers})
    rates = [
        PriceTier(bound, *map(max, zip(*(one.at(bound + 1)[1:] for one in every), strict=True)))
        for bound in (-1, *bounds)
    ]
    per_request = max(one.per_request for one in every)
    return prices_of_rates(rates, per_request=per_request, source=every[0].source)


def exact_cost_usd(prices: Prices, usage: Usage) -> Decimal:
    rates = prices.at(usage.prompt_token_count)
    prompt, cached, written, completion = map(Decimal, usage)
    if rates.adds_cache_write:
        plain, read = prompt - cached, cached
    else:
        # Some providers count the same tokens as read and as written in one call: they are paid once.
        plain = max(prompt - cached - written, Decimal(0))
        read = max(min(cached, prompt - written), Decimal(0))
    parts = ((plain, rates.input), (read, rates.cached_input), (written, rates.cache_write))
    cost = EXACT.add(prices.per_request, EXACT.multiply(completion, rates.output))
    for count, rate in parts:
        cost = EXACT.add(cost, EXACT.multiply(count, rate))
    return cost


def maximum_microusd(prices: Prices, prompt_token_max: int, max_tokens: int) -> int:
    """The most that a call can cost: each prompt token at its highest rate, and the longest completion."""
    reachable = [prices.at(0), *(tier for tier in prices.tiers if tier.above_token_count < prompt_token_max)]
    prompt = max(_highest_prompt_rate(rates) for rates in reachable)
    output = max(rates.output for rates in reachable)
    cost = EXACT.multiply(Decimal(prompt_token_max), prompt)
    cost = EXACT.add(cost, EXACT.multiply(Decimal(max_tokens), output))
    return microusd(EXACT.add(cost, prices.per_request))


def microusd(dollars: Decimal) -> int:
    """Whole micro-dollars, rounded up."""
    return int(EXACT.multiply(dollars, Decimal(MICROUSD_PER_USD)).to_integral_value(ROUND_CEILING))


def _highest_prompt_rate(rates: PriceTier) -> Decimal:
    plain = max(rates.input, rates.cached_input)
    return plain + rates.cache_write if rates.adds_cache_write else max(plain, rates.cache_write)


class CacheSaving(NamedTuple):
    """What prompt caching saved over some calls, from the usage that endpoints reported."""

    prompt_token_count: int = 0
    cached_token_count: int = 0
    saved_usd: Decimal = Decimal(0)
    """The price of the prompts without any caching, minus their price with it; negative if cache writes cost
    more than cache reads saved."""

    def with_call(self, prices: Prices, usage: Usage) -> CacheSaving:
        saved_usd = self.saved_usd
        if usage.cached_token_count or usage.cache_write_token_count:
            plain = usage._replace(cached_token_count=0, cache_write_token_count=0)
            saved_usd += exact_cost_usd(prices, plain) - exact_cost_usd(prices, usage)
        return CacheSaving(
            self.prompt_token_count + usage.prompt_token_count,
            self.cached_token_count + usage.cached_token_count,
            saved_usd,
        )

    def plus(self, other: CacheSaving) -> CacheSaving:
        return CacheSaving(
            self.prompt_token_count + other.prompt_token_count,
            self.cached_token_count + other.cached_token_count,
            self.saved_usd + other.saved_usd,
        )
