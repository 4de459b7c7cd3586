"""Turns and trajectories: one row per model call, one row per rollout."""

from __future__ import annotations

import orjson
import polars as pl

from tracelake.assets.folds.sums import known_sum
from tracelake.schemas.message import canonical_action
from tracelake.schemas.recordings import longest_recordings

MAIN_REWARD = "reward"
UNFINISHED = "unfinished"
_COUNTS = ("turn_count", "tool_call_count", "tool_result_count", "tool_error_count", "priced_turn_count")

_TURN_COLUMNS = (
    "rollout_id",
    "turn_index",
    "parent_turn_index",
    "task_key",
    "environment",
    "substrate",
    "group_id",
    pl.coalesce("model_requested", "started_model", "model_served").alias("model"),
    "model_served",
    "state_key",
    "context_length",
    pl.col("canonical_action").alias("action_json"),
    "tool_call_count",
    pl.col("tool_result_count").fill_null(0),
    pl.col("tool_error_count").fill_null(0),
    "finish_reason",
    "truncated",
    "prompt_token_count",
    "cached_token_count",
    "completion_token_count",
    "cost_usd",
    "latency_ms",
    "policy_version_start",
    "policy_version_end",
    "event_id",
)


def turns(
    rollout_started: pl.DataFrame, turn_completed: pl.DataFrame, tool_returned: pl.DataFrame
) -> pl.DataFrame:
    """One row per turn with its task, its model and its action in canonical form; key (rollout_id,
    turn_index).
    """
    started = rollout_started.select(
        "rollout_id",
        "task_key",
        "environment",
        "substrate",
        "group_id",
        pl.col("model_requested").alias("started_model"),
    )
    actions = turn_completed["action_json"].map_elements(
        lambda text: canonical_action(orjson.loads(text)), return_dtype=pl.String
    )
    return (
        turn_completed.with_columns(actions.alias("canonical_action"))
        .join(started, on="rollout_id", how="left", maintain_order="left")
        .join(_results(tool_returned), on=["rollout_id", "turn_index"], how="left", maintain_order="left")
        .select(_TURN_COLUMNS)
        .sort("rollout_id", "turn_index")
    )


def trajectories(
    rollout_started: pl.DataFrame,
    turns: pl.DataFrame,
    reward_assigned: pl.DataFrame,
    rollout_ended: pl.DataFrame,
) -> pl.DataFrame:
    """One row per rollout; its reward is the newest version of the main reward. Key rollout_id.

    A rollout whose end is not recorded is `unfinished`. Sums are over what is known, and null where nothing
    is: `cost_usd` is the price of `priced_turn_count` of the turns.
    """
    ended = longest_recordings(rollout_ended).select(
        "rollout_id",
        "stop_reason",
        "exit_status",
        "truncated",
        "truncated_by",
        "duration_ms",
        pl.col("cost_usd").alias("stated_cost_usd"),
    )
    started = rollout_started.select(
        "rollout_id", "task_key", "environment", "substrate", "source_run", "group_id", "trial_index"
    )
    return (
        started.join(_totals(turns), on="rollout_id", how="left")
        .join(_rewards(reward_assigned), on="rollout_id", how="left")
        .join(ended, on="rollout_id", how="left")
        .with_columns(pl.col("stop_reason").fill_null(UNFINISHED), pl.col(_COUNTS).fill_null(0))
        .sort("rollout_id")
    )


def _results(tool_returned: pl.DataFrame) -> pl.DataFrame:
    """Counts of tool results and tool errors by turn."""
    failed = pl.col("error").is_not_null() | (pl.col("return_code").fill_null(0) != 0)
    return tool_returned.group_by("rollout_id", "turn_index").agg(
        pl.len().cast(pl.Int64).alias("tool_result_count"),
        failed.sum().cast(pl.Int64).alias("tool_error_count"),
    )


def _totals(turns: pl.DataFrame) -> pl.DataFrame:
    """Sums over turns by rollout."""
    return turns.group_by("rollout_id").agg(
        pl.len().cast(pl.Int64).alias("turn_count"),
        pl.col("model").sort_by("turn_index").first(),
        pl.col("tool_call_count").sum(),
        pl.col("tool_result_count").sum(),
        pl.col("tool_error_count").sum(),
        known_sum(pl.col("prompt_token_count")),
        known_sum(pl.col("completion_token_count")),
        # Summed in the order of turns: floating-point sums depend on it, and digests on them.
        known_sum(pl.col("cost_usd").sort_by("turn_index")),
        pl.col("cost_usd").count().cast(pl.Int64).alias("priced_turn_count"),
    )


def _rewards(reward_assigned: pl.DataFrame) -> pl.DataFrame:
    """The newest version of the main reward by rollout."""
    return (
        reward_assigned.filter(pl.col("turn_index").is_null() & (pl.col("name") == MAIN_REWARD))
        .sort("rollout_id", "grader_version", "grader", descending=[False, True, False])
        .group_by("rollout_id", maintain_order=True)
        .agg(
            pl.col("score").first().alias("reward"),
            pl.col("grader").first(),
            pl.len().cast(pl.Int64).alias("reward_count"),
        )
    )
