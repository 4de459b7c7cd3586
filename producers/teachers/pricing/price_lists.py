"""Where prices come from: the list in `genai-prices`, and litellm's as a JSON file.

**Neither is asked over the network**: one is in the installed package, the other is the user's file.
**A price that changes with the hour is taken at its dearest** of the day to come, because a reservation must
hold until the answer is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from tracelake.producers.teachers.pricing.price_table import (
    Prices,
    Tier,
    dearest_of,
    per_token,
    prices_of_rates,
)
from tracelake.producers.teachers.pricing.usage import TOKEN_COUNT_MAX
from tracelake.schemas.errors import SourceFormatError, SourceMissingError

HALF_HOURS_PER_DAY = 48
# A dollar a token is a thousand times the dearest model.
RATE_MAX = Decimal(1)
KINDS = ("input", "cached_input", "cache_write", "output")
_GENAI_KEYS = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")
_LITELLM_KEYS = (
    "input_cost_per_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
    "output_cost_per_token",
)
_REASONING_KEY = "output_cost_per_reasoning_token"
_ABOVE = re.compile(r"_above_(\d{1,6})k_tokens$")


def genai_prices(
    model: str, base_url: str, *, provider: str | None = None, at: datetime | None = None
) -> Prices | None:
    """None: the list has no such model of the provider, or of the provider with this endpoint."""
    moment = at or datetime.now(UTC)
    found = [
        _genai_at(model, base_url, provider, moment + timedelta(minutes=30 * half_hour))
        for half_hour in range(HALF_HOURS_PER_DAY + 1)
    ]
    known = [prices for prices in found if prices is not None]
    return dearest_of(known) if known else None


def litellm_prices(path: Path, model: str) -> Prices | None:
    """None: the list has no such model, or no price per token of it.

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


def _genai_at(model: str, base_url: str, provider: str | None, moment: datetime) -> Prices | None:
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
    rates = [_genai_rates(listed, bound) for bound in (-1, *bounds)]
    per_thousand = found.model_price.requests_kcount
    return prices_of_rates(
        rates,
        per_request=per_thousand.scaleb(-3) if isinstance(per_thousand, Decimal) else Decimal(0),
        source=f"genai-prices {package.__version__} {found.provider.id}/{found.model.id}",
    )


def _genai_rates(listed: list[Any], bound: int) -> Tier:
    rates = [None if price is None else per_token(_genai_rate(price, bound + 1)) for price in listed]
    return _filled(bound, rates)


def _genai_rate(price: Any, prompt_token_count: int) -> Decimal:
    rate = getattr(price, "base", price)
    for tier in sorted(getattr(price, "tiers", ()), key=lambda tier: tier.start):
        if prompt_token_count > tier.start:
            rate = tier.price
    return rate


def _filled(bound: int, rates: list[Decimal | None]) -> Tier:
    """A cache that is not priced costs as input."""
    return Tier(bound, *(rates[0] or Decimal(0) if rate is None else rate for rate in rates))


@lru_cache(maxsize=4)
def _litellm_list(path: Path, changed_ns: int) -> Mapping[str, Any]:
    try:
        # Decimals of the text itself: 2.8e-07 is no binary fraction.
        found = json.loads(path.read_bytes(), parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _not_a_list(path, str(error)) from error
    if not isinstance(found, dict):
        raise _not_a_list(path, type(found).__name__)
    return found


def _litellm_rates(path: Path, entry: Mapping[str, Any]) -> list[Tier] | None:
    base = [_rate(path, entry, key) for key in _LITELLM_KEYS]
    if base[0] is None or base[3] is None:
        return _litellm_ranges(path, entry)
    # Usage does not tell reasoning from other output for every provider: the dearer of the two is safe.
    base[3] = max(base[3], _rate(path, entry, _REASONING_KEY) or Decimal(0))
    rates = [_filled(-1, base)]
    for thousands in sorted({int(found[1]) for key in entry if (found := _ABOVE.search(key))}):
        above = [_rate(path, entry, f"{key}_above_{thousands}k_tokens") for key in _LITELLM_KEYS]
        if any(rate is not None for rate in above):
            merged = [
                before if rate is None else rate for rate, before in zip(above, rates[-1][1:], strict=True)
            ]
            rates.append(Tier(thousands * 1000, *merged))
    return rates


def _litellm_ranges(path: Path, entry: Mapping[str, Any]) -> list[Tier] | None:
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
        rates.append(_filled(-1 if index == 0 else _range_start(path, part), listed))
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


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no price")


def _not_a_list(path: Path, got: str) -> SourceFormatError:
    return SourceFormatError(
        f"{path.name} is not litellm's price list",
        got=got,
        expected="an object of models with prices in dollars",
    )
