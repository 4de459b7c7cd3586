"""Sessions of Claude Code: JSON lines that name the line before them in `parentUuid`.

Flow: lines → conversations → for each reply: its context along the parents → turns and tool results →
RolloutEnded.

**A conversation is one rollout**, identified by the session and the first line. A subagent, whose lines are a
side chain, is a rollout of its own; a compaction begins a new root of the same rollout.
**Lines with one message id are one reply**, recorded block by block. Results of parallel calls hang on the
line of their call; all of them join the next context.
**The recorder states what a reply has used before it is complete**: without a stop reason, the number of
completion tokens is unknown.
**A session may still go on**: a last reply that may not be whole is no turn yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tracelake.producers.importers.conversion.chat import call_names, read_message, result_text
from tracelake.producers.importers.conversion.fields import mapping, sequence
from tracelake.producers.importers.conversion.model_response import finish_fields
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.rollout_builder import Ending
from tracelake.producers.importers.conversion.tree_rollout import NewMessage, TreeRollout
from tracelake.producers.importers.identity import Identities
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
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import content_text

FORMAT = "claude-code"
LINES_SNIFFED = 20
SYNTHETIC = "<synthetic>"
"""The model of messages that the program itself wrote, such as an error of the API."""
_OF_LINE = (
    "uuid", "parentUuid", "logicalParentUuid", "sessionId", "isSidechain", "userType", "cwd", "version",
    "gitBranch", "type", "requestId", "slug", "agentId", "isMeta", "isCompactSummary", "todos", "origin",
    "permissionMode", "isVisibleInTranscriptOnly", "thinkingMetadata", "sourceToolAssistantUUID", "level",
    "imagePasteIds", "toolUseResult", "entrypoint", "promptId", "teamName",
)  # fmt: skip
_OF_REPLY = ("type", "stop_sequence", "container", "context_management", "stop_details")


@dataclass
class Line:
    """One line that is a part of a conversation."""

    position: int
    uuid: str
    parent: str | None
    record: Record
    type: str | None
    reply_id: str | None
    """The message id of a reply's block."""
    failed_calls: frozenset[str] = frozenset()
    """Calls whose result in this line is marked as an error."""
    turn: int | None = None
    """The turn that the line belongs to."""


@dataclass
class Conversation:
    """The lines of one rollout, in the order of the file."""

    session: str
    root: Line
    losses: Losses
    lines: list[Line] = field(default_factory=list)
    others: list[dict[str, Any]] = field(default_factory=list)
    """Lines without a place in a conversation, such as summaries."""
    results: dict[str, list[Line]] = field(default_factory=dict)
    """Lines with a result, by call id."""
    calls: dict[int | None, list[str]] = field(default_factory=dict)
    """Call ids by turn."""


def claims(source: Source) -> bool:
    if source.container == "json":
        return _is_message(as_object(source.document))
    if source.container != "jsonl" or type(as_object(source.first).get("type")) is not str:
        return False
    return any(_is_message(as_object(record.value)) for record in islice(source.records(), LINES_SNIFFED))


def _is_message(line: dict[str, Any]) -> bool:
    message = as_object(line.get("message"))
    return (
        line.get("type") in ("user", "assistant")
        and line.keys() >= {"uuid", "sessionId"}
        and message.get("role") == line["type"]
    )


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    identities = Identities("cc", source, options)
    others: list[dict[str, Any]] = []
    lines: dict[str, Line] = {}
    for record in source.records():
        try:
            if record.error is not None:
                raise record.error
            value = mapping(record.value, "line")
            if type(value.get("uuid")) is not str:
                others.append(value)
            elif value["uuid"] not in lines:
                lines[value["uuid"]] = _line(record.position, value)
        except SHAPE_ERRORS as error:
            yield refusal_of(error, line=record.position, data=record.data, format=FORMAT)
    conversations = _conversations(lines)
    if not conversations:
        yield Refusal(str(SourceFormatError("a session without messages", got=f"{len(others)} lines")))
    for conversation in conversations:
        try:
            conversation.others, others = others, []
            yield _imported(identities, options, lines, conversation)
        except SHAPE_ERRORS as error:
            yield refusal_of(error, line=conversation.root.position, format=FORMAT)


def _line(position: int, value: dict[str, Any]) -> Line:
    parent = value.get("parentUuid")
    message = as_object(value.get("message"))
    content = message.get("content")
    failed = frozenset(
        str(block.get("tool_use_id"))
        for block in map(as_object, content if type(content) is list else ())
        if block.get("is_error") is True
    )
    if type(content) is list:
        parts = [_without_error_mark(part) for part in content]
        value = {**value, "message": {**message, "content": parts}}
    is_reply = value.get("type") == "assistant" and message.get("role") == "assistant"
    if message.get("model") == SYNTHETIC or value.get("isApiErrorMessage"):
        is_reply = False
    reply_id = str(message.get("id") or value["uuid"]) if is_reply else None
    type_ = value.get("type") if message else None
    before = parent if type(parent) is str else None
    return Line(position, value["uuid"], before, Record(value, "$", Losses()), type_, reply_id, failed)


def _without_error_mark(part: Any) -> Any:
    if type(as_object(part).get("is_error")) is not bool:
        return part
    return {key: value for key, value in part.items() if key != "is_error"}


def _conversations(lines: dict[str, Line]) -> list[Conversation]:
    """By session and side chain. A compaction's root names the line that it continues."""
    found: dict[tuple[str, str], Conversation] = {}
    key_of: dict[str, tuple[str, str]] = {}
    for line in lines.values():
        source = line.record.source
        before = line.parent or source.get("logicalParentUuid")
        key = key_of.get(before) if type(before) is str else None
        if key is None:
            chain = ""
            if source.get("isSidechain"):
                chain = str(source.get("agentId") or line.uuid)
            key = (str(source.get("sessionId")), chain)
        key_of[line.uuid] = key
        if key not in found:
            found[key] = Conversation(key[0], line, Losses())
        line.record = Record(source, "$", found[key].losses)
        found[key].lines.append(line)
        for call_id in _result_ids(line) if line.type == "user" else ():
            found[key].results.setdefault(call_id, []).append(line)
    return [each for each in found.values() if any(line.type == "user" for line in each.lines)]


def _imported(
    identities: Identities, options: ImportOptions, lines: dict[str, Line], conversation: Conversation
) -> ImportedRollout:
    root, losses = conversation.root, conversation.losses
    first = next(line for line in conversation.lines if line.type == "user")
    question = as_object(first.record.source["message"]).get("content")
    agent = root.record.source.get("agentId")
    is_side = root.record.source.get("isSidechain") is True
    identity = identities.own("agent" if is_side else "session", conversation.session, root.uuid)
    rollout = TreeRollout(identity, losses)
    project = {key: root.record.source.get(key) for key in ("cwd", "gitBranch")}
    version = root.record.source.get("version")
    rollout.start(
        occurred_at=_time_of(root),
        task_key=f"{FORMAT}:{hash_of(question)[:16]}",
        environment=FORMAT,
        substrate=FORMAT,
        substrate_version=version if type(version) is str else None,
        source_run=options.run,
        group_id=conversation.session if is_side else None,
        task_json=canonical_text({"question": question, **project}),
        config_json=canonical_text({"session": conversation.session, "agent": agent}),
        source_position=root.position,
    )
    replies = _replies(conversation)
    waiting = _waiting_reply(conversation, replies)
    turn_of: dict[str, int] = {}
    joined: set[str] = set()
    for line in conversation.lines:
        reply_id = line.reply_id
        if reply_id is not None and reply_id not in turn_of and reply_id != waiting:
            reply = replies[reply_id]
            turn_of[reply_id] = _add_turn(rollout, lines, conversation, reply, joined)
            for each in reply:
                each.turn = turn_of[reply_id]
        elif line.type == "user":
            _add_results(rollout, line)
    return _end(rollout, conversation, replies.get(waiting or ""), joined)


def _replies(conversation: Conversation) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in conversation.lines:
        if line.reply_id is not None:
            found.setdefault(line.reply_id, []).append(line)
    return found


def _waiting_reply(conversation: Conversation, replies: dict[str, list[Line]]) -> str | None:
    """The reply at the very end, if more of it may follow."""
    last = conversation.lines[-1]
    if last.reply_id is None:
        return None
    message = as_object(replies[last.reply_id][-1].record.source.get("message"))
    content = message.get("content")
    block = as_object(content[-1]) if type(content) is list and content else {}
    is_text = type(content) is str or block.get("type") == "text"
    return None if is_text or message.get("stop_reason") == "end_turn" else last.reply_id


def _add_turn(
    rollout: TreeRollout,
    lines: dict[str, Line],
    conversation: Conversation,
    reply: list[Line],
    joined: set[str],
) -> int:
    """A reply, after the context that its parents and the results of its parent's calls give."""
    first, last = reply[0], reply[-1]
    path, parent = _path(lines, first)
    for call_id in conversation.calls.get(parent, ()):
        for line in conversation.results.get(call_id, ()):
            if line.position < first.position and line not in path:
                path.append(line)
    path.sort(key=lambda line: line.position)
    new: list[NewMessage] = []
    for line in path:
        joined.add(line.uuid)
        new += _messages(line)
    blocks: list[Any] = []
    for line in reply:
        content = as_object(line.record.source.get("message")).get("content")
        blocks += (
            [{"type": "text", "text": content}] if type(content) is str else sequence(content, "content")
        )
    message = Record(
        {**mapping(last.record.source["message"], "message"), "content": blocks},
        "$.message",
        conversation.losses,
    )
    action = read_message(message)[-1]
    if action["content"] is not None and len(action["content"]) == 1:
        action["content"] = content_text(action["content"])
    fields = _reply_fields(message, last)
    joined.update(line.uuid for line in reply)
    rests = {str(index): _rest_of_reply(line) for index, line in enumerate(reply)}
    rest = message.rest()
    extra = {key: value for key, value in {"lines": rests, "message": rest}.items() if value}
    holder = Record(extra, "$", conversation.losses)
    holder.keep(*extra)
    fields["source_position"] = first.position
    turn_index = rollout.add_turn_after(parent, new, action, fields, holder)
    conversation.calls[turn_index] = list(call_names(action))
    return turn_index


def _path(lines: dict[str, Line], line: Line) -> tuple[list[Line], int | None]:
    """User lines between a line and the reply before it, and the turn of that reply."""
    path: list[Line] = []
    seen = {line.uuid}
    current = lines.get(line.parent or "")
    while current is not None and current.uuid not in seen and current.position < line.position:
        seen.add(current.uuid)
        if current.turn is not None:
            return path, current.turn
        if current.type == "user":
            path.append(current)
        current = lines.get(current.parent or "")
    return path, None


def _messages(line: Line) -> list[NewMessage]:
    """What the model saw of a line; its rest goes to the turn that first saw it."""
    line.record.keep(*_OF_LINE)
    _time_of(line)
    found = read_message(line.record.record("message"))
    return [(message, line.record) for message in found]


def _result_ids(line: Line) -> set[str]:
    content = as_object(line.record.source.get("message")).get("content")
    blocks = map(as_object, content) if type(content) is list else ()
    return {
        str(block["tool_use_id"])
        for block in blocks
        if block.get("type") == "tool_result" and "tool_use_id" in block
    }


def _add_results(rollout: TreeRollout, line: Line) -> None:
    source = line.record.source
    content = as_object(source.get("message")).get("content")
    for block in map(as_object, content) if type(content) is list else ():
        call = rollout.calls.get(str(block.get("tool_use_id")))
        if block.get("type") != "tool_result" or call is None:
            continue
        call_id = str(block["tool_use_id"])
        if rollout.has_result(call.turn_index, call_id):
            continue
        visible = result_text({"role": "tool", "content": _texts(block.get("content"))})
        raw = source.get("toolUseResult")
        details = as_object(raw)
        output = "\n".join(
            part for part in (details.get("stdout"), details.get("stderr")) if type(part) is str and part
        )
        duration = Record(details, "$.toolUseResult", line.record.losses).number("durationMs")
        fields = {
            "tool_call_id": call_id,
            "tool_name": call.tool_name,
            "visible_output": visible,
            "raw_output": raw if type(raw) is str else output if "stdout" in details else None,
            "error": visible if call_id in line.failed_calls else None,
            "duration_ms": duration,
            "occurred_at": _time_of(line),
            "source_position": line.position,
        }
        rollout.add_result_of(call.turn_index, fields)


def _texts(content: Any) -> Any:
    """Without marks that are no content."""
    if type(content) is not list:
        return content if type(content) is str else None if content is None else canonical_text(content)
    return [
        {"type": "text", "text": part["text"]}
        if as_object(part).get("type") == "text" and "text" in part
        else part
        for part in content
    ]


def _reply_fields(message: Record, last: Line) -> dict[str, Any]:
    usage = message.record("usage")
    fresh, written = usage.integer("input_tokens"), usage.integer("cache_creation_input_tokens")
    cached, completion = usage.integer("cache_read_input_tokens"), usage.integer("output_tokens")
    reason = message.text("stop_reason")
    usage.keep("service_tier", "server_tool_use", "cache_creation", "inference_geo", "speed", "iterations")
    if reason is None and completion is not None:
        # It was written while the reply was still streamed.
        completion = None
        message.note("completion tokens of replies without a stop reason are unknown")
    message.keep(*_OF_REPLY)
    return {
        "occurred_at": _time_of(last),
        "model_served": message.text("model"),
        "response_id": message.text("id"),
        **finish_fields(reason),
        "prompt_token_count": None if fresh is None else fresh + (written or 0) + (cached or 0),
        "cached_token_count": cached,
        "completion_token_count": completion,
        "cost_usd": last.record.number("costUSD"),
        "latency_ms": last.record.number("durationMs"),
    }


def _rest_of_reply(line: Line) -> dict[str, Any]:
    """What is left of one line of a reply; its message is that of the whole reply."""
    line.record.keep(*_OF_LINE)
    _time_of(line)
    message = line.record.record("message")
    message.has_read("content", "role", "id", "model")
    message.keep("usage", "stop_reason", *_OF_REPLY)
    return line.record.rest()


def _time_of(line: Line) -> Any:
    return line.record.moment("timestamp")


def _end(
    rollout: TreeRollout, conversation: Conversation, waiting: list[Line] | None, joined: set[str]
) -> ImportedRollout:
    others = list(conversation.others)
    errors: list[str] = []
    for line in conversation.lines:
        if line.uuid in joined:
            continue
        message = as_object(line.record.source.get("message"))
        if line.type == "user":
            for each, record in _messages(line):
                rollout.add_context(each, record)
            continue
        if message.get("model") == SYNTHETIC or line.record.source.get("isApiErrorMessage"):
            errors.append(content_text(message.get("content")))
        others.append({**line.record.take_all()})
    last = next((line for line in reversed(conversation.lines) if line.type is not None), None)
    is_answer = last is not None and last.turn is not None
    error = errors[-1] if errors and not is_answer else None
    stop = "completed" if is_answer else "error" if error else "unfinished"
    return rollout.end(
        Ending(stop, False if is_answer else None),
        metrics={"other_lines": others} if others else {},
        recording_length=len(conversation.lines),
        error=error,
        source_position=conversation.lines[-1].position,
    )


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "system prompt and tool definitions",
        "sampling parameters",
        "cost of most versions",
        "completion tokens of replies without a stop reason",
        "token ids and logprobs",
        "reward",
    ),
)
