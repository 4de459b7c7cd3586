"""What asking teachers cost: by replay, teacher, trace and arm, from the attempts that were reserved.

**Every attempt is counted once**, whatever came of it, in whole micro-dollars. A reconciled settlement counts
instead of any other.
**What nobody knows stands apart**: attempts without a settlement, or settled at their maximum, are unknown
and count at most `unknown_microusd`.
"""

from __future__ import annotations

import polars as pl

NO_ARM = ""
KEY = ("replay_id", "teacher", "rollout_id", "arm")
_SETTLED_ORDER = {"reconciled": 0, "provider": 1, "price_table": 2, "unbilled": 3, "maximum": 4}


def teacher_spend(
    reserved: pl.DataFrame, settled: pl.DataFrame, answered: pl.DataFrame, failed: pl.DataFrame
) -> pl.DataFrame:
    """One row per replay, teacher, rollout and arm (`""`: none was named); keyed by these."""
    order = pl.col("cost_source").replace_strict(_SETTLED_ORDER, default=5, return_dtype=pl.Int64)
    costs = (
        settled.with_columns(order.alias("order"))
        .sort("attempt_id", "order")
        .unique("attempt_id", keep="first", maintain_order=True)
        .select("attempt_id", "cost_microusd", "cost_source")
    )
    outcomes = [
        events.filter(pl.col("attempt_id").is_not_null())
        .select("attempt_id", pl.lit(True).alias(name))
        .unique("attempt_id")
        for events, name in ((answered, "is_answered"), (failed, "is_failed"))
    ]
    attempts = reserved.select(
        "attempt_id",
        "replay_id",
        "teacher",
        "rollout_id",
        pl.col("arm").fill_null(NO_ARM),
        "max_cost_microusd",
    ).join(costs, on="attempt_id", how="left")
    for outcome in outcomes:
        attempts = attempts.join(outcome, on="attempt_id", how="left")
    known = (pl.col("cost_source").is_not_null() & (pl.col("cost_source") != "maximum")).fill_null(False)
    return attempts.group_by(KEY).agg(*_sums(known)).sort(KEY)


def _sums(known: pl.Expr) -> list[pl.Expr]:
    stated = pl.col("cost_source").is_in(["provider", "reconciled"]).fill_null(False)
    return [
        pl.len().cast(pl.Int64).alias("attempt_count"),
        pl.col("is_answered").fill_null(False).sum().cast(pl.Int64).alias("answered_count"),
        pl.col("is_failed").fill_null(False).sum().cast(pl.Int64).alias("failed_count"),
        pl.col("cost_microusd").filter(known).sum().cast(pl.Int64).alias("settled_microusd"),
        pl.col("cost_microusd").filter(stated).sum().cast(pl.Int64).alias("stated_microusd"),
        (~known).sum().cast(pl.Int64).alias("unknown_count"),
        pl.col("max_cost_microusd").filter(~known).sum().cast(pl.Int64).alias("unknown_microusd"),
    ]
