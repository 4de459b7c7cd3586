"""mini-swe-agent's `*.traj.json`: 1.1 with tool calls and whole responses, 1 with commands in the text, and
bare message lists.

Flow: file → `Trajectory` → RolloutStarted → a turn for each reply, a result for each observation →
RolloutEnded.

**The rollout is identified by its first model call**, which the provider named: a copy of the file elsewhere
is the same rollout, and so is the file that has grown since. A trial that died before its first call has only
its content and the end of its path.
**The path does not enter the facts**, or a copy would contradict its original; the events' origin names the
run.
**A reply that was dropped for its format is a turn without a child**: the recorder stores it only in the
complaint that followed it, with its cost.
**The submitting command has no result**: the agent stops before it observes one.
**API keys are not carried over**: the recorder writes `model_kwargs` with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tracelake.producers.importers.conversion.chat import chat_content, read_message
from tracelake.producers.importers.conversion.fields import without_secrets
from tracelake.producers.importers.conversion.model_response import (
    completion_fields,
    response_fields,
    response_message,
)
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.rollout_builder import Ending, RolloutBuilder
from tracelake.producers.importers.identity import Identities, RolloutIdentity
from tracelake.producers.importers.importer import (
    SHAPE_ERRORS,
    ImportedRollout,
    Importer,
    ImportOptions,
    Refusal,
    Submission,
    refusal_of,
)
from tracelake.producers.importers.losses import Losses
from tracelake.producers.importers.source import Source
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message, content_text

FORMAT = "mini-swe-agent"
SUBMIT_COMMAND = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
MARKERS = (SUBMIT_COMMAND, "mswea_bash_command")
ENDS_COMPARED = 1000
FIRST_WORDS = 64
STABLE_PARTS = 3
"""RUN/INSTANCE/INSTANCE.traj.json: the recorder names all three."""
REPLY_KEYS = ("response", "model_response")
"""Where a complaint stores the reply that it is about."""

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


def claims(source: Source) -> bool:
    document = source.document
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


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    try:
        yield _imported(_trajectory_of(source, options))
    except SHAPE_ERRORS as error:
        yield refusal_of(error, format=FORMAT)


class Trajectory(NamedTuple):
    """The parts of one file."""

    source: Source
    identity: RolloutIdentity
    instance_id: str | None
    whole: Record
    info: Record
    config: dict[str, Any]
    model: dict[str, Any]
    """The part of `config` that is about the model."""
    stats: Record
    messages: list[Record]


def _trajectory_of(source: Source, options: ImportOptions) -> Trajectory:
    """Raises SourceFormatError if there are no messages."""
    document = source.document
    whole = Record(document if isinstance(document, dict) else {"messages": document}, "$", Losses())
    info = whole.record("info")
    config = _object(info, "config")
    messages = whole.records("messages")
    if not messages:
        raise SourceFormatError("a trajectory without messages", expected="the task at least")
    instance_id = whole.label("instance_id")
    whole.has_read("trajectory_format")
    model = config.get("model")
    identities = Identities("mini", source, options, stable_parts=STABLE_PARTS)
    return Trajectory(
        source,
        _identity(identities, instance_id, messages, config),
        instance_id,
        whole,
        info,
        config,
        model if isinstance(model, dict) else {},
        info.record("model_stats"),
        messages,
    )


def _object(record: Record, key: str) -> dict[str, Any]:
    """A nested object that is stored whole."""
    value = record.source.get(key)
    if type(value) is dict:
        record.has_read(key)
        return value
    record.record(key)
    return {}


def _reply_of(message: Record) -> Any:
    """The dropped reply that a complaint stores; null if the message is none."""
    extra = message.source.get("extra")
    if message.source.get("role") != "user" or type(extra) is not dict:
        return None
    return next((extra[key] for key in REPLY_KEYS if extra.get(key)), None)


def _is_reply(message: Record) -> bool:
    """A model call: its message, or the complaint that stores a dropped reply."""
    source = message.source
    return source.get("role") == "assistant" or source.get("object") == "response" or bool(_reply_of(message))


def _identity(
    identities: Identities, instance_id: str | None, messages: list[Record], config: dict[str, Any]
) -> RolloutIdentity:
    """The id and time of the first call, which an unfinished run has too; without a call, the task."""
    first = next((message.source for message in messages if _is_reply(message)), None)
    if first is None:
        task = [message.source.get("content") for message in messages]
        return identities.content(instance_id, instance_id, config, task, is_unique=False)
    extra = first.get("extra")
    extra = extra if type(extra) is dict else {}
    response = next((extra[key] for key in REPLY_KEYS if type(extra.get(key)) is dict), first)
    if response.get("id") is not None or extra.get("timestamp") is not None:
        return identities.first_call(instance_id, instance_id, response.get("id"), extra.get("timestamp"))
    start = [message.source.get("content") for message in messages if not _is_reply(message)][:2]
    return identities.content(instance_id, instance_id, config, start, first.get("content"))


def _imported(trajectory: Trajectory) -> ImportedRollout:
    losses = trajectory.whole.losses
    rollout = RolloutBuilder(trajectory.identity, losses)
    _start(rollout, trajectory)
    dropped_count = 0
    last: Record | None = None
    # Whether a user message may be the result of a command in the text before it.
    may_observe = False
    for index, message in enumerate(trajectory.messages):
        source, extra = message.source, message.record("extra")
        role = source.get("role")
        last = message
        if role == "tool" or source.get("type") == "function_call_output":
            _add_result(rollout, index, message, extra)
        elif role == "assistant":
            response = extra.record("response")
            fields = completion_fields(response, source)
            if "output" in response:
                fields = response_fields(response)
                response.drop("the same as the message", "output")
            [action] = read_message(message)
            message.keep("provider_specific_fields", "annotations", "audio", "images")
            _read_actions(extra)
            rollout.add_turn(action, _turn_fields(trajectory, index, extra, fields), message)
            may_observe = True
        elif source.get("object") == "response":
            fields = response_fields(message)
            action = response_message(message)
            _read_actions(extra)
            rollout.add_turn(action, _turn_fields(trajectory, index, extra, fields), message)
            may_observe = True
        elif _reply_of(message):
            _add_dropped_reply(rollout, trajectory, index, message, extra)
            dropped_count += 1
            may_observe = False
        elif role == "user" and may_observe and _is_observation(source, extra):
            _add_result(rollout, index, message, extra)
        elif role != "exit":
            rollout.read_context(message)
            may_observe = False
    return _end(rollout, trajectory, last, dropped_count)


def _read_actions(extra: Record) -> None:
    """What the calls of the message say too."""
    for action in extra.records("actions"):
        action.has_read("command", "tool_call_id")


def _start(rollout: RolloutBuilder, trajectory: Trajectory) -> None:
    config = trajectory.config
    sampling = trajectory.model.get("model_kwargs")
    environment_config = config.get("environment")
    image = environment_config.get("image") if type(environment_config) is dict else None
    is_swebench = "swebench" in f"{config.get('agent_type')} {image}".lower()
    environment = "swebench" if is_swebench else FORMAT
    questions = (message.source for message in trajectory.messages if message.source.get("role") == "user")
    question = content_text(chat_content(next(questions, {}).get("content")))
    if sampling is not None and type(sampling) is not dict:
        trajectory.whole.note("info.config.model.model_kwargs is no object: in config_json only")
        sampling = None
    rollout.start(
        task_key=trajectory.instance_id or f"{environment}:{hash_of(question)[:16]}",
        environment=environment,
        substrate=FORMAT,
        substrate_version=trajectory.info.text("mini_version"),
        model_requested=_model_name(trajectory),
        sampling_json=canonical_text(without_secrets(sampling)) if sampling else None,
        config_json=canonical_text(without_secrets(config)) if config else None,
    )


def _model_name(trajectory: Trajectory) -> str | None:
    name = trajectory.model.get("model_name")
    return name if type(name) is str else None


def _turn_fields(trajectory: Trajectory, index: int, extra: Record, fields: dict[str, Any]) -> dict[str, Any]:
    fields["model_requested"] = _model_name(trajectory)
    cost = extra.number("cost")
    fields["cost_usd"] = fields.get("cost_usd") if cost is None else cost
    fields["occurred_at"] = extra.moment("timestamp") or fields.get("occurred_at")
    fields["source_position"] = index
    return fields


def _add_dropped_reply(
    rollout: RolloutBuilder, trajectory: Trajectory, index: int, message: Record, extra: Record
) -> None:
    """The reply as a turn without a child, then the complaint about it."""
    key = next(key for key in REPLY_KEYS if extra.source.get(key))
    extra.keep("interrupt_type", key)
    action: Message = {"role": "assistant", "content": None}
    fields: dict[str, Any] = {}
    response = extra.record(key) if type(extra.source[key]) is dict else None
    if response is None:
        message.note("a reply that was dropped for its format is unreadable: its turn has no content")
    elif "output" in response:
        fields = response_fields(response)
        action = response_message(response)
    else:
        fields = completion_fields(response)
        choices = response.records("choices")
        if choices:
            [action] = read_message(choices[0].record("message"))
    fields = _turn_fields(trajectory, index, extra, fields) | {"finish_reason": "parse_error"}
    rollout.add_turn(action, fields, extra, in_context=False)
    rollout.read_context(message)


def _is_observation(message: dict[str, Any], extra: Record) -> bool:
    return "raw_output" in extra.source or (
        _RETURN_CODE.match(content_text(chat_content(message.get("content")))) is not None
    )


def _add_result(rollout: RolloutBuilder, index: int, message: Record, extra: Record) -> None:
    in_context = _context_message(message)
    if not rollout.turn_count:
        rollout.add_context(in_context, message)
        return
    rollout.add_context(in_context)
    content = content_text(in_context["content"])
    call_id = in_context.get("tool_call_id")
    raw = extra.text("raw_output")
    fields = {
        "tool_call_id": call_id,
        "tool_name": rollout.called_tool(call_id),
        "raw_output": raw,
        "visible_output": content,
        "visible_truncated": None if raw is None else _truncated(raw, content),
        "return_code": _return_code(extra, content),
        "error": extra.text("exception_info") or None,
        "occurred_at": extra.moment("timestamp"),
        "source_position": index,
    }
    rollout.add_tool_result(fields, message)


def _context_message(message: Record) -> Message:
    """A result as it joined the context."""
    if message.source.get("type") != "function_call_output":
        [found] = read_message(message)
        return found
    message.has_read("type")
    return {
        "role": "tool",
        "content": chat_content(message.take("output"), message),
        "tool_call_id": message.text("call_id"),
    }


def _return_code(extra: Record, content: str) -> int | None:
    """As recorded, else as the recorder's own template prints it at the beginning of what the model saw."""
    if "returncode" in extra:
        return extra.integer("returncode")
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


def _end(
    rollout: RolloutBuilder, trajectory: Trajectory, last: Record | None, dropped_count: int
) -> ImportedRollout:
    info, messages = trajectory.info, trajectory.messages
    extra = (last or info).record("extra")
    repeated = extra.text("exit_status")
    status = info.text("exit_status") or repeated
    submission = _stated_submission(trajectory, extra)
    was_submitted = not status and submission
    ending = _ENDINGS["Submitted"] if was_submitted else _ending(status, trajectory)
    if last is not None and last.source.get("role") == "exit":
        last.has_read("role")
        last.keep("content")
        if last.source.get("content") in (submission, "", None):
            last.drop("the same as the submission", "content")
    error = info.take("traceback") or extra.take("traceback") or extra.take("exception_str")
    extra.drop("in the traceback", "exception_str")
    return rollout.end(
        ending,
        trajectory.whole,
        recording_length=len(messages),
        other_turn_count=dropped_count,
        metrics=dict(trajectory.stats.take_all()),
        graded=_submission(trajectory, submission),
        exit_status=status or None,
        error=None if error is None else str(error),
        submission=submission,
        cost_usd=trajectory.stats.number("instance_cost"),
        source_position=len(messages) - 1,
    )


def _stated_submission(trajectory: Trajectory, extra: Record) -> str | None:
    submission = trajectory.info.text("submission")
    repeated = extra.text("submission")
    if submission is None:
        submission = repeated
    if not trajectory.info.source and submission is None:
        return _submission_in_text(trajectory.messages)
    return submission


def _ending(status: str | None, trajectory: Trajectory) -> Ending:
    if status == "LimitsExceeded":
        return _exceeded_limit(trajectory)
    if not status:
        # A run that was killed, or still goes on.
        return Ending("unknown", None)
    failed = status.endswith(("Error", "Exception"))
    return _ENDINGS.get(status) or Ending("error" if failed else "unknown", None)


def _exceeded_limit(trajectory: Trajectory) -> Ending:
    """The agent has one status for two limits: the configured limits and what was spent tell which, or it
    stays unknown. A limit of 0 is none."""
    agent = trajectory.config.get("agent")
    limits = Record(agent if type(agent) is dict else {}, "$.info.config.agent", Losses())
    stats = trajectory.stats
    call_count, turn_limit = stats.number("api_calls"), limits.number("step_limit")
    cost, cost_limit = stats.number("instance_cost"), limits.number("cost_limit")
    turns_reached = call_count is not None and bool(turn_limit) and call_count >= (turn_limit or 0)
    cost_reached = cost is not None and bool(cost_limit) and cost >= (cost_limit or 0)
    if turns_reached and not cost_reached:
        return Ending("max_turns", True, "max_turns")
    if cost_reached and not turns_reached:
        return Ending("max_cost", True, "max_cost")
    return Ending("unknown", True)


def _submission_in_text(messages: list[Record]) -> str | None:
    """For a bare message list: the agent appends the output of the submitting command as a last user
    message."""
    if len(messages) < 2:
        return None
    command, output = messages[-2].source, messages[-1].source
    if output.get("role") != "user" or command.get("role") != "assistant":
        return None
    submitted = SUBMIT_COMMAND in content_text(chat_content(command.get("content")))
    return content_text(chat_content(output.get("content"))) if submitted else None


def _submission(trajectory: Trajectory, patch: str | None) -> Submission | None:
    """For a file where the batch mode writes it: ROOT/output/RUN/INSTANCE/INSTANCE.traj.json; else null."""
    parts, instance_id = trajectory.source.parts, trajectory.instance_id
    if patch is None or instance_id is None or len(parts) < 3 or parts[-2] != instance_id:
        return None
    root = "/".join(parts[:-4])
    return Submission(
        trajectory.identity.rollout_id, instance_id, root, parts[-3], patch, trajectory.source.uri
    )


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
