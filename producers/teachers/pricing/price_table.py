"""Prices of one model: dollars per token by kind of token, with tiers over the length of the prompt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import NamedTuple

# Counts have at most 9 digits and prices some 20: nothing is rounded before the end.
EXACT = Context(prec=80)


class Tier(NamedTuple):
    """Rates of the whole call, where its prompt is longer than a bound. Dollars per token."""

    above_token_count: int
    input: Decimal
    cached_input: Decimal
    cache_write: Decimal
    output: Decimal


@dataclass(frozen=True)
class Prices:
    """Dollars per token, and per request."""

    input: Decimal
    cached_input: Decimal
    cache_write: Decimal
    output: Decimal
    per_request: Decimal = Decimal(0)
    tiers: tuple[Tier, ...] = ()
    """In the order of their bounds."""
    source: str = ""
    """The list, its version, and the name in it."""

    def at(self, prompt_token_count: int) -> Tier:
        """The rates of a call with a prompt of this length."""
        rates = Tier(-1, self.input, self.cached_input, self.cache_write, self.output)
        for tier in self.tiers:
            if prompt_token_count > tier.above_token_count:
                rates = tier
        return rates


FREE = Prices(Decimal(0), Decimal(0), Decimal(0), Decimal(0), source="free")


def per_token(dollars_per_million: Decimal) -> Decimal:
    return dollars_per_million.scaleb(-6, EXACT)


def prices_of_rates(rates: Iterable[Tier], *, per_request: Decimal = Decimal(0), source: str = "") -> Prices:
    """Prices from rates in any order; those above the least bound are the base."""
    base, *tiers = sorted(rates)
    return Prices(*base[1:], per_request=per_request, tiers=tuple(tiers), source=source)


def dearest_of(prices: Iterable[Prices]) -> Prices:
    """At every length of prompt, each rate of the list that is dearest there."""
    every = list(prices)
    bounds = sorted({tier.above_token_count for one in every for tier in one.tiers})
    rates = [_dearest_at(every, bound) for bound in (-1, *bounds)]
    per_request = max(one.per_request for one in every)
    return prices_of_rates(rates, per_request=per_request, source=every[0].source)


def _dearest_at(prices: list[Prices], bound: int) -> Tier:
    rates = zip(*(one.at(bound + 1)[1:] for one in prices), strict=True)
    return Tier(bound, *map(max, rates))
