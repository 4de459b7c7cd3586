"""SWE-agent's `*.traj`, 0.x to 1.1: one turn for each trajectory entry, its observation as the tool result.

Flow: entries and history → the context, action and visible observation of each call (`PolicyView`) → turns
and tool results.

Three versions record the context differently: `query` (the input of the call, 1.1), `messages` (the context
after the call, 1.0), or one `history` of the whole run (all).

**A context that the source states is taken as stated.** One rebuilt from the history is noted as rebuilt,
because history processors may have shortened what the model saw.
**The observation is the raw output of the tool; what the model saw of it is in the context** that follows.
**Structured calls, call ids and thinking exist only in messages**: if no message has them, they are null.
**A run that grows keeps its identity**: the task, and the first call with its duration.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any, NamedTuple

import orjson

from tracelake.producers.importers.conversion.chat import read_message
from tracelake.producers.importers.conversion.fields import mapping, sequence, text, without_secrets
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.rollout_builder import Ending, RolloutBuilder
from tracelake.producers.importers.identity import Identities, RolloutIdentity
from tracelake.producers.importers.importer import (
    SHAPE_ERRORS,
    ImportedRollout,
    Importer,
    ImportOptions,
    Refusal,
    as_object,
    refusal_of,
)
from tracelake.producers.importers.losses import Losses
from tracelake.producers.importers.source import Source
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message, content_text

FORMAT = "swe-agent"
AGENT_KEYS = ("agent", "message_type")
ENTRY_MARKS = ("response", "thought", "state", "query", "execution_time")
NO_CONTEXT = "no part of what the model saw"

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


def claims(source: Source) -> bool:
    """Claims a history without a trajectory, and bare attempts, too: they are refused with the reason instead
    of skipped."""
    document = as_object(source.document)
    trajectory = document.get("trajectory")
    if isinstance(trajectory, list):
        if not trajectory:
            return "history" in document or "info" in document
        entries = [as_object(entry) for entry in trajectory]
        return any({"action", "observation"} <= entry.keys() for entry in entries) and any(
            mark in entry for entry in entries for mark in ENTRY_MARKS
        )
    history = document.get("history")
    if isinstance(history, list):
        messages = [as_object(message) for message in history]
        return any("role" in message and any(key in message for key in AGENT_KEYS) for message in messages)
    attempts = document.get("attempts")
    return isinstance(attempts, list) and any("trajectory" in as_object(attempt) for attempt in attempts)


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    try:
        yield _imported(source, options, Record(mapping(source.document, "file"), "$", Losses()))
    except SHAPE_ERRORS as error:
        yield refusal_of(error, format=FORMAT)


def _imported(source: Source, options: ImportOptions, whole: Record) -> ImportedRollout:
    if whole.source.get("trajectory") is None:
        raise SourceFormatError(
            "a SWE-agent file without a trajectory",
            got=f"keys {', '.join(sorted(whole.source))[:200]}",
            expected="`trajectory`, a list of actions",
            cure="A history or attempts alone do not say which replies ran; export the run again.",
        )
    entries = whole.records("trajectory")
    config = _config(whole)
    history = whole.records("history")
    rollout = RolloutBuilder(_identity(source, options, config, entries, history), whole.losses)
    model = _start(rollout, source, options, whole, config)
    views = _policy_views(entries, history)
    for index, (entry, view) in enumerate(zip(entries, views, strict=True)):
        entry.has_read("action", "response", "messages", "query")
        if str(entry.source.get("thought") or "") in str(entry.source.get("response") or ""):
            entry.drop("a part of the response", "thought")
        entry.keep("state", "extra_info", "thought", "thinking_blocks", "tool_calls", "tool_call_ids")
        fields: dict[str, Any] = {"model_requested": model, "source_position": index}
        has_result = entry.source.get("observation") is not None
        result = _result_fields(index, entry, view) if has_result else None
        rollout.add_turn_at(view.context, view.action, fields, entry, context_records=view.records)
        if result is not None:
            rollout.add_tool_result(result)
    return _end(rollout, whole, views)


def _config(whole: Record) -> dict[str, Any]:
    replay = whole.take("replay_config")
    return mapping(orjson.loads(replay) if type(replay) is str else replay, "replay_config")


def _identity(
    source: Source,
    options: ImportOptions,
    config: dict[str, Any],
    entries: list[Record],
    history: list[Record],
) -> RolloutIdentity:
    first = entries[0].source if entries else {}
    task = [message.source.get("content") for message in history[:2]]
    start = first.get("query") or task
    identities = Identities("swe", source, options, stable_parts=3)
    return identities.content(
        _stem(source),
        config,
        start,
        first.get("response"),
        first.get("execution_time"),
        is_unique=bool(entries),
    )


def _stem(source: Source) -> str:
    """The recorder names the file after the instance."""
    return source.parts[-1].split(".traj")[0]


def _start(
    rollout: RolloutBuilder, source: Source, options: ImportOptions, whole: Record, config: dict[str, Any]
) -> str | None:
    """Returns the model's name."""
    replay = Record(config, "$.replay_config", whole.losses)
    model = replay.record("agent").record("model")
    problem = replay.record("problem_statement")
    image = replay.record("env").record("deployment").text("image")
    name = model.text("name")
    sampling = {
        key: model.source[key]
        for key in ("temperature", "top_p", "stop", "completion_kwargs")
        if key in model.source
    }
    environment = whole.text("environment")
    rollout.start(
        task_key=problem.label("id") or _stem(source),
        environment="swebench" if "swebench" in str(image).lower() else environment or FORMAT,
        substrate=FORMAT,
        source_run=options.run,
        model_requested=name,
        sampling_json=canonical_text(without_secrets(sampling)) if sampling else None,
        task_json=canonical_text(problem.source) if problem.source else None,
        config_json=canonical_text(without_secrets(config)) if config else None,
    )
    return name


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
    records: list[Record]
    """Those of a stated context; none for a rebuilt one."""


class History(NamedTuple):
    """The messages of the whole run, with the position of each trajectory entry's reply among them."""

    messages: list[Message]
    position_of: dict[int, int]


def _policy_views(records: list[Record], history_records: list[Record]) -> list[PolicyView]:
    entries = [record.source for record in records]
    history = _history(entries, history_records)
    context_records = [_context_records(record) for record in records]
    stated_contexts = [
        _stated_context(entry, stated) for entry, stated in zip(entries, context_records, strict=True)
    ]
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
        stated_records = [] if stated is None else context_records[index][: len(stated)]
        views.append(PolicyView(context, action, observation, stated is None, dropped, stated_records))
    return views


def _history(entries: list[dict[str, Any]], history_records: list[Record]) -> History:
    """Replies are matched to entries by their commands, in order: some published files have edits in the text
    around the commands."""
    messages = [record.source for record in history_records]
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
    return History([_message(record) for record in history_records], position_of)


def _command(record: dict[str, Any], fallback: str) -> str:
    command = record.get("action")
    return str(record.get(fallback) if command is None else command).strip()


def _message(record: Record) -> Message:
    """SWE-agent stores the ids of answered calls as a list."""
    [result] = read_message(record)
    ids = sequence(record.take("tool_call_ids"), "tool_call_ids")
    if result["role"] == "tool" and ids:
        result["tool_call_id"] = text(ids[0], "tool_call_ids")
    record.drop(NO_CONTEXT, *AGENT_KEYS, "is_demo", "tags", "cache_control")
    record.drop("a part of the content", "thought", "action")
    return result


def _context_records(entry: Record) -> list[Record]:
    """The messages that an entry states: the input of its call, or the context after it."""
    return entry.detached("query") if entry.source.get("query") else entry.detached("messages")


def _stated_context(entry: dict[str, Any], stated: list[Record]) -> list[Message] | None:
    """The input of the call as its entry states it; null if it does not."""
    messages = [_message(record) for record in stated]
    if entry.get("query"):
        return messages
    replies = [position for position, message in enumerate(messages) if message["role"] == "assistant"]
    if not replies or messages[replies[-1]]["content"] != entry.get("response"):
        return None
    return messages[: replies[-1]]


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
    for key in ("tool_calls", "thinking_blocks", "reasoning_content"):
        if recorded and key in recorded:
            action[key] = recorded[key]
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


def _result_fields(index: int, entry: Record, view: PolicyView) -> dict[str, Any]:
    raw = entry.text("observation")
    visible = None if view.observation is None else content_text(view.observation["content"])
    calls: list[Message] = view.action.get("tool_calls") or []
    return {
        "tool_call_id": calls[0]["id"] if len(calls) == 1 else None,
        "tool_name": calls[0]["function"]["name"] if len(calls) == 1 else None,
        "raw_output": raw,
        "visible_output": visible,
        "visible_truncated": _truncated(raw, visible),
        "duration_ms": entry.milliseconds("execution_time"),
        "source_position": index,
    }


def _truncated(raw: str | None, visible: str | None) -> bool | None:
    """Whether the model saw less than the tool returned; null if that is unknown."""
    if raw is None or visible is None:
        return None
    if raw.strip() in visible:
        return False
    return True if len(visible) < len(raw) else None


def _end(rollout: RolloutBuilder, whole: Record, views: list[PolicyView]) -> ImportedRollout:
    info = whole.record("info")
    status = info.text("exit_status")
    ending = _ending(status) if rollout.turn_count else Ending("error", None)
    stats = info.record("model_stats")
    cost = stats.number("instance_cost")
    # A replayed demonstration counts nothing: zero tokens sent means that no cost was measured.
    measured = bool(stats.number("tokens_sent"))
    metrics = dict(stats.take_all())
    info.keep("summarizer", "edited_files30", "edited_files50", "edited_files70", "swe_agent_hash")
    info.keep("swe_agent_version", "swe_rex_version", "swe_rex_hash", "review", "score", "best_attempt_idx")
    _note(views, whole)
    return rollout.end(
        ending,
        whole,
        metrics=metrics,
        recording_length=len(views),
        exit_status=status,
        submission=info.text("submission"),
        cost_usd=cost if measured else None,
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


def _note(views: list[PolicyView], whole: Record) -> None:
    if any(view.rebuilt for view in views):
        whole.note(
            "contexts were rebuilt from the history; history processors may have shortened what was sent"
        )
    dropped_count = sum(view.dropped for view in views)
    if dropped_count:
        whole.note(f"{dropped_count} replies are not in the history: taken as dropped from the context")
    attempts = sequence(whole.source.get("attempts"), "attempts")
    if attempts:
        whole.note(f"{len(attempts)} attempts: only the chosen one was taken")
        whole.drop("attempts that the agent did not choose", "attempts")


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
