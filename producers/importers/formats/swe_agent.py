"""SWE-agent's `*.traj`, 0.x to 1.1: one turn for each trajectory entry, its observation as the tool result.

**The observation is what the tool said; what the model saw of it stands in the context** that follows.
**Structured calls and call ids exist only in messages**: where no message carries them, they are null.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from tracelake.producers.importers.chat import TurnsBuilder
from tracelake.producers.importers.fields import mapping, number, sequence, text, without_secrets
from tracelake.producers.importers.formats.swe_agent_context import Seen, seen_by_policy
from tracelake.producers.importers.source import (
    SHAPE_ERRORS,
    Imported,
    Importer,
    Opened,
    Refused,
    Siblings,
    refused,
    rollout_id_of,
)
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.events.rollout_events import RolloutEnded, RolloutStarted, StopReason, ToolReturned
from tracelake.schemas.message import Message, content_text

FORMAT = "swe-agent"
AGENT_ROLES = ("agent", "message_type")

_STOPS: tuple[tuple[str, StopReason, str | None], ...] = (
    ("cost", "max_cost", "max_cost"),
    ("context", "max_tokens", "context_window"),
    ("timeout", "timeout", "timeout"),
    ("total_execution_time", "timeout", "timeout"),
    ("format", "parse_error", None),
    ("error", "error", None),
    ("api", "error", None),
)


def claims(opened: Opened) -> bool:
    """A history without a trajectory is claimed too, so that it is refused with the reason and not
    passed over."""
    document = opened.document
    if not isinstance(document, dict):
        return False
    trajectory = document.get("trajectory")
    if isinstance(trajectory, list):
        return not trajectory or any(
            isinstance(entry, dict) and "action" in entry and "observation" in entry for entry in trajectory
        )
    history = document.get("history")
    return isinstance(history, list) and any(
        isinstance(message, dict) and "role" in message and any(key in message for key in AGENT_ROLES)
        for message in history
    )


def read(opened: Opened, siblings: Siblings) -> Iterator[Imported | Refused]:
    try:
        yield _imported(opened)
    except SHAPE_ERRORS as error:
        yield refused(error, data=opened.source.data, format=FORMAT)


def _imported(opened: Opened) -> Imported:
    document = mapping(opened.document, "file")
    entries = _entries(document)
    source = opened.source
    rollout_id = rollout_id_of("swe", source.stem, [source.name])
    seen = seen_by_policy(entries, sequence(document.get("history"), "history"))
    turns = TurnsBuilder(rollout_id)
    started = _started(opened, document, rollout_id)
    turns.events.append(started)
    result_count = 0
    for index, (entry, view) in enumerate(zip(entries, seen, strict=True)):
        turns.add_turn_at(view.context, view.action, _turn_fields(index, started))
        if entry.get("observation") is not None:
            turns.events.append(_result(rollout_id, index, entry, view))
            result_count += 1
    ended = _ended(turns, mapping(document.get("info"), "info"))
    turns.events.append(ended)
    return Imported(
        rollout_id,
        turns.events,
        len(entries),
        result_count,
        cost_usd=ended.cost_usd or 0.0,
        notes=_notes(seen, document),
    )


def _entries(document: dict[str, Any]) -> list[dict[str, Any]]:
    found = sequence(document.get("trajectory"), "trajectory")
    if not found:
        raise SourceFormatError(
            "a SWE-agent file without a trajectory",
            got=f"keys {', '.join(sorted(document))}",
            expected="`trajectory`, a list of at least one action",
            cure="A history alone does not say which replies ran; export the run again.",
        )
    return [mapping(entry, "trajectory") for entry in found]


def _turn_fields(index: int, started: RolloutStarted) -> dict[str, Any]:
    return {"model_requested": started.model_requested, "source_position": index}


def _result(rollout_id: str, index: int, entry: dict[str, Any], view: Seen) -> ToolReturned:
    raw = text(entry.get("observation"), "observation")
    seen = None if view.observation is None else content_text(view.observation["content"])
    calls: list[Message] = view.action.get("tool_calls") or []
    elapsed_s = number(entry.get("execution_time"), "execution_time")
    return ToolReturned(
        rollout_id=rollout_id,
        turn_index=index,
        call_index=0,
        tool_call_id=calls[0]["id"] if len(calls) == 1 else None,
        tool_name=calls[0]["function"]["name"] if len(calls) == 1 else None,
        raw_output=raw,
        visible_output=seen,
        visible_truncated=_cut(raw, seen),
        duration_ms=None if elapsed_s is None else number(elapsed_s * 1000, "execution_time"),
        source_position=index,
    )


def _cut(raw: str | None, seen: str | None) -> bool | None:
    if raw is None or seen is None:
        return None
    if raw.strip() in seen:
        return False
    return True if len(seen) < len(raw) else None


def _started(opened: Opened, document: dict[str, Any], rollout_id: str) -> RolloutStarted:
    source = opened.source
    replay = document.get("replay_config")
    config = mapping(orjson.loads(replay) if type(replay) is str else replay, "replay_config")
    agent = mapping(config.get("agent"), "replay_config.agent")
    model = mapping(agent.get("model"), "replay_config.agent.model")
    problem = mapping(config.get("problem_statement"), "replay_config.problem_statement")
    image = mapping(mapping(config.get("env"), "env").get("deployment"), "deployment").get("image")
    sampling = {
        name: model[name] for name in ("temperature", "top_p", "stop", "completion_kwargs") if name in model
    }
    return RolloutStarted(
        rollout_id=rollout_id,
        task_key=text(problem.get("id"), "problem_statement.id") or source.stem,
        environment="swebench" if "swebench" in str(image).lower() else FORMAT,
        substrate=FORMAT,
        source_run=source.parts[-2] if len(source.parts) > 1 else None,
        model_requested=text(model.get("name"), "model.name"),
        sampling_json=canonical_text(without_secrets(sampling)) if sampling else None,
        task_json=canonical_text(problem) if problem else None,
        config_json=canonical_text(without_secrets(config)) if config else None,
    )


def _ended(turns: TurnsBuilder, info: dict[str, Any]) -> RolloutEnded:
    status = text(info.get("exit_status"), "exit_status")
    stop_reason, cut, cut_by = _stopped(status)
    stats = mapping(info.get("model_stats"), "model_stats")
    cost = number(stats.get("instance_cost"), "instance_cost")
    # A replayed demonstration counts nothing: zero tokens sent means that no cost was measured.
    measured = bool(number(stats.get("tokens_sent"), "tokens_sent"))
    return RolloutEnded(
        rollout_id=turns.rollout_id,
        stop_reason=stop_reason,
        exit_status=status,
        turn_count=turns.turn_count,
        truncated=cut,
        truncated_by=cut_by,
        submission=text(info.get("submission"), "submission"),
        cost_usd=cost if measured else None,
        metrics_json=turns.metrics_text(stats),
    )


def _stopped(status: str | None) -> tuple[StopReason, bool | None, str | None]:
    """`submitted (exit_cost)` means that the limit was hit and what was there was handed in."""
    if status == "submitted":
        return "completed", False, None
    for mark, reason, cut_by in _STOPS:
        if status and mark in status:
            return reason, True if cut_by else None, cut_by
    return "unknown", None, None


def _notes(seen: list[Seen], document: dict[str, Any]) -> tuple[str, ...]:
    notes = []
    if any(view.rebuilt for view in seen):
        notes.append(
            "contexts were rebuilt from the history; history processors may have shortened what was sent"
        )
    dropped = sum(view.dropped for view in seen)
    if dropped:
        notes.append(f"{dropped} replies are not in the history: taken as dropped from the context")
    if document.get("attempts"):
        notes.append(f"{len(document['attempts'])} attempts: only the chosen one was taken")
    notes.append("the environment's state after each action (open file, folder) was not taken over")
    return tuple(notes)


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "tool definitions",
        "model served, response id, usage and cost of each call",
        "times of day",
        "token ids and logprobs",
        "return codes",
        "rewards",
    ),
)
