"""One row per turn and one per rollout, as every target writes them.

**Rows are plain values**: messages, tools and rewards are nested here; a target for columns writes each of
them as canonical JSON.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tracelake.consumers.exports.pinned_rollouts import Rollout, Row
from tracelake.schemas.message import Message, canonical_arguments

_RESULT_FIELDS = ("call_index", "tool_call_id", "tool_name", "raw_output", "visible_output", "return_code")
_REWARD_FIELDS = ("name", "score", "weight", "grader", "grader_version")
_TURN_FIELDS = (
    "model_requested",
    "model_served",
    "finish_reason",
    "truncated",
    "prompt_token_count",
    "cached_token_count",
    "completion_token_count",
    "reasoning_token_count",
    "cost_usd",
    "latency_ms",
    "logprob_source",
    "policy_version_start",
    "policy_version_end",
)
_SUMMARY_FIELDS = (
    "task_key",
    "environment",
    "substrate",
    "source_run",
    "group_id",
    "trial_index",
    "model",
    "turn_count",
    "tool_call_count",
    "tool_error_count",
    "prompt_token_count",
    "completion_token_count",
    "cost_usd",
    "reward",
    "grader",
    "stop_reason",
    "exit_status",
    "truncated",
    "truncated_by",
    "duration_ms",
)


def turn_row(rollout: Rollout, turn: Row) -> dict[str, Any]:
    """State, action and reward of one turn, and what is known about the call."""
    index = turn["turn_index"]
    return {
        "rollout_id": rollout.rollout_id,
        "turn_index": index,
        "parent_turn_index": turn["parent_turn_index"],
        "task_key": rollout.started["task_key"],
        "environment": rollout.started["environment"],
        "substrate": rollout.started["substrate"],
        "model": turn["model_served"] or turn["model_requested"] or rollout.started["model_requested"],
        "tools": parsed(rollout.started["tools_json"]),
        "state_key": turn["state_key"],
        "state": rollout.context(index),
        "action": rollout.action(index),
        "tool_results": [
            {name: result[name] for name in _RESULT_FIELDS} | {"error": result["error"]}
            for result in rollout.results(index)
        ],
        "reward": rollout.summary["reward"],
        "turn_rewards": rewards_of(rollout, index),
        **{name: turn[name] for name in _TURN_FIELDS},
        "prompt_ids": rollout.prompt_ids(index),
        "completion_ids": turn["completion_ids"],
        "completion_mask": turn["completion_mask"],
        "sampling_logprobs": shortest(turn["sampling_logprobs"]),
        "extra": parsed(turn["extra_json"]),
    }


def trajectory_row(rollout: Rollout) -> dict[str, Any]:
    """One rollout with the whole conversation of its last turn."""
    return {
        "rollout_id": rollout.rollout_id,
        **{name: rollout.summary[name] for name in _SUMMARY_FIELDS},
        "rewards": rewards_of(rollout, None),
        "tools": parsed(rollout.started["tools_json"]),
        "task": parsed(rollout.started["task_json"]),
        "config": parsed(rollout.started["config_json"]),
        "messages": _conversation(rollout),
        "error": rollout.ended.get("error"),
        "submission": rollout.ended.get("submission"),
        "metrics": parsed(rollout.ended.get("metrics_json")),
        "extra": parsed(rollout.ended.get("extra_json")),
    }


def rewards_of(rollout: Rollout, turn_index: int | None) -> list[dict[str, Any]]:
    """All rewards of one turn; null: those of the whole rollout."""
    return [
        {name: reward[name] for name in _REWARD_FIELDS}
        for reward in rollout.rewards
        if reward["turn_index"] == turn_index
    ]


def parsed(text: str | None) -> Any:
    """JSON text of the lake as a value; integers keep all their digits."""
    return None if text is None else canonical_arguments(text)


def shortest(values: list[float] | None) -> list[float] | None:
    """Numbers of 32 bits by their shortest digits: -0.1 and not -0.10000000149011612."""
    return None if values is None else [float(str(value)) for value in np.asarray(values, np.float32)]


def _conversation(rollout: Rollout) -> list[Message]:
    if not rollout.turns:
        return []
    last = rollout.turns[-1]["turn_index"]
    return [*rollout.context(last), rollout.action(last)]
