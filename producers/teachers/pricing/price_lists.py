"""Which prices a teacher has: from `genai-prices`, from litellm's JSON file, or from its own table.

Flow: `TeacherSpec.price` → `prices_for` → `reserved_prices`, at which calls are reserved.

**Nothing is fetched**: one list is in the installed package, the other is the user's file.
**A price that changes by the hour is taken at its highest** of the next day, because a reservation must be
large enough until the answer arrives.
**A rate that a list leaves out is the rate of input.**
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Context, Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from tracelake.producers.teachers.pricing.prices import (
    FREE,
    Prices,
    PriceTier,
    highest_prices,
    per_token,
    prices_of_rates,
)
from tracelake.producers.teachers.pricing.usage import TOKEN_COUNT_MAX
from tracelake.producers.teachers.spec.teacher_file import PriceTable, TeacherSpec
from tracelake.schemas.errors import SourceFormatError, SourceMissingError

HALF_HOURS_PER_DAY = 48
# One dollar per token is a thousand times the most expensive model.
RATE_MAX = Decimal(1)
CEILING = Context(prec=80, rounding=ROUND_CEILING)
_GENAI_KEYS = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")
_LITELLM_KEYS = (
    "input_cost_per_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
    "output_cost_per_token",
)
_REASONING_KEY = "output_cost_per_reasoning_token"
_ABOVE = re.compile(r"_above_(\d{1,6})k_tokens$")


def prices_for(spec: TeacherSpec) -> Prices | None:
    """None: the teacher's price list does not know its model.

    Raises SourceMissingError, SourceFormatError for a list that cannot be read.
    """
    if isinstance(spec.price, PriceTable):
        table = spec.price
        cached = table.input if table.cached_input is None else table.cached_input
        written = table.input if table.cache_write is None else table.cache_write
        rates = map(per_token, (table.input, cached, written, table.output))
        return Prices(*rates, per_request=table.request, source="teacher file")
    if spec.price == "free":
        return FREE
    model = spec.price_model or spec.model
    kind, _, where = spec.price.partition(":")
    if kind == "genai-prices":
        return genai_prices(model, spec.base_url, provider=where or None)
    return litellm_prices(Path(where), model)


def reserved_prices(spec: TeacherSpec, prices: Prices) -> Prices:
    """The prices to reserve at: no lower than `max_price`, up to which the router may go."""
    limit = spec.routing.max_price if spec.routing.enabled else None
    if limit is None:
        return prices
    prompt, output = per_token(limit.prompt), per_token(limit.completion)

    def raised(rates: PriceTier) -> dict[str, Decimal]:
        written = rates.cache_write
        if not rates.adds_cache_write:
            # The limit on the prompt's price limits that of a cache write in the same ratio.
            ratio = CEILING.divide(written, rates.input) if rates.input else Decimal(1)
            written = max(written, CEILING.multiply(prompt, ratio))
        return {
            "input": max(rates.input, prompt),
            "cached_input": max(rates.cached_input, prompt),
            "cache_write": written,
            "output": max(rates.output, output),
        }

    tiers = tuple(tier._replace(**raised(tier)) for tier in prices.tiers)
    per_request = max(prices.per_request, limit.request or Decimal(0))
    return replace(prices, **raised(prices.at(0)), per_request=per_request, tiers=tiers)


def genai_prices(
    model: str, base_url: str, *, provider: str | None = None, at: datetime | None = None
) -> Prices | None:
    """Prices of the named provider, or of the provider with this endpoint; None if it has no such model."""
    moment = at or datetime.now(UTC)
    found = [
        _genai_prices_at(model, base_url, provider, moment + timedelta(minutes=30 * half_hour))
        for half_hour in range(HALF_HOURS_PER_DAY + 1)
    ]
    known = [prices for prices in found if prices is not None]
    return highest_prices(known) if known else None


def _genai_prices_at(model: str, base_url: str, provider: str | None, moment: datetime) -> Prices | None:
    import genai_prices as package

    origin: dict[str, Any] = {"provider_id": provider} if provider else {"provider_api_url": base_url}
    try:
        found = package.calc_price(package.Usage(), model, genai_request_timestamp=moment, **origin)
    except LookupError:
        return None
    listed = [getattr(found.model_price, key) for key in _GENAI_KEYS]
    if listed[0] is None or listed[3] is None:
        return None
    bounds = {tier.start for price in listed for tier in getattr(price, "tiers", ())}
    rates = [
        _with_input_rate(bound, [_genai_rate(price, prompt_token_count=bound + 1) for price in listed])
        for bound in (-1, *bounds)
    ]
    per_thousand = found.model_price.requests_kcount
    return prices_of_rates(
        rates,
        per_request=per_thousand.scaleb(-3) if isinstance(per_thousand, Decimal) else Decimal(0),
        source=f"genai-prices {package.__version__} {found.provider.id}/{found.model.id}",
    )


def _genai_rate(price: Any, *, prompt_token_count: int) -> Decimal | None:
    if price is None:
        return None
    rate = getattr(price, "base", price)
    for tier in sorted(getattr(price, "tiers", ()), key=lambda tier: tier.start):
        if prompt_token_count > tier.start:
            rate = tier.price
    return per_token(rate)


def litellm_prices(path: Path, model: str) -> Prices | None:
    """None: the list does not have the model, or no price per token for it.

    Raises SourceMissingError, SourceFormatError.
    """
    if not path.is_file():
        raise SourceMissingError("no price list", got=str(path), expected="litellm's JSON file")
    entry = _litellm_list(path, path.stat().st_mtime_ns).get(model)
    if entry is None:
        return None
    if not isinstance(entry, Mapping):
        raise _not_a_list(path, f"{model}: {entry!r}")
    rates = _litellm_rates(path, entry)
    if rates is None:
        return None
    request = _rate(path, entry, "input_cost_per_request") or Decimal(0)
    return prices_of_rates(rates, per_request=request, source=f"litellm:{path.name} {model}")


@lru_cache(maxsize=4)
def _litellm_list(path: Path, changed_ns: int) -> Mapping[str, Any]:
    try:
        # Decimals of the text itself: 2.8e-07 is not a binary fraction.
        found = json.loads(path.read_bytes(), parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _not_a_list(path, str(error)) from error
    if not isinstance(found, dict):
        raise _not_a_list(path, type(found).__name__)
    return found


def _litellm_rates(path: Path, entry: Mapping[str, Any]) -> list[PriceTier] | None:
    base = [_rate(path, entry, key) for key in _LITELLM_KEYS]
    if base[0] is None or base[3] is None:
        return _litellm_ranges(path, entry)
    # Some providers do not report reasoning tokens apart from other output: the higher price is safe.
    base[3] = max(base[3], _rate(path, entry, _REASONING_KEY) or Decimal(0))
    rates = [_with_input_rate(-1, base)]
    for thousands in sorted({int(found[1]) for key in entry if (found := _ABOVE.search(key))}):
        above = [_rate(path, entry, f"{key}_above_{thousands}k_tokens") for key in _LITELLM_KEYS]
        if any(rate is not None for rate in above):
            merged = [
                before if rate is None else rate for rate, before in zip(above, rates[-1][1:], strict=True)
            ]
            rates.append(PriceTier(thousands * 1000, *merged))
    return rates


def _litellm_ranges(path: Path, entry: Mapping[str, Any]) -> list[PriceTier] | None:
    """Prices that the list gives by ranges of the prompt's length; None without any."""
    ranges = entry.get("tiered_pricing")
    if not isinstance(ranges, list) or not ranges:
        return None
    rates = []
    for index, part in enumerate(ranges):
        listed = [_rate(path, part, key) for key in _LITELLM_KEYS] if isinstance(part, Mapping) else []
        if not listed or listed[0] is None or listed[3] is None:
            return None
        listed[3] = max(listed[3], _rate(path, part, _REASONING_KEY) or Decimal(0))
        rates.append(_with_input_rate(-1 if index == 0 else _range_start(path, part), listed))
    return rates


def _range_start(path: Path, part: Mapping[str, Any]) -> int:
    bounds = part.get("range")
    start = bounds[0] if isinstance(bounds, list) and bounds else None
    if isinstance(start, bool) or not isinstance(start, (int, Decimal)) or not 0 <= start <= TOKEN_COUNT_MAX:
        raise _not_a_list(path, f"range: {bounds!r}")
    return int(start)


def _rate(path: Path, entry: Mapping[str, Any], key: str) -> Decimal | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)) or not 0 <= value <= RATE_MAX:
        raise _not_a_list(path, f"{key}: {value!r}")
    return Decimal(value)


def _with_input_rate(bound: int, rates: list[Decimal | None]) -> PriceTier:
    """A tier in which cache tokens without a rate cost as much as input."""
    return PriceTier(bound, *(rates[0] or Decimal(0) if rate is None else rate for rate in rates))


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a price")


def _not_a_list(path: Path, got: str) -> SourceFormatError:
    return SourceFormatError(
        f"{path.name} is not litellm's price list",
        got=got,
        expected="an object of models with prices in dollars",
    )
