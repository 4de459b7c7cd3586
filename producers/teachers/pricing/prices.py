"""What a call costs, and what it can cost at most, by a price list.

**Money is exact**: decimals while computing, whole micro-dollars once computed, always rounded up: books
never say less than what was spent.
**A price list is an estimate.** What the provider says a call cost is the truth; `max_price` in the routing
is the guard, and raises what is reserved.
**A part that a list does not price costs as input.**
"""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, Context, Decimal
from pathlib import Path

from tracelake.producers.teachers.pricing.price_lists import genai_prices, litellm_prices
from tracelake.producers.teachers.pricing.price_table import EXACT, FREE, Prices, Tier, per_token
from tracelake.producers.teachers.pricing.usage import Usage
from tracelake.producers.teachers.spec.teacher_file import TeacherSpec
from tracelake.producers.teachers.spec.teacher_parts import MaxPrice, PriceTable

MICROUSD_PER_USD = 1_000_000
CEILING = Context(prec=80, rounding=ROUND_CEILING)


def prices_for(spec: TeacherSpec) -> Prices | None:
    """None: the list that the teacher names does not know the model.

    Raises SourceMissingError, SourceFormatError for a list that cannot be read.
    """
    if isinstance(spec.price, PriceTable):
        return _of_table(spec.price)
    if spec.price == "free":
        return FREE
    model = spec.price_model or spec.model
    kind, _, where = spec.price.partition(":")
    if kind == "genai-prices":
        return genai_prices(model, spec.base_url, provider=where or None)
    return litellm_prices(Path(where), model)


def reserved_prices(spec: TeacherSpec, prices: Prices) -> Prices:
    """The prices to reserve at: where the router may go up to `max_price`, no less than that."""
    dearest = spec.routing.max_price if spec.routing.enabled else None
    return prices if dearest is None else _raised(prices, dearest)


def exact_cost_usd(prices: Prices, usage: Usage) -> Decimal:
    rates = prices.at(usage.prompt_token_count)
    prompt, cached, written, completion = map(Decimal, usage)
    if _is_storage(rates):
        plain, read = prompt - cached, cached
    else:
        # Tokens that were read and written in one call, as some providers count, are paid once.
        plain = max(prompt - cached - written, Decimal(0))
        read = max(min(cached, prompt - written), Decimal(0))
    parts = ((plain, rates.input), (read, rates.cached_input), (written, rates.cache_write))
    cost = EXACT.add(prices.per_request, EXACT.multiply(completion, rates.output))
    for count, rate in parts:
        cost = EXACT.add(cost, EXACT.multiply(count, rate))
    return cost


def cost_microusd(prices: Prices, usage: Usage) -> int:
    return microusd(exact_cost_usd(prices, usage))


def maximum_microusd(prices: Prices, prompt_token_max: int, max_tokens: int) -> int:
    """What a call can cost at most: every prompt token at its dearest, the longest completion."""
    reachable = [prices.at(0), *(tier for tier in prices.tiers if tier.above_token_count < prompt_token_max)]
    prompt = max(_dearest_prompt(rates) for rates in reachable)
    output = max(rates.output for rates in reachable)
    cost = EXACT.multiply(Decimal(prompt_token_max), prompt)
    cost = EXACT.add(cost, EXACT.multiply(Decimal(max_tokens), output))
    return microusd(EXACT.add(cost, prices.per_request))


def microusd(dollars: Decimal) -> int:
    """Whole micro-dollars, rounded up."""
    return int(EXACT.multiply(dollars, Decimal(MICROUSD_PER_USD)).to_integral_value(ROUND_CEILING))


def _is_storage(rates: Tier) -> bool:
    """Whether writing to the cache is a fee on top of the prompt, as Google's: then it is below the input's
    price. Otherwise it is paid instead of it.
    """
    return rates.cache_write < rates.input


def _dearest_prompt(rates: Tier) -> Decimal:
    plain = max(rates.input, rates.cached_input)
    return plain + rates.cache_write if _is_storage(rates) else max(plain, rates.cache_write)


def _of_table(table: PriceTable) -> Prices:
    cached = table.input if table.cached_input is None else table.cached_input
    written = table.input if table.cache_write is None else table.cache_write
    rates = map(per_token, (table.input, cached, written, table.output))
    return Prices(*rates, per_request=table.request, source="teacher file")


def _raised(prices: Prices, dearest: MaxPrice) -> Prices:
    prompt, output = per_token(dearest.prompt), per_token(dearest.completion)

    def raised(rates: Tier) -> dict[str, Decimal]:
        written = rates.cache_write
        if not _is_storage(rates):
            # A bound on the price of the prompt bounds that of a write by the same ratio.
            ratio = CEILING.divide(written, rates.input) if rates.input else Decimal(1)
            written = max(written, CEILING.multiply(prompt, ratio))
        return {
            "input": max(rates.input, prompt),
            "cached_input": max(rates.cached_input, prompt),
            "cache_write": written,
            "output": max(rates.output, output),
        }

    tiers = tuple(tier._replace(**raised(tier)) for tier in prices.tiers)
    per_request = max(prices.per_request, dearest.request or Decimal(0))
    return replace(prices, **raised(prices.at(0)), per_request=per_request, tiers=tiers)
