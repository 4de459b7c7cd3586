"""`tracelake teachers costs`: recorded costs next to the price of the recorded usage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracelake.cli.commands.teachers import teachers
from tracelake.cli.output import (
    LAKE_DEFAULT,
    Format,
    FormatOption,
    LakeOption,
    print_json,
    print_rows,
    print_text,
)

if TYPE_CHECKING:
    from tracelake.producers.teachers.pricing.prices import Prices
    from tracelake.producers.teachers.pricing.recorded_cost import ModelCost

EXIT_DIFFERENT = 3
COLUMNS = ("model", "turns", "equal", "different", "unpriced", "incomplete", "recorded $", "recomputed $")


def costs(
    prices: Annotated[
        str, typer.Option(help="litellm:PATH, genai-prices (PROVIDER/MODEL names), or genai-prices:PROVIDER.")
    ],
    lake: LakeOption = LAKE_DEFAULT,
    output: FormatOption = Format.HUMAN,
) -> None:
    """Recompute the price of each turn and compare it with the recorded cost; exit 3 if one differs."""
    from tracelake.lake import Lake
    from tracelake.producers.teachers.pricing.recorded_cost import recorded_costs

    price_of = _price_lookup(prices)
    opened = Lake.open(lake)
    opened.project(["turn_completed"])
    found = recorded_costs(opened, price_of)
    if output is Format.JSON:
        print_json([_plain(row) for row in found])
    else:
        print_rows([_row(row) for row in found], [*COLUMNS, "largest difference $"])
        print_text(_summary(found))
    if any(row.different_count for row in found):
        raise typer.Exit(EXIT_DIFFERENT)


def _price_lookup(prices: str) -> Callable[[str], Prices | None]:
    from pathlib import Path

    from tracelake.producers.teachers.pricing.price_lists import litellm_prices

    kind, _, where = prices.partition(":")
    if kind == "litellm" and where:
        return lambda model: litellm_prices(Path(where), model)
    if kind == "genai-prices":
        return lambda model: _genai_price(model, where)
    raise typer.BadParameter(
        f"{prices!r} is neither litellm:PATH nor genai-prices[:PROVIDER]", param_hint="--prices"
    )


def _genai_price(model: str, provider: str) -> Prices | None:
    """Without a provider, the model's name has it before the slash."""
    from tracelake.producers.teachers.pricing.price_lists import genai_prices

    named, slash, rest = model.partition("/")
    if provider or not slash:
        return genai_prices(model, "", provider=provider or None)
    return genai_prices(rest, "", provider=named)


def _summary(found: Sequence[ModelCost]) -> str:
    unpriced = [row.model or "no model" for row in found if row.unpriced_count]
    compared = sum(row.equal_count + row.different_count for row in found)
    text = f"{compared} turns compared, {sum(row.different_count for row in found)} differ"
    return text + (f"; without a price: {', '.join(unpriced)}" if unpriced else "")


def _row(row: ModelCost) -> dict[str, Any]:
    counts = (row.turn_count, row.equal_count, row.different_count, row.unpriced_count, row.incomplete_count)
    sums = (f"{row.recorded_usd:.6f}", f"{row.recomputed_usd:.6f}")
    values = (row.model, *counts, *sums, f"{row.difference_max_usd:.2g}")
    return dict(zip((*COLUMNS, "largest difference $"), values, strict=True))


def _plain(row: ModelCost) -> dict[str, Any]:
    return {
        name: str(value) if name.endswith("_usd") else value  # Decimals are exact as texts only.
        for name, value in row._asdict().items()
    }


def register(_: typer.Typer) -> None:
    """`tracelake.cli.commands.teachers` registers the group itself."""
    teachers.command()(costs)
