"""Derived tables of money: `spend` by purpose and model, `teacher_spend` by replay, teacher, trace and arm.

**`teacher_spend` counts every attempt once**, whatever its outcome, in whole micro-dollars. A reconciled
settlement counts instead of any other.
**Unknown cost stands apart**: attempts without a settlement, or settled at their maximum, are unknown and
cost at most `unknown_microusd`. A sum over nothing known is null, never 0.
"""

from __future__ import annotations

import polars as pl

from tracelake.assets.folds.sums import known_sum

TEACHER_SPEND_KEY = ("replay_id", "teacher", "rollout_id", "arm")
_NO_ARM = ""
_SETTLEMENT_RANK = {"reconciled": 0, "provider": 1, "price_table": 2, "unbilled": 3, "maximum": 4}


def spend(
    turn_completed: pl.DataFrame, teacher_answered: pl.DataFrame, teacher_failed: pl.DataFrame
) -> pl.DataFrame:
    """Calls, tokens and dollars by purpose and model, from deduplicated facts. Key (purpose, model).

    `cost_usd` is the price of `priced_call_count` of the calls."""
    # A harvested answer is already counted as a turn of its own rollout.
    asked = teacher_answered.filter(pl.col("origin") == "asked")
    parts = [
        _spent(
            turn_completed.with_columns(pl.coalesce("model_requested", "model_served").alias("model")),
            "rollout",
        ),
        _spent(asked.rename({"teacher": "model"}), "teacher"),
        _spent(
            teacher_failed.rename({"teacher": "model"}).with_columns(
                pl.lit(None, pl.Int64).alias(name)
                for name in ("prompt_token_count", "cached_token_count", "completion_token_count")
            ),
            "teacher_failed",
        ),
    ]
    return pl.concat(parts).sort("purpose", "model")


def _spent(calls: pl.DataFrame, purpose: str) -> pl.DataFrame:
    return (
        calls.sort("event_id")
        .group_by(pl.col("model").fill_null("unknown"), maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("call_count"),
            pl.col("cost_usd").is_not_null().sum().cast(pl.Int64).alias("priced_call_count"),
            known_sum(pl.col("prompt_token_count")),
            known_sum(pl.col("cached_token_count")),
            known_sum(pl.col("completion_token_count")),
            known_sum(pl.col("cost_usd")),
        )
        .select(pl.lit(purpose).alias("purpose"), pl.all())
    )


def teacher_spend(
    reserved: pl.DataFrame, settled: pl.DataFrame, answered: pl.DataFrame, failed: pl.DataFrame
) -> pl.DataFrame:
    """One row per replay, teacher, rollout and arm (`""`: no arm named). Key `TEACHER_SPEND_KEY`."""
    rank = pl.col("cost_source").replace_strict(_SETTLEMENT_RANK, default=5, return_dtype=pl.Int64)
    costs = (
        settled.with_columns(rank.alias("rank"))
        .sort("attempt_id", "rank")
        .unique("attempt_id", keep="first", maintain_order=True)
        .select("attempt_id", "cost_microusd", "cost_source")
    )
    attempts = reserved.select(
        "attempt_id",
        "replay_id",
        "teacher",
        "rollout_id",
        pl.col("arm").fill_null(_NO_ARM),
        "max_cost_microusd",
    ).join(costs, on="attempt_id", how="left")
    for events, name in ((answered, "is_answered"), (failed, "is_failed")):
        ended = events.filter(pl.col("attempt_id").is_not_null())
        flag = ended.select("attempt_id", pl.lit(True).alias(name)).unique("attempt_id")
        attempts = attempts.join(flag, on="attempt_id", how="left")
    known = (pl.col("cost_source").is_not_null() & (pl.col("cost_source") != "maximum")).fill_null(False)
    stated = pl.col("cost_source").is_in(["provider", "reconciled"]).fill_null(False)
    sums = attempts.group_by(TEACHER_SPEND_KEY).agg(
        pl.len().cast(pl.Int64).alias("attempt_count"),
        pl.col("is_answered").fill_null(False).sum().cast(pl.Int64).alias("answered_count"),
        pl.col("is_failed").fill_null(False).sum().cast(pl.Int64).alias("failed_count"),
        known_sum(pl.col("cost_microusd").filter(known)).cast(pl.Int64).alias("settled_microusd"),
        known_sum(pl.col("cost_microusd").filter(stated)).cast(pl.Int64).alias("stated_microusd"),
        (~known).sum().cast(pl.Int64).alias("unknown_count"),
        pl.col("max_cost_microusd").filter(~known).sum().cast(pl.Int64).alias("unknown_microusd"),
    )
    return sums.sort(TEACHER_SPEND_KEY)
