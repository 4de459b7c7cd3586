"""Rows of verifiers' `results.jsonl` (0.1.x and before), with the run's `metadata.json`.

Flow: metadata → `Run` → for each row: prompt and completion → turns and tool results → rewards →
RolloutEnded.

**A row is one rollout**, identified by the run's folder and its line, because ids repeat within a file and
differ between runs of one environment.
**The same question with the same reference answer is the same task**, even under another id.
**A text completion is no chat**: its prompt joins the context under the role `text`, so that its state never
equals that of a chat.
**Every number at the top level that is neither a known column nor a time is a metric**, and becomes a reward
with its own name in addition to the one that counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from tracelake.producers.importers.conversion.chat import chat_message, chat_messages, tools_text
from tracelake.producers.importers.conversion.fields import (
    flag,
    label,
    logprobs,
    mapping,
    number,
    sequence,
    text,
    token_ids,
    without_secrets,
)
from tracelake.producers.importers.conversion.model_response import completion_fields
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
from tracelake.producers.importers.source import Row, parse_json, rows
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.events.rollout_events import RewardAssigned, RolloutEnded, RolloutStarted
from tracelake.schemas.message import Message, content_text, tools_key

FORMAT = "verifiers"
COLUMNS = {"prompt", "completion", "reward"}
TIMES = ("generation_ms", "scoring_ms", "total_ms")
# Columns that are or may be numbers without being a metric of the rubric.
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
        *TIMES,
    ]
)

_ENDINGS: dict[str, Ending] = {
    "max_turns_reached": Ending("max_turns", True, "max_turns"),
    "prompt_too_long": Ending("max_tokens", True, "context_window"),
    "max_tokens_reached": Ending("max_tokens", True, "max_tokens"),
    "max_total_completion_tokens_reached": Ending("max_tokens", True, "max_tokens"),
    "timeout_reached": Ending("timeout", True, "timeout"),
    "has_error": Ending("error", None),
    "no_tools_called": Ending("completed", False),
}


class Run(NamedTuple):
    """One evaluation: a results file and its metadata."""

    source: SourceFile
    metadata: dict[str, Any]
    environment: str
    model: str | None
    name: str
    """Environment, model and run folder: `wiki-search--gpt-5/73850758`."""
    notes: tuple[str, ...] = ()


def claims(parsed: ParsedSource) -> bool:
    row = parsed.document if parsed.first_row is None else parsed.first_row
    return isinstance(row, dict) and row.keys() >= COLUMNS


def read(parsed: ParsedSource, companions: Companions) -> Iterator[ImportedRollout | Refusal]:
    source = parsed.source
    try:
        run = _run(source, companions)
    except SHAPE_ERRORS as error:
        yield refusal_of(error, data=source.data, format=FORMAT)
        return
    trials: Counter[str] = Counter()
    is_one_row = parsed.first_row is None
    for line, data in [Row(1, source.data)] if is_one_row else rows(source.data):
        try:
            row = mapping(parse_json(data), "row")
            example = _example_id(row)
            # A refused row counts as a trial too: repairing it must not renumber the others.
            trials[example] += 1
            yield _imported(run, line, row, trials[example] - 1)
        except SHAPE_ERRORS as error:
            yield refusal_of(error, line=line, data=data, format=FORMAT)


def _run(source: SourceFile, companions: Companions) -> Run:
    found = companions.metadata(source)
    metadata = mapping(parse_json(found), "metadata.json") if found is not None else {}
    folder = source.parts[-3] if len(source.parts) > 2 else ""
    environment = text(metadata.get("env_id") or metadata.get("env"), "metadata.json: env")
    notes = () if found is not None else ("no metadata.json of this run was found: its model is unknown",)
    return Run(
        source,
        metadata,
        environment or (folder.split("--")[0] if "--" in folder else FORMAT),
        text(metadata.get("model"), "metadata.json: model"),
        "/".join(source.parts[-3:-1]),
        notes,
    )


def _imported(run: Run, line: int, row: dict[str, Any], trial_index: int) -> ImportedRollout:
    rollout_id = rollout_id_of("vf", run.name, [run.source.name, line])
    tools_json = tools_text(_tool_definitions(row))
    rollout = RolloutBuilder(rollout_id, tools_json)
    prompt, completion = row["prompt"], row["completion"]
    rollout.events.append(_started(run, line, row, trial_index, rollout_id, tools_json))
    if type(prompt) is str:
        rollout.add_context({"role": "text", "content": prompt})
    else:
        for message in chat_messages(prompt, "prompt"):
            rollout.add_context(message)
    is_text = type(completion) is str
    if is_text:
        action: Message = {"role": "assistant", "content": completion}
        rollout.add_turn(action, {"model_requested": run.model, "source_position": line})
    else:
        _add_chat(rollout, run, line, row, chat_messages(completion, "completion"))
    rollout.events += _rewards(rollout_id, row, line)
    ended = _ended(rollout, row, line)
    return rollout.imported(ended, other_turn_count=int(is_text), notes=run.notes)


def _started(
    run: Run, line: int, row: dict[str, Any], trial_index: int, rollout_id: str, tools_json: str | None
) -> RolloutStarted:
    question = _question(row["prompt"])
    answer = row.get("answer")
    task_hash = hash_of([question, answer if isinstance(answer, str) else canonical_text(answer)])
    metadata = without_secrets(run.metadata)
    old_sampling = {name: metadata[name] for name in ("max_tokens", "temperature") if name in metadata}
    sampling = metadata.get("sampling_args") or old_sampling
    example = _example_id(row)
    info = {name: value for name, value in _info(row).items() if name != "oai_tools"}
    task = {
        "example_id": example or None,
        "question": question,
        "answer": answer,
        "task": row.get("task"),
        "info": info or None,
    }
    return RolloutStarted(
        rollout_id=rollout_id,
        task_key=f"{run.environment}:{task_hash[:16]}",
        environment=run.environment,
        substrate=FORMAT,
        source_run=run.name,
        group_id=f"{run.name}/{example}" if example else None,
        trial_index=trial_index if example else None,
        model_requested=run.model,
        tools_json=tools_json,
        tools_key=tools_key(tools_json),
        sampling_json=canonical_text(sampling) if sampling else None,
        task_json=canonical_text(task),
        config_json=canonical_text(metadata) if metadata else None,
        source_position=line,
    )


def _question(prompt: Any) -> str:
    """The last user message: the instructions around it differ between versions."""
    if type(prompt) is str:
        return prompt
    questions = [message for message in map(chat_message, prompt or []) if message["role"] == "user"]
    return content_text(questions[-1]["content"]) if questions else ""


def _example_id(row: dict[str, Any]) -> str:
    """Empty if the row has none. The column was renamed between versions."""
    found = row.get("example_id")
    return label(row.get("id") if found is None else found, "example_id") or ""


def _tool_definitions(row: dict[str, Any]) -> Any:
    """From `info.oai_tools`, in later versions from a column; either may be JSON text."""
    info = _info(row)
    found = row.get("tool_defs") or info.get("oai_tools")
    return orjson.loads(found) if type(found) is str and found else found


def _info(row: dict[str, Any]) -> dict[str, Any]:
    info = row.get("info")
    return mapping(orjson.loads(info) if type(info) is str and info else info or None, "info")


def _add_chat(
    rollout: RolloutBuilder, run: Run, line: int, row: dict[str, Any], messages: list[Message]
) -> None:
    replies = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    saved_fields = _saved_turn_fields(row, len(replies))
    calls: list[Message] = []
    paired_by_order = False
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            saved = saved_fields[rollout.turn_count]
            rollout.add_turn(message, {"model_requested": run.model, "source_position": line, **saved})
            calls = message.get("tool_calls") or []
            paired_by_order = len(calls) == _result_count_after(messages, index)
            continue
        if message["role"] == "tool" and rollout.turn_count:
            call_id = message.get("tool_call_id")
            call: Message | None = None
            if call_id:
                call = next((call for call in calls if call["id"] == call_id), None)
            elif paired_by_order:
                call = calls[rollout.turn_result_count]
            content = content_text(message["content"])
            seen = index < replies[-1]
            fields = {
                "tool_call_id": call_id or (call["id"] if call else None),
                "tool_name": call["function"]["name"] if call else None,
                "raw_output": None if seen else content,
                "visible_output": content if seen else None,
                "source_position": line,
            }
            rollout.add_tool_result(fields)
        rollout.add_context(message)


def _result_count_after(messages: list[Message], index: int) -> int:
    count = 0
    while index + 1 + count < len(messages) and messages[index + 1 + count]["role"] == "tool":
        count += 1
    return count


def _saved_turn_fields(row: dict[str, Any], reply_count: int) -> list[dict[str, Any]]:
    """Fields of TurnCompleted for each reply, from a saved `trajectory` column; empty if it does not fit the
    replies."""
    entries = [mapping(entry, "trajectory") for entry in sequence(row.get("trajectory"), "trajectory")]
    if len(entries) != reply_count:
        return [{} for _ in range(reply_count)]
    return [_turn_fields_of(entry) for entry in entries]


def _turn_fields_of(entry: dict[str, Any]) -> dict[str, Any]:
    response = entry.get("response")
    fields = completion_fields(response) if type(response) is dict else {}
    tokens = mapping(entry.get("tokens"), "tokens")
    completion_ids = token_ids(tokens.get("completion_ids"), "completion_ids")
    completion_logprobs = logprobs(tokens.get("completion_logprobs"), "completion_logprobs")
    truncated = flag(entry.get("is_truncated"), "is_truncated")
    if truncated is not None:
        fields["truncated"] = truncated
    if completion_ids is not None:
        mask = [bool(item) for item in sequence(tokens.get("completion_mask"), "completion_mask")]
        fields["prompt_ids"] = token_ids(tokens.get("prompt_ids"), "prompt_ids")
        fields["completion_ids"] = completion_ids
        fields["completion_mask"] = mask if len(mask) == len(completion_ids) else None
        if completion_logprobs and len(completion_logprobs) == len(completion_ids):
            fields["sampling_logprobs"] = completion_logprobs
            fields["logprob_source"] = "sampler"
    return fields


def _rewards(rollout_id: str, row: dict[str, Any], line: int) -> list[RewardAssigned]:
    """The reward that counts, then each metric by its name."""
    scores = {"reward": number(row.get("reward"), "reward")}
    for name, value in mapping(row.get("metrics"), "metrics").items():
        if name != "reward":
            scores[name] = number(value, f"metrics.{name}")
    for name, value in row.items():
        if name not in NOT_METRICS and type(value) in (int, float):
            scores[name] = number(value, name)
    return [
        RewardAssigned(rollout_id=rollout_id, name=name, score=score, grader=FORMAT, source_position=line)
        for name, score in scores.items()
    ]


def _ended(rollout: RolloutBuilder, row: dict[str, Any], line: int) -> RolloutEnded:
    condition = text(row.get("stop_condition"), "stop_condition")
    error = row.get("error")
    ending = _ENDINGS.get(condition or "", Ending("unknown", None))
    if error is not None and ending.stop_reason == "unknown":
        ending = Ending("error", None)
    truncated = flag(row.get("is_truncated"), "is_truncated")
    times = _times_ms(row)
    usage = mapping(row.get("token_usage"), "token_usage")
    metrics = {**times, "token_usage": usage} if usage else {**times}
    return RolloutEnded(
        rollout_id=rollout.rollout_id,
        stop_reason=ending.stop_reason,
        exit_status=condition,
        turn_count=rollout.turn_count,
        truncated=ending.truncated if truncated is None else truncated,
        truncated_by=ending.truncated_by,
        error=None if error is None else error if type(error) is str else canonical_text(error),
        # Rows that were scored again have a zero: no rollout takes no time.
        duration_ms=times.get("generation_ms") or None,
        metrics_json=rollout.metrics_text(metrics),
        source_position=line,
    )


def _times_ms(row: dict[str, Any]) -> dict[str, float]:
    """Each from a column with its name, or from `timing`."""
    timing = mapping(row.get("timing"), "timing")
    times = {name: number(row.get(name, timing.get(name)), name) for name in TIMES}
    return {name: time_ms for name, time_ms in times.items() if time_ms is not None}


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "model served and response id of each call",
        "usage, cost and times of each call, unless the trajectory column was saved",
        "token ids and logprobs, unless the trajectory column was saved",
        "raw tool output apart from what the model saw",
        "call ids of tool results in most versions: paired by order",
        "a time with a zone",
        "reason of the stop before 0.1.9",
    ),
)
