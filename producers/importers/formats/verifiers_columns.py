"""The columns of a verifiers row: which name means what, in every version up to 0.1.x.

**Every number at the top level that is neither a known column nor a time is a metric**, and becomes a reward
of its own name beside the one that counts.
"""

from __future__ import annotations

from typing import Any

import orjson

from tracelake.producers.importers.chat import TurnsBuilder
from tracelake.producers.importers.fields import (
    flag,
    label,
    logprobs,
    mapping,
    number,
    sequence,
    text,
    token_ids,
)
from tracelake.producers.importers.model_response import completion_fields
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.events.rollout_events import RewardAssigned, RolloutEnded, StopReason
from tracelake.schemas.message import Message

GRADER = "verifiers"
TIMES = ("generation_ms", "scoring_ms", "total_ms")
# Columns that are numbers, or may be, without being a metric of the rubric.
NOT_METRICS = frozenset(
    [
        "id",
        "example_id",
        "prompt",
        "completion",
        "reward",
        "task",
        "answer",
        "info",
        "timing",
        "is_completed",
        "is_truncated",
        "metrics",
        "error",
        "stop_condition",
        "tool_defs",
        "token_usage",
        "trajectory",
        "advantage",
        "generation_ms",
        "scoring_ms",
        "total_ms",
    ]
)
_STOPS: dict[str, tuple[StopReason, bool | None, str | None]] = {
    "max_turns_reached": ("max_turns", True, "max_turns"),
    "prompt_too_long": ("max_tokens", True, "context_window"),
    "max_tokens_reached": ("max_tokens", True, "max_tokens"),
    "max_total_completion_tokens_reached": ("max_tokens", True, "max_tokens"),
    "timeout_reached": ("timeout", True, "timeout"),
    "has_error": ("error", None, None),
    "no_tools_called": ("completed", False, None),
}


def example_of(row: dict[str, Any]) -> str:
    """Id of the example; empty if the row has none. The column was renamed between versions."""
    found = row.get("example_id")
    return label(row.get("id") if found is None else found, "example_id") or ""


def tool_definitions(row: dict[str, Any]) -> Any:
    """Definitions stand in `info.oai_tools`, later in a column of their own; either may be JSON text."""
    info = _info(row)
    found = row.get("tool_defs") or info.get("oai_tools")
    return orjson.loads(found) if type(found) is str and found else found


def task_of(row: dict[str, Any], question: str) -> dict[str, Any]:
    """What the environment knows of the task."""
    info = {name: value for name, value in _info(row).items() if name != "oai_tools"}
    task = {"question": question, "answer": row.get("answer"), "task": row.get("task"), "info": info or None}
    return {"example_id": example_of(row) or None, **task}


def rewards(rollout_id: str, row: dict[str, Any], line: int) -> list[RewardAssigned]:
    """The reward that counts, then each metric by its name."""
    scores = {"reward": number(row.get("reward"), "reward")}
    for name, value in mapping(row.get("metrics"), "metrics").items():
        if name != "reward":
            scores[name] = number(value, f"metrics.{name}")
    for name, value in row.items():
        if name not in NOT_METRICS and type(value) in (int, float):
            scores[name] = number(value, name)
    return [
        RewardAssigned(rollout_id=rollout_id, name=name, score=score, grader=GRADER, source_position=line)
        for name, score in scores.items()
    ]


def ended(turns: TurnsBuilder, row: dict[str, Any], line: int) -> RolloutEnded:
    condition = text(row.get("stop_condition"), "stop_condition")
    error = row.get("error")
    reason, cut, cut_by = _STOPS.get(condition or "", ("unknown", None, None))
    if error is not None and reason == "unknown":
        reason = "error"
    cut_flag = flag(row.get("is_truncated"), "is_truncated")
    times = _times(row)
    return RolloutEnded(
        rollout_id=turns.rollout_id,
        stop_reason=reason,
        exit_status=condition,
        turn_count=turns.turn_count,
        truncated=cut if cut_flag is None else cut_flag,
        truncated_by=cut_by,
        error=None if error is None else error if type(error) is str else canonical_text(error),
        # Rows that were scored again carry a zero: no rollout takes no time.
        duration_ms=times.get("generation_ms") or None,
        metrics_json=turns.metrics_text({**times, **_usage(row)}),
        source_position=line,
    )


def sampled(row: dict[str, Any], replies: list[Message]) -> list[dict[str, Any]]:
    """Fields of TurnCompleted that a saved `trajectory` column adds, one for each reply; empty where it
    does not fit."""
    entries = [mapping(entry, "trajectory") for entry in sequence(row.get("trajectory"), "trajectory")]
    if len(entries) != len(replies):
        return [{} for _ in replies]
    return [_sampled(entry) for entry in entries]


def _sampled(entry: dict[str, Any]) -> dict[str, Any]:
    response = entry.get("response")
    fields = completion_fields(response) if type(response) is dict else {}
    tokens = mapping(entry.get("tokens"), "tokens")
    written = token_ids(tokens.get("completion_ids"), "completion_ids")
    found = logprobs(tokens.get("completion_logprobs"), "completion_logprobs")
    cut = flag(entry.get("is_truncated"), "is_truncated")
    if cut is not None:
        fields["truncated"] = cut
    if written is not None:
        mask = [bool(item) for item in sequence(tokens.get("completion_mask"), "completion_mask")]
        fields |= {
            "prompt_ids": token_ids(tokens.get("prompt_ids"), "prompt_ids"),
            "completion_ids": written,
            "completion_mask": mask if len(mask) == len(written) else None,
        }
        if found and len(found) == len(written):
            fields |= {"sampling_logprobs": found, "logprob_source": "sampler"}
    return fields


def _times(row: dict[str, Any]) -> dict[str, float]:
    """Milliseconds; a column of their own, or together in `timing`."""
    together = mapping(row.get("timing"), "timing")
    found = {name: number(row.get(name, together.get(name)), name) for name in TIMES}
    return {name: value for name, value in found.items() if value is not None}


def _usage(row: dict[str, Any]) -> dict[str, Any]:
    usage = mapping(row.get("token_usage"), "token_usage")
    return {"token_usage": usage} if usage else {}


def _info(row: dict[str, Any]) -> dict[str, Any]:
    info = row.get("info")
    return mapping(orjson.loads(info) if type(info) is str and info else info or None, "info")
