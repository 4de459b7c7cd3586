"""mini-swe-agent's `*.traj.json`: 1.1 with tool calls and whole responses, 1 with commands in the text, and
bare message lists.

Flow: file → `Trajectory` → RolloutStarted → a turn for each reply, a result for each observation →
RolloutEnded.

**The rollout is identified by its first model call**, which the provider named: a copy of the file elsewhere
is the same rollout. Only if calls have no ids does the path identify it.
**The path does not enter the facts**, or a copy would contradict its original; the events' origin names the
run.
**A reply that was dropped for its format is a turn without a child**: the recorder stores it only in the
complaint that followed it.
**The submitting command has no result**: the agent stops before it observes one.
**API keys are not carried over**: the recorder writes `model_kwargs` with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tracelake.producers.importers.conversion.chat import chat_content, chat_message
from tracelake.producers.importers.conversion.fields import (
    integer,
    label,
    mapping,
    moment,
    number,
    sequence,
    text,
    without_secrets,
)
from tracelake.producers.importers.conversion.model_response import (
    completion_fields,
    response_fields,
    response_message,
)
from tracelake.producers.importers.conversion.rollout_builder import Ending, RolloutBuilder
from tracelake.producers.importers.importer import (
    SHAPE_ERRORS,
    Companions,
    ImportedRollout,
    Importer,
    ParsedSource,
    Refusal,
    SourceFile,
    Submission,
    refusal_of,
    rollout_id_of,
)
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.events.rollout_events import RolloutEnded, RolloutStarted
from tracelake.schemas.message import Message, content_text

FORMAT = "mini-swe-agent"
SUBMIT_COMMAND = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
MARKERS = (SUBMIT_COMMAND, "mswea_bash_command")
ENDS_COMPARED = 1000
FIRST_WORDS = 64

_RETURN_CODE = re.compile(r"<returncode>(-?\d{1,9})</returncode>")
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


def claims(parsed: ParsedSource) -> bool:
    document = parsed.document
    if isinstance(document, dict):
        info = document.get("info")
        if str(document.get("trajectory_format")).startswith(FORMAT):
            return True
        known = isinstance(info, dict) and (
            "mini_version" in info or {"model_stats", "config"} <= info.keys()
        )
        return known and isinstance(document.get("messages"), list)
    if isinstance(document, list) and len(document) > 1:
        return all(isinstance(message, dict) and "role" in message for message in document) and any(
            marker in str(message.get("content")) for message in document[:2] for marker in MARKERS
        )
    return False


def read(parsed: ParsedSource, companions: Companions) -> Iterator[ImportedRollout | Refusal]:
    try:
        yield _imported(_trajectory_of(parsed))
    except SHAPE_ERRORS as error:
        yield refusal_of(error, data=parsed.source.data, format=FORMAT)


class Trajectory(NamedTuple):
    """The parts of one file."""

    source: SourceFile
    rollout_id: str
    instance_id: str | None
    info: dict[str, Any]
    config: dict[str, Any]
    model: dict[str, Any]
    """The part of `config` that is about the model."""
    model_requested: str | None
    messages: list[Message]
    last_reply: int
    """Index of the last model call among the messages; no call saw what follows it."""


def _trajectory_of(parsed: ParsedSource) -> Trajectory:
    """Raises SourceFormatError if there is no model call, or a field has the wrong type."""
    whole = parsed.document if isinstance(parsed.document, dict) else {"messages": parsed.document}
    info = mapping(whole.get("info"), "info")
    config = mapping(info.get("config"), "info.config")
    messages = [mapping(message, "messages") for message in sequence(whole.get("messages"), "messages")]
    instance_id = label(whole.get("instance_id"), "instance_id")
    first_reply = next((message for message in messages if _is_reply(message)), None)
    if first_reply is None:
        raise SourceFormatError(
            "a trajectory without a model call", expected="one assistant message at least"
        )
    identity = _identity(parsed.source, instance_id, first_reply)
    model = mapping(config.get("model"), "info.config.model")
    return Trajectory(
        parsed.source,
        rollout_id_of("mini", instance_id, identity),
        instance_id,
        info,
        config,
        model,
        text(model.get("model_name"), "model_name"),
        messages,
        next(index for index in range(len(messages) - 1, -1, -1) if _is_reply(messages[index])),
    )


def _is_reply(message: Message) -> bool:
    """A model call: its message, or the complaint that stores a dropped reply."""
    role = message.get("role")
    if role == "assistant" or message.get("object") == "response":
        return True
    return role == "user" and bool(mapping(message.get("extra"), "extra").get("response"))


def _identity(source: SourceFile, instance_id: str | None, first_reply: Message) -> list[Any]:
    """The id and time of the first call, which an unfinished run has too; else the file's name."""
    extra = mapping(first_reply.get("extra"), "extra")
    response = mapping(extra.get("response") or first_reply, "response")
    response_id = text(response.get("id"), "response.id")
    time_s = number(extra.get("timestamp"), "timestamp")
    if response_id is None and time_s is None:
        return [source.name]
    return [instance_id, response_id, time_s]


def _imported(trajectory: Trajectory) -> ImportedRollout:
    rollout = RolloutBuilder(trajectory.rollout_id)
    rollout.events.append(_started(trajectory))
    dropped_count = 0
    # Whether a user message may be the result of a command in the text before it.
    may_observe = False
    for index, message in enumerate(trajectory.messages):
        role = message.get("role")
        extra = message.get("extra") or {}
        if role == "tool" or message.get("type") == "function_call_output":
            _add_result(rollout, trajectory, index, message, extra)
        elif role == "assistant":
            action = chat_message(message)
            rollout.add_turn(action, _turn_fields(trajectory, index, extra, extra.get("response")))
            may_observe = True
        elif message.get("object") == "response":
            action = response_message(message)
            rollout.add_turn(action, _turn_fields(trajectory, index, extra, message))
            may_observe = True
        elif role == "user" and extra.get("response"):
            _add_dropped_reply(rollout, trajectory, index, mapping(extra["response"], "response"))
            rollout.add_context(chat_message(message))
            dropped_count += 1
            may_observe = False
        elif role == "user" and may_observe and _is_observation(message, extra):
            _add_result(rollout, trajectory, index, message, extra)
        elif role != "exit":
            rollout.add_context(chat_message(message))
            may_observe = False
    ended = _ended(rollout, trajectory)
    return rollout.imported(
        ended, other_turn_count=dropped_count, submission=_submission(trajectory, ended.submission)
    )


def _started(trajectory: Trajectory) -> RolloutStarted:
    config = trajectory.config
    sampling = mapping(trajectory.model.get("model_kwargs"), "model_kwargs")
    image = mapping(config.get("environment"), "environment").get("image")
    is_swebench = "swebench" in f"{config.get('agent_type')} {image}".lower()
    environment = "swebench" if is_swebench else FORMAT
    return RolloutStarted(
        rollout_id=trajectory.rollout_id,
        task_key=trajectory.instance_id or f"{environment}:{hash_of(_question(trajectory.messages))[:16]}",
        environment=environment,
        substrate=FORMAT,
        substrate_version=text(trajectory.info.get("mini_version"), "mini_version"),
        model_requested=trajectory.model_requested,
        sampling_json=canonical_text(without_secrets(sampling)) if sampling else None,
        config_json=canonical_text(without_secrets(config)) if config else None,
    )


def _question(messages: list[Message]) -> str:
    questions = (message for message in messages if message.get("role") == "user")
    return content_text(next(questions, {}).get("content"))


def _turn_fields(
    trajectory: Trajectory, index: int, extra: dict[str, Any], response: object
) -> dict[str, Any]:
    found = mapping(response, "response")
    fields = response_fields(found) if "output" in found else completion_fields(found)
    fields["model_requested"] = trajectory.model_requested
    fields["cost_usd"] = number(extra.get("cost"), "cost")
    fields["occurred_at"] = moment(extra.get("timestamp"), "timestamp")
    fields["source_position"] = index
    return fields


def _add_dropped_reply(
    rollout: RolloutBuilder, trajectory: Trajectory, index: int, response: dict[str, Any]
) -> None:
    if "output" in response:
        action = response_message(response)
    else:
        action = chat_message(response["choices"][0]["message"])
    fields = _turn_fields(trajectory, index, {}, response)
    fields["finish_reason"] = "parse_error"
    rollout.add_turn(action, fields, in_context=False)


def _is_observation(message: Message, extra: dict[str, Any]) -> bool:
    return "raw_output" in extra or _RETURN_CODE.match(content_text(message.get("content"))) is not None


def _add_result(
    rollout: RolloutBuilder, trajectory: Trajectory, index: int, message: Message, extra: dict[str, Any]
) -> None:
    in_context = _context_message(message)
    rollout.add_context(in_context)
    if not rollout.turn_count:
        return
    content = content_text(in_context["content"])
    call_id = in_context.get("tool_call_id")
    raw = text(extra.get("raw_output"), "raw_output")
    seen = index < trajectory.last_reply
    fields = {
        "tool_call_id": call_id,
        "tool_name": rollout.called_tool(call_id),
        "raw_output": content if raw is None and not seen else raw,
        "visible_output": content if seen else None,
        "visible_truncated": _truncated(raw, content) if seen and raw is not None else None,
        "return_code": _return_code(extra, content),
        "error": text(extra.get("exception_info"), "exception_info") or None,
        "occurred_at": moment(extra.get("timestamp"), "timestamp"),
        "source_position": index,
    }
    rollout.add_tool_result(fields)


def _context_message(message: Message) -> Message:
    """A result as it joined the context."""
    if message.get("type") != "function_call_output":
        return chat_message(message)
    call_id = text(message.get("call_id"), "call_id")
    return {"role": "tool", "content": chat_content(message.get("output")), "tool_call_id": call_id}


def _return_code(extra: dict[str, Any], content: str) -> int | None:
    """As recorded, else as the recorder's own template prints it at the beginning of what the model saw."""
    if "returncode" in extra:
        return integer(extra["returncode"], "returncode")
    printed = _RETURN_CODE.match(content)
    return int(printed[1]) if printed else None


def _truncated(raw: str, visible: str) -> bool | None:
    """Whether the model saw less than the tool returned; null if the text was changed in an unknown way."""
    # Templates print the output whole: a comparison at its first words is far cheaper than a search for all
    # of it.
    if visible.startswith(raw, max(visible.find(raw[:FIRST_WORDS]), 0)) or raw.strip() in visible:
        return False
    ends_seen = raw[:ENDS_COMPARED] in visible and raw.rstrip()[-ENDS_COMPARED:] in visible
    return True if ends_seen or len(visible) < len(raw) else None


def _ended(rollout: RolloutBuilder, trajectory: Trajectory) -> RolloutEnded:
    info, messages = trajectory.info, trajectory.messages
    stats = mapping(info.get("model_stats"), "model_stats")
    extra = mapping(messages[-1].get("extra"), "extra")
    status = text(info.get("exit_status"), "exit_status") or text(extra.get("exit_status"), "exit_status")
    submission = text(info.get("submission"), "submission")
    if submission is None:
        submission = text(extra.get("submission"), "submission")
    if not info and submission is None:
        submission = _submission_in_text(messages)
    if status is None and submission is not None:
        ending = _ENDINGS["Submitted"]
    else:
        ending = _ending(status, trajectory.config, stats)
    return RolloutEnded(
        rollout_id=rollout.rollout_id,
        stop_reason=ending.stop_reason,
        exit_status=status,
        turn_count=rollout.turn_count,
        truncated=ending.truncated,
        truncated_by=ending.truncated_by,
        error=text(info.get("traceback") or extra.get("traceback"), "traceback"),
        submission=submission,
        cost_usd=number(stats.get("instance_cost"), "instance_cost"),
        metrics_json=rollout.metrics_text(stats),
        source_position=len(messages) - 1,
    )


def _ending(status: str | None, config: dict[str, Any], stats: dict[str, Any]) -> Ending:
    if status == "LimitsExceeded":
        return _exceeded_limit(mapping(config.get("agent"), "agent"), stats)
    if not status:
        return Ending("unknown", None)
    failed = status.endswith(("Error", "Exception"))
    return _ENDINGS.get(status) or Ending("error" if failed else "unknown", None)


def _exceeded_limit(agent: dict[str, Any], stats: dict[str, Any]) -> Ending:
    """The agent has one status for two limits: the configured limits and what was spent tell which, or it
    stays unknown. A limit of 0 is none."""
    call_count = number(stats.get("api_calls"), "api_calls")
    step_limit = number(agent.get("step_limit"), "step_limit")
    cost = number(stats.get("instance_cost"), "cost")
    cost_limit = number(agent.get("cost_limit"), "cost_limit")
    turns_reached = call_count is not None and bool(step_limit) and call_count >= step_limit
    cost_reached = cost is not None and bool(cost_limit) and cost >= cost_limit
    if turns_reached and not cost_reached:
        return Ending("max_turns", True, "max_turns")
    if cost_reached and not turns_reached:
        return Ending("max_cost", True, "max_cost")
    return Ending("unknown", True)


def _submission_in_text(messages: list[Message]) -> str | None:
    """For a bare message list: the agent appends the output of the submitting command as a last user
    message."""
    if len(messages) < 2 or messages[-1].get("role") != "user" or messages[-2].get("role") != "assistant":
        return None
    submitted = SUBMIT_COMMAND in content_text(messages[-2].get("content"))
    return content_text(messages[-1].get("content")) if submitted else None


def _submission(trajectory: Trajectory, patch: str | None) -> Submission | None:
    """For a file where the batch mode writes it: ROOT/output/RUN/INSTANCE/INSTANCE.traj.json; else null."""
    parts, instance_id = trajectory.source.parts, trajectory.instance_id
    if not patch or instance_id is None or len(parts) < 3 or parts[-2] != instance_id:
        return None
    root = "/".join(parts[:-4])
    return Submission(trajectory.rollout_id, instance_id, root, parts[-3], patch, trajectory.source.uri)


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "tool definitions",
        "latency of a call (only the time of its end)",
        "token ids and logprobs, unless the server was asked for them",
        "result of the submitting command",
        "name of the run (in the path: see the origin of the events)",
    ),
)
