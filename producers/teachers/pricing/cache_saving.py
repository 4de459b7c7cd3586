"""What prompt caching saved, measured on the usage that endpoints stated."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from tracelake.producers.teachers.pricing.price_table import Prices
from tracelake.producers.teachers.pricing.prices import exact_cost_usd
from tracelake.producers.teachers.pricing.usage import Usage


class CacheSaving(NamedTuple):
    """Of some calls; sums are taken of it."""

    prompt_token_count: int = 0
    cached_token_count: int = 0
    saved_usd: Decimal = Decimal(0)
    """By the price list: every prompt at the price of a plain one, less what it cost with reads from and
    writes to the cache; negative where writing cost more than reading saved."""

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

    def with_all(self, other: CacheSaving) -> CacheSaving:
        return CacheSaving(
            self.prompt_token_count + other.prompt_token_count,
            self.cached_token_count + other.cached_token_count,
            self.saved_usd + other.saved_usd,
        )
