"""How a mini-swe-agent rollout ended: the recorder's words, mapped as far as they say.

**The agent names one limit for two reasons** (`LimitsExceeded`): the configured limits and the spent amounts
tell them apart, or the reason stays unknown.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tracelake.producers.importers.chat import TurnsBuilder
from tracelake.producers.importers.fields import mapping, number, text
from tracelake.schemas.events.rollout_events import RolloutEnded, StopReason
from tracelake.schemas.message import Message, content_text

SUBMIT_COMMAND = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


class Ending(NamedTuple):
    """A reason, and who cut the rollout off; null where nobody did or nobody says."""

    stop_reason: StopReason
    truncated: bool | None
    truncated_by: str | None = None


_ENDINGS: dict[str, Ending] = {
    "Submitted": Ending("completed", False),
    "FormatError": Ending("parse_error", None),
    "RepeatedFormatError": Ending("parse_error", None),
    "TimeExceeded": Ending("timeout", True, "timeout"),
    "Timeout": Ending("timeout", True, "timeout"),
    "ExecutionTimeoutError": Ending("timeout", True, "timeout"),
    "TimeoutExpired": Ending("timeout", True, "timeout"),
    "ContextWindowExceededError": Ending("max_tokens", True, "context_window"),
}


def rollout_ended(turns: TurnsBuilder, info: dict[str, Any], messages: list[Message]) -> RolloutEnded:
    stats = mapping(info.get("model_stats"), "model_stats")
    last = messages[-1]
    extra = mapping(last.get("extra"), "extra")
    status = text(info.get("exit_status"), "exit_status") or text(extra.get("exit_status"), "exit_status")
    submission = text(info.get("submission"), "submission")
    if submission is None:
        submission = text(extra.get("submission"), "submission")
    if not info and submission is None:
        submission = _submission_in_text(messages)
    ending = _ending(status, info, stats) if status else Ending("unknown", None)
    if status is None and submission is not None:
        ending = _ENDINGS["Submitted"]
    cost = number(stats.get("instance_cost"), "instance_cost")
    return RolloutEnded(
        rollout_id=turns.rollout_id,
        stop_reason=ending.stop_reason,
        exit_status=status,
        turn_count=turns.turn_count,
        truncated=ending.truncated,
        truncated_by=ending.truncated_by,
        error=text(info.get("traceback") or extra.get("traceback"), "traceback"),
        submission=submission,
        cost_usd=cost,
        metrics_json=turns.metrics_text(stats),
        source_position=len(messages) - 1,
    )


def _ending(status: str, info: dict[str, Any], stats: dict[str, Any]) -> Ending:
    if status == "LimitsExceeded":
        return _limit(mapping(mapping(info.get("config"), "config").get("agent"), "agent"), stats)
    known = _ENDINGS.get(status)
    if known:
        return known
    failed = status.endswith(("Error", "Exception"))
    return Ending("error" if failed else "unknown", None)


def _limit(agent: dict[str, Any], stats: dict[str, Any]) -> Ending:
    """Zero is no limit."""
    reached = {
        "max_turns": (
            number(stats.get("api_calls"), "api_calls"),
            number(agent.get("step_limit"), "step_limit"),
        ),
        "max_cost": (
            number(stats.get("instance_cost"), "cost"),
            number(agent.get("cost_limit"), "cost_limit"),
        ),
    }
    hit = [name for name, (spent, limit) in reached.items() if spent is not None and limit and spent >= limit]
    if hit == ["max_turns"]:
        return Ending("max_turns", True, "max_turns")
    if hit == ["max_cost"]:
        return Ending("max_cost", True, "max_cost")
    return Ending("unknown", True)


def _submission_in_text(messages: list[Message]) -> str | None:
    """Of a bare message list: what followed the submitting command, which the agent adds as a last user
    message."""
    if len(messages) < 2 or messages[-1].get("role") != "user" or messages[-2].get("role") != "assistant":
        return None
    asked = SUBMIT_COMMAND in content_text(messages[-2].get("content"))
    return content_text(messages[-1].get("content")) if asked else None
