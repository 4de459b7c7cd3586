"""SWE-agent's `*.traj`, 0.x to 1.1: one turn for each trajectory entry, its observation as the tool result.

Flow: entries and history → the context, action and visible observation of each call (`PolicyView`) → turns
and tool results.

Three versions record the context differently: `query` (the input of the call, 1.1), `messages` (the context
after the call, 1.0), or one `history` of the whole run (all).

**A context that the source states is taken as stated.** One rebuilt from the history is noted as rebuilt,
because history processors may have shortened what the model saw.
**The observation is the raw output of the tool; what the model saw of it is in the context** that follows.
**Structured calls and call ids exist only in messages**: if no message has them, they are null.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any, NamedTuple

import orjson

from tracelake.producers.importers.conversion.chat import chat_message
from tracelake.producers.importers.conversion.fields import mapping, number, sequence, text, without_secrets
from tracelake.producers.importers.conversion.rollout_builder import Ending, RolloutBuilder
from tracelake.producers.importers.importer import (
    SHAPE_ERRORS,
    Companions,
    ImportedRollout,
    Importer,
    ParsedSource,
    Refusal,
    SourceFile,
    refusal_of,
    rollout_id_of,
)
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.events.rollout_events import RolloutEnded, RolloutStarted
from tracelake.schemas.message import Message, content_text

FORMAT = "swe-agent"
AGENT_KEYS = ("agent", "message_type")

# The first word that an exit status contains decides.
_ENDINGS: tuple[tuple[str, Ending], ...] = (
    ("cost", Ending("max_cost", True, "max_cost")),
    ("context", Ending("max_tokens", True, "context_window")),
    ("timeout", Ending("timeout", True, "timeout")),
    ("total_execution_time", Ending("timeout", True, "timeout")),
    ("format", Ending("parse_error", None)),
    ("error", Ending("error", None)),
    ("api", Ending("error", None)),
)


def claims(parsed: ParsedSource) -> bool:
    """Claims a history without a trajectory too, so that it is refused with the reason instead of skipped."""
    document = parsed.document
    if not isinstance(document, dict):
        return False
    trajectory = document.get("trajectory")
    if isinstance(trajectory, list):
        return not trajectory or any(
            isinstance(entry, dict) and "action" in entry and "observation" in entry for entry in trajectory
        )
    history = document.get("history")
    return isinstance(history, list) and any(
        isinstance(message, dict) and "role" in message and any(key in message for key in AGENT_KEYS)
        for message in history
    )


def read(parsed: ParsedSource, companions: Companions) -> Iterator[ImportedRollout | Refusal]:
    try:
        yield _imported(parsed.source, mapping(parsed.document, "file"))
    except SHAPE_ERRORS as error:
        yield refusal_of(error, data=parsed.source.data, format=FORMAT)


def _imported(source: SourceFile, document: dict[str, Any]) -> ImportedRollout:
    trajectory = sequence(document.get("trajectory"), "trajectory")
    if not trajectory:
        raise SourceFormatError(
            "a SWE-agent file without a trajectory",
            got=f"keys {', '.join(sorted(document))}",
            expected="`trajectory`, a list of at least one action",
            cure="A history alone does not say which replies ran; export the run again.",
        )
    entries = [mapping(entry, "trajectory") for entry in trajectory]
    rollout = RolloutBuilder(rollout_id_of("swe", source.stem, [source.name]))
    views = _policy_views(entries, sequence(document.get("history"), "history"))
    started = _started(source, document, rollout.rollout_id)
    rollout.events.append(started)
    for index, (entry, view) in enumerate(zip(entries, views, strict=True)):
        fields = {"model_requested": started.model_requested, "source_position": index}
        rollout.add_turn_at(view.context, view.action, fields)
        if entry.get("observation") is not None:
            rollout.add_tool_result(_result_fields(index, entry, view))
    ended = _ended(rollout, mapping(document.get("info"), "info"))
    return rollout.imported(ended, notes=_notes(views, document))


def _started(source: SourceFile, document: dict[str, Any], rollout_id: str) -> RolloutStarted:
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


class PolicyView(NamedTuple):
    """One call as the policy saw it: the whole context before it, its action, and the observation after
    it."""

    context: list[Message]
    action: Message
    observation: Message | None
    """Null if no call followed that could see it."""
    rebuilt: bool
    """The context comes from the history."""
    dropped: bool
    """The action is not in the history: it never joined the context."""


class History(NamedTuple):
    """The messages of the whole run, with the position of each trajectory entry's reply among them."""

    messages: list[Message]
    position_of: dict[int, int]


def _policy_views(entries: list[dict[str, Any]], history_messages: list[Any]) -> list[PolicyView]:
    history = _history(entries, history_messages)
    stated_contexts = [_stated_context(entry) for entry in entries]
    views: list[PolicyView] = []
    for index, entry in enumerate(entries):
        stated = stated_contexts[index]
        is_last = index + 1 == len(entries)
        next_stated = None if is_last else stated_contexts[index + 1]
        position = history.position_of.get(index)
        action = _action(entry, stated, next_stated, history, position)
        if stated is None:
            end = _context_end(history, index) if position is None else position
            context = _context_from_history(history, end, entries)
        else:
            context = stated
        observation = None if is_last else _observation(context, action, next_stated, history, position)
        dropped = stated is None and position is None and not is_last
        views.append(PolicyView(context, action, observation, stated is None, dropped))
    return views


def _history(entries: list[dict[str, Any]], history_messages: list[Any]) -> History:
    """Replies are matched to entries by their commands, in order: some published files have edits in the text
    around the commands."""
    messages = [mapping(message, "history") for message in history_messages]
    replies = [
        position
        for position, message in enumerate(messages)
        if message.get("role") == "assistant" and not message.get("is_demo")
    ]
    reply_commands = [_command(messages[position], "content") for position in replies]
    entry_commands = [_command(entry, "response") for entry in entries]
    position_of: dict[int, int] = {}
    matcher = SequenceMatcher(None, entry_commands, reply_commands, autojunk=False)
    for block in matcher.get_matching_blocks():
        for offset in range(block.size):
            position_of[block.a + offset] = replies[block.b + offset]
    return History(_messages(messages), position_of)


def _command(record: dict[str, Any], fallback: str) -> str:
    command = record.get("action")
    return str(record.get(fallback) if command is None else command).strip()


def _messages(found: Any) -> list[Message]:
    return [_message(mapping(message, "history")) for message in sequence(found, "history")]


def _message(message: dict[str, Any]) -> Message:
    """SWE-agent stores the ids of answered calls as a list."""
    result = chat_message(message)
    ids = sequence(message.get("tool_call_ids"), "tool_call_ids")
    if result["role"] == "tool" and ids:
        result["tool_call_id"] = text(ids[0], "tool_call_ids")
    return result


def _stated_context(entry: dict[str, Any]) -> list[Message] | None:
    """The input of the call as its entry states it; null if it does not."""
    if entry.get("query"):
        return _messages(entry["query"])
    if not entry.get("messages"):
        return None
    after = _messages(entry["messages"])
    replies = [position for position, message in enumerate(after) if message["role"] == "assistant"]
    if not replies or after[replies[-1]]["content"] != entry.get("response"):
        return None
    return after[: replies[-1]]


def _action(
    entry: dict[str, Any],
    stated: list[Message] | None,
    next_stated: list[Message] | None,
    history: History,
    position: int | None,
) -> Message:
    if stated is not None and next_stated is not None and len(next_stated) > len(stated):
        recorded = next_stated[len(stated)]
        if recorded["role"] == "assistant" and recorded["content"] == entry.get("response"):
            return recorded
    return _reply(entry, None if position is None else history.messages[position])


def _reply(entry: dict[str, Any], recorded: Message | None) -> Message:
    """The reply of an entry, with the structured calls of its message."""
    action: Message = {"role": "assistant", "content": text(entry.get("response"), "response")}
    if recorded and "tool_calls" in recorded:
        action["tool_calls"] = recorded["tool_calls"]
    return action


def _context_end(history: History, index: int) -> int:
    """Where the context of a call ends whose reply is not in the history: after the observation of the call
    before it."""
    earlier = [position for entry, position in history.position_of.items() if entry < index]
    end = max(earlier, default=-1) + 1
    while end < len(history.messages) and history.messages[end]["role"] != "assistant":
        end += 1
    return end


def _context_from_history(history: History, end: int, entries: list[dict[str, Any]]) -> list[Message]:
    """The history up to `end`, with replies as the trajectory records them, so that contexts continue
    actions."""
    context = list(history.messages[:end])
    for index, position in history.position_of.items():
        if position < end:
            context[position] = _reply(entries[index], history.messages[position])
    return context


def _observation(
    context: list[Message],
    action: Message,
    next_stated: list[Message] | None,
    history: History,
    position: int | None,
) -> Message | None:
    """The message that follows the action, in the next call's context or in the history."""
    if next_stated is not None:
        continues = len(next_stated) > len(context) + 1 and next_stated[len(context)] == action
        return next_stated[len(context) + 1] if continues else None
    if position is not None and position + 1 < len(history.messages):
        answer = history.messages[position + 1]
        return answer if answer["role"] in ("user", "tool") else None
    return None


def _result_fields(index: int, entry: dict[str, Any], view: PolicyView) -> dict[str, Any]:
    raw = text(entry.get("observation"), "observation")
    visible = None if view.observation is None else content_text(view.observation["content"])
    calls: list[Message] = view.action.get("tool_calls") or []
    elapsed_s = number(entry.get("execution_time"), "execution_time")
    return {
        "tool_call_id": calls[0]["id"] if len(calls) == 1 else None,
        "tool_name": calls[0]["function"]["name"] if len(calls) == 1 else None,
        "raw_output": raw,
        "visible_output": visible,
        "visible_truncated": _truncated(raw, visible),
        "duration_ms": None if elapsed_s is None else number(elapsed_s * 1000, "execution_time"),
        "source_position": index,
    }


def _truncated(raw: str | None, visible: str | None) -> bool | None:
    """Whether the model saw less than the tool returned; null if that is unknown."""
    if raw is None or visible is None:
        return None
    if raw.strip() in visible:
        return False
    return True if len(visible) < len(raw) else None


def _ended(rollout: RolloutBuilder, info: dict[str, Any]) -> RolloutEnded:
    status = text(info.get("exit_status"), "exit_status")
    ending = _ending(status)
    stats = mapping(info.get("model_stats"), "model_stats")
    cost = number(stats.get("instance_cost"), "instance_cost")
    # A replayed demonstration counts nothing: zero tokens sent means that no cost was measured.
    measured = bool(number(stats.get("tokens_sent"), "tokens_sent"))
    return RolloutEnded(
        rollout_id=rollout.rollout_id,
        stop_reason=ending.stop_reason,
        exit_status=status,
        turn_count=rollout.turn_count,
        truncated=ending.truncated,
        truncated_by=ending.truncated_by,
        submission=text(info.get("submission"), "submission"),
        cost_usd=cost if measured else None,
        metrics_json=rollout.metrics_text(stats),
    )


def _ending(status: str | None) -> Ending:
    """`submitted (exit_cost)` means that the agent hit the limit and submitted what it had."""
    if status == "submitted":
        return Ending("completed", False)
    if status:
        for word, ending in _ENDINGS:
            if word in status:
                return ending
    return Ending("unknown", None)


def _notes(views: list[PolicyView], document: dict[str, Any]) -> tuple[str, ...]:
    notes: list[str] = []
    if any(view.rebuilt for view in views):
        notes.append(
            "contexts were rebuilt from the history; history processors may have shortened what was sent"
        )
    dropped_count = sum(view.dropped for view in views)
    if dropped_count:
        notes.append(f"{dropped_count} replies are not in the history: taken as dropped from the context")
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
