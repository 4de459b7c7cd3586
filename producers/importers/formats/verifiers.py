"""Rows of verifiers' `results.jsonl` (0.1.x and before), with the run's `metadata.json`; PRIME-RL's rollouts
of that age, and hosted exports whose columns are JSON text.

Flow: metadata → `Run` → for each row: prompt and completion → turns and tool results → rewards →
RolloutEnded.

**A row is one rollout.** A hosted export names it; else its content and its times do, since ids repeat within
a file and differ between runs of one environment. Equal rows of one file are numbered.
**Statistics of the run are no facts of a rollout**: they change when a run is resumed.
**The other rows of a file are no facts of a row**: a part of a file, in another order, has the same rollouts.
**The same question with the same reference answer is the same task**, even under another id.
**A text completion is no chat**: its prompt joins the context under the role `text`, so that its state never
equals that of a chat.
**Every number at the top level that is neither a known column nor a time is a metric**, and becomes a reward
with its own name in addition to the one that counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from tracelake.producers.importers.conversion.chat import chat_content, tools_text
from tracelake.producers.importers.conversion.chat_rollout import add_chat
from tracelake.producers.importers.conversion.fields import (
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
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.rollout_builder import MAIN_REWARD, Ending, RolloutBuilder
from tracelake.producers.importers.identity import Identities
from tracelake.producers.importers.importer import (
    SHAPE_ERRORS,
    ImportedRollout,
    Importer,
    ImportOptions,
    Refusal,
    as_object,
    read_records,
    refusal_of,
)
from tracelake.producers.importers.json_text import parse_json
from tracelake.producers.importers.losses import Losses
from tracelake.producers.importers.source import Source, SourceRecord
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.message import Message, content_text, tools_key

FORMAT = "verifiers"
COLUMNS = {"prompt", "completion", "reward"}
# One of these tells a row of verifiers from any other pair of a prompt and a completion.
MARKS = ("example_id", "id", "problem_id", "task", "metrics", "timing", "stop_condition", "is_completed")
METADATA = "metadata.json"
TIMES = ("generation_ms", "scoring_ms", "total_ms")
# Columns that a hosted export writes as JSON text.
TEXT_COLUMNS = ("prompt", "completion", "metrics", "timing", "info")
HOSTED_ID = ("run_id", "step", "problem_id", "sample_id")
HOSTED_TOKENS = ("num_input_tokens", "num_output_tokens")
# Columns that are or may be numbers without being a metric of the rubric.
NOT_METRICS = frozenset(
    [
        "id", "example_id", "prompt", "completion", "reward", "task", "answer", "info", "timing",
        "is_completed", "is_truncated", "metrics", "error", "stop_condition", "tool_defs", "oai_tools",
        "token_usage", "trajectory", "advantage", "state", "created_at", "env_name", "tag", "error_chain",
        *TIMES, *HOSTED_ID, *HOSTED_TOKENS,
    ]
)  # fmt: skip
# What stays the same when a run is resumed or scored again.
CONFIGURATION = (
    "env", "env_id", "env_args", "model", "base_url", "sampling_args", "max_tokens", "temperature",
    "version_info", "state_columns", "env_version", "num_workers", "max_concurrent",
)  # fmt: skip

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

    source: Source
    configuration: dict[str, Any]
    environment: str | None
    model: str | None
    name: str
    """The user's name for the run, else environment and model: `wiki-search--gpt-5`."""
    chosen_name: str | None
    """The user's name for the run."""
    note: str | None


def claims(source: Source) -> bool:
    row = as_object(source.first)
    return row.keys() >= COLUMNS and any(mark in row for mark in MARKS)


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    losses = Losses()
    try:
        run = _run(source, options, losses)
    except SHAPE_ERRORS as error:
        yield refusal_of(error, format=FORMAT)
        return
    identities = Identities("vf", source, options)

    def convert(record: SourceRecord) -> ImportedRollout:
        row = Record(_without_json_text(mapping(record.value, "row")), "$", Losses())
        return _imported(run, identities, record.position, row)

    for index, piece in enumerate(read_records(source, FORMAT, convert)):
        if index == 0 and isinstance(piece, ImportedRollout):
            piece.losses.add(losses)
        yield piece


def _run(source: Source, options: ImportOptions, losses: Losses) -> Run:
    found = source.sibling(METADATA)
    metadata = Record(mapping(parse_json(found), METADATA) if found is not None else {}, METADATA, losses)
    configuration = {name: metadata.take(name) for name in CONFIGURATION if name in metadata.source}
    statistics = [name for name in metadata.source if name not in CONFIGURATION]
    metadata.drop("a statistic of the run, not of a rollout", *statistics)
    first = as_object(source.first)
    environment = text(
        configuration.get("env_id") or configuration.get("env") or first.get("env_name"), f"{METADATA}: env"
    )
    model = text(configuration.get("model"), f"{METADATA}: model")
    missing = "no metadata.json of this run was found: its model is unknown"
    return Run(
        source,
        without_secrets(configuration),
        environment,
        model,
        options.run or "--".join(part for part in (environment or FORMAT, model) if part),
        options.run,
        None if found is not None else missing,
    )


def _without_json_text(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a hosted export with its columns parsed; `info` may be empty text."""
    if "run_id" not in row and "sample_id" not in row:
        return row
    parsed = dict(row)
    for name in TEXT_COLUMNS:
        value = row.get(name)
        if type(value) is str and value.lstrip()[:1] in ("[", "{"):
            parsed[name] = orjson.loads(value)
        elif value == "" and name == "info":
            parsed[name] = None
    return parsed


def _imported(run: Run, identities: Identities, line: int, row: Record) -> ImportedRollout:
    prompt, completion = row.source["prompt"], row.source["completion"]
    example = _example_id(row.source)
    name_part = f"{run.environment or FORMAT}-{example}"
    if all(row.source.get(key) is not None for key in HOSTED_ID):
        identity = identities.own(name_part, *(row.take(key) for key in HOSTED_ID))
    else:
        timing = mapping(row.source.get("timing"), "timing")
        times = [row.source.get(key, timing.get(key)) for key in TIMES]
        stable = [run.configuration, example, prompt, completion, times]
        identity = identities.content(name_part, *stable, is_unique=bool(completion))
    tools_json = tools_text(_tool_definitions(row))
    rollout = RolloutBuilder(identity, row.losses, tools_json, position=line)
    if run.note:
        row.note(run.note)
    _start(rollout, run, row, tools_json)
    if type(prompt) is str:
        row.has_read("prompt")
        rollout.add_context({"role": "text", "content": prompt})
    else:
        for message in row.records("prompt"):
            rollout.read_context(message)
    is_text = type(completion) is str
    if is_text:
        row.has_read("completion", "trajectory")
        action: Message = {"role": "assistant", "content": completion}
        rollout.add_turn(action, {"model_requested": run.model})
    else:
        _add_chat(rollout, run, row)
    _add_rewards(rollout, row)
    return _end(rollout, row, other_turn_count=int(is_text))


def _start(rollout: RolloutBuilder, run: Run, row: Record, tools_json: str | None) -> None:
    question = _question(row.source["prompt"])
    answer = row.take("answer")
    environment = run.environment or text(row.source.get("env_name"), "env_name") or FORMAT
    row.has_read("env_name", "example_id", "id", *HOSTED_ID)
    task_hash = hash_of([question, answer if isinstance(answer, str) else canonical_text(answer)])
    configuration = run.configuration
    old_sampling = {
        name: configuration[name] for name in ("max_tokens", "temperature") if name in configuration
    }
    sampling = configuration.get("sampling_args") or old_sampling
    example = _example_id(row.source)
    info = {name: value for name, value in _info(row).items() if name != "oai_tools"}
    task = {
        "example_id": example or None,
        "question": question,
        "answer": answer,
        "task": row.take("task"),
        "info": info or None,
    }
    run_name = run.chosen_name or label(row.source.get("run_id"), "run_id")
    rollout.start(
        task_key=f"{environment}:{task_hash[:16]}",
        environment=environment,
        substrate=FORMAT,
        source_run=run_name,
        group_id=f"{run_name or run.name}/{example}" if example else None,
        trial_index=row.integer("sample_id") if "run_id" in row else None,
        model_requested=run.model,
        policy_version=row.integer("step") if "run_id" in row else None,
        tools_json=tools_json,
        tools_key=tools_key(tools_json),
        sampling_json=canonical_text(sampling) if sampling else None,
        task_json=canonical_text(task),
        config_json=canonical_text(configuration) if configuration else None,
    )


def _question(prompt: Any) -> str:
    """The last user message: the instructions around it differ between versions."""
    if type(prompt) is str:
        return prompt
    found = [mapping(message, "prompt[]") for message in sequence(prompt, "prompt")]
    questions = [message for message in found if message.get("role") == "user"]
    return content_text(chat_content(questions[-1].get("content"))) if questions else ""


def _example_id(row: dict[str, Any]) -> str:
    """Empty if the row has none. The column was renamed between versions."""
    found = row.get("example_id")
    found = row.get("id") if found is None else found
    return label(row.get("problem_id") if found is None else found, "example_id") or ""


def _tool_definitions(row: Record) -> Any:
    """From `info.oai_tools`, in later versions from a column; either may be JSON text."""
    found = row.take("tool_defs") or row.take("oai_tools") or _info(row).get("oai_tools")
    return orjson.loads(found) if type(found) is str and found else found


def _info(row: Record) -> dict[str, Any]:
    info = row.take("info")
    return mapping(orjson.loads(info) if type(info) is str and info else info or None, "info")


def _add_chat(rollout: RolloutBuilder, run: Run, row: Record) -> None:
    messages = row.records("completion")
    replies = [record for record in messages if record.source.get("role") == "assistant"]
    saved = row.records("trajectory") if type(row.source.get("trajectory")) is list else []
    if saved and len(saved) != len(replies):
        row.note("the trajectory column has another number of calls than the completion: not used")
        saved = []
        row.drop("does not fit the completion", "trajectory")

    def turn_fields(record: Record, message: Message) -> dict[str, Any]:
        fields = _saved_fields(saved[rollout.turn_count]) if saved else {}
        return {"model_requested": run.model, **fields}

    add_chat(rollout, messages, turn_fields)


def _saved_fields(entry: Record) -> dict[str, Any]:
    """Fields of TurnCompleted from an entry of a saved `trajectory` column."""
    entry.drop("the same as the prompt and the completion", "prompt", "completion")
    fields = completion_fields(entry.record("response"))
    tokens = entry.record("tokens")
    completion_ids = token_ids(tokens.take("completion_ids"), "completion_ids")
    completion_logprobs = logprobs(tokens.take("completion_logprobs"), "completion_logprobs")
    mask = [bool(item) for item in sequence(tokens.take("completion_mask"), "completion_mask")]
    prompt_ids = token_ids(tokens.take("prompt_ids"), "prompt_ids")
    tokens.drop("all prompt tokens are masked", "prompt_mask")
    truncated = entry.flag("is_truncated")
    if truncated is not None:
        fields["truncated"] = truncated
    if completion_ids is not None:
        fields["prompt_ids"] = prompt_ids
        fields["completion_ids"] = completion_ids
        fields["completion_mask"] = mask if len(mask) == len(completion_ids) else None
        if completion_logprobs and len(completion_logprobs) == len(completion_ids):
            fields["sampling_logprobs"] = completion_logprobs
            fields["logprob_source"] = "sampler"
    return fields


def _add_rewards(rollout: RolloutBuilder, row: Record) -> None:
    """The reward that counts, then each metric by its name. Raises SourceFormatError for a score that is no
    number: a rollout without it would count as not scored."""
    scores = {MAIN_REWARD: number(row.take("reward"), "reward")}
    for name, value in mapping(row.take("metrics"), "metrics").items():
        if name != MAIN_REWARD:
            scores[name] = number(value, f"metrics.{name}")
    for name, value in row.source.items():
        if name not in NOT_METRICS and type(value) in (int, float):
            scores[name] = number(row.take(name), name)
    for name, score in scores.items():
        rollout.add_reward(name, score, FORMAT)


def _end(rollout: RolloutBuilder, row: Record, *, other_turn_count: int) -> ImportedRollout:
    condition = row.text("stop_condition")
    error = row.take("error")
    ending = _ENDINGS.get(condition or "", Ending("unknown", None))
    if error is not None and ending.stop_reason == "unknown":
        ending = Ending("error", None)
    if not rollout.turn_count and ending.stop_reason == "unknown":
        ending = Ending("error", None)
    truncated = row.flag("is_truncated")
    timing = row.record("timing")
    times = {name: row.number(name) if name in row else timing.number(name) for name in TIMES}
    metrics: dict[str, Any] = {name: time_ms for name, time_ms in times.items() if time_ms is not None}
    duration_ms = times["generation_ms"] or _span_ms(timing)
    if timing.source.keys() - set(TIMES):
        metrics["timing"] = timing.take_all()
    if type(row.source.get("token_usage")) is dict and row.source["token_usage"]:
        metrics["token_usage"] = row.take("token_usage")
    for name in HOSTED_TOKENS:
        count = row.integer(name)
        # The exporter writes 0 where it does not know.
        if count:
            metrics[name] = count
    advantage = row.number("advantage")
    if advantage is not None:
        metrics["advantage"] = advantage
    row.drop("follows from the stop condition", "is_completed")
    row.keep("state", "created_at", "tag", "error_chain", "long_error_chain")
    return rollout.end(
        ending,
        row,
        other_turn_count=other_turn_count,
        metrics=metrics,
        exit_status=condition,
        truncated=ending.truncated if truncated is None else truncated,
        error=None if error is None else error if type(error) is str else canonical_text(error),
        # Rows that were scored again have a zero: no rollout takes no time.
        duration_ms=duration_ms or None,
    )


def _span_ms(timing: Record) -> float | None:
    """Later versions state times in seconds: a span, or its start and end."""
    for name in ("generation", "generation_s", "total", "total_s"):
        if type(timing.source.get(name)) is dict:
            span = timing.record(name)
            duration_ms = span.milliseconds("duration")
            start_ms, end_ms = span.milliseconds("start"), span.milliseconds("end")
            if duration_ms is None and start_ms is not None and end_ms is not None:
                duration_ms = end_ms - start_ms
        else:
            duration_ms = timing.milliseconds(name)
        if duration_ms is not None:
            return duration_ms
    return None


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
