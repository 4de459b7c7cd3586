"""Logs of Inspect: a `.eval` zip with a file for each sample, or one JSON document.

Flow: header → `Log` → for each sample: references resolved → model calls → turns and tool results → scores.

**A sample in one epoch is one rollout**, identified by its uuid; without one by run, sample and epoch. A
retried evaluation copies whole samples, so nothing of the run joins their facts.
**A turn is a model call of the transcript** outside of scorers and without a role such as `grader`. Its
context is what the call states. Without a transcript, a turn is an assistant message.
**A score is a letter, a number or several**: C is 1, P is 0.5, I and N are 0. The only score of a sample is
its reward.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tracelake.producers.importers.conversion.fields import (
    integer,
    label,
    mapping,
    sequence,
    text,
    without_secrets,
)
from tracelake.producers.importers.conversion.inspect_messages import Attachments
from tracelake.producers.importers.conversion.inspect_turns import SampleTurns, policy_calls
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.responses import response_tools_text
from tracelake.producers.importers.conversion.rollout_builder import MAIN_REWARD, Ending, RolloutBuilder
from tracelake.producers.importers.identity import Identities
from tracelake.producers.importers.importer import (
    SHAPE_ERRORS,
    ImportedRollout,
    Importer,
    ImportOptions,
    Refusal,
    as_object,
    read_each,
    refusal_of,
)
from tracelake.producers.importers.json_text import parse_json
from tracelake.producers.importers.losses import Losses
from tracelake.producers.importers.source import EXCERPT_BYTES, Source, SourceRecord
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import tools_key

FORMAT = "inspect-ai"
HEADERS = ("header.json", "_journal/start.json")
# What stays the same when an evaluation is retried.
CONFIGURATION = (
    "task", "task_version", "task_args", "solver", "solver_args", "model", "model_args", "model_base_url",
    "model_generate_config", "model_roles", "sandbox",
)  # fmt: skip
LIMITS = ("message_limit", "token_limit", "time_limit", "working_limit", "cost_limit")
WORDS = {"c": 1.0, "p": 0.5, "i": 0.0, "n": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
TASK_KEYS = ("id", "input", "choices", "target", "metadata", "sandbox", "files", "setup")
_LIMIT_ENDINGS = {
    "message": Ending("max_turns", True, "max_turns"),
    "turn": Ending("max_turns", True, "max_turns"),
    "token": Ending("max_tokens", True, "max_tokens"),
    "context": Ending("max_tokens", True, "context_window"),
    "time": Ending("timeout", True, "timeout"),
    "working": Ending("timeout", True, "timeout"),
    "cost": Ending("max_cost", True, "max_cost"),
}
_STOP_ENDINGS = {
    "stop": Ending("completed", False),
    "max_tokens": Ending("max_tokens", True, "max_tokens"),
    "model_length": Ending("max_tokens", True, "context_window"),
    "content_filter": Ending("unknown", True, "content_filter"),
}
_EXTRA_OF_SAMPLE = (
    "store", "role_usage", "started_at", "completed_at", "invalidation", "error_retries", "timelines",
)  # fmt: skip
_OF_THE_RUN = "of the run, not of a rollout"


class Log(NamedTuple):
    """What the samples of one log share."""

    task: str
    model: str | None
    version: str | None
    run: str
    """Of the whole evaluation: the id of its task, which a retry keeps."""
    run_id: str
    configuration: dict[str, Any]
    sampling: dict[str, Any]


def claims(source: Source) -> bool:
    if source.container == "zip":
        try:
            return any(name in HEADERS for name in source.member_names())
        except SourceFormatError:
            return False
    return source.container == "json" and _is_log(source.document)


def _is_log(document: Any) -> bool:
    log = as_object(document)
    return log.keys() >= {"version", "eval"} and as_object(log["eval"]).keys() >= {"task", "model"}


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    losses = Losses()
    try:
        if source.container == "zip":
            names = list(dict.fromkeys(source.member_names()))
            header = parse_json(source.member(next(name for name in HEADERS if name in names)))
            samples = [name for name in names if name.startswith("samples/") and name.endswith(".json")]
            records: Iterable[SourceRecord] = _members(source, samples)
        else:
            header = source.document
            found = sequence(header.get("samples"), "samples")
            samples = found
            records = (SourceRecord(position, value) for position, value in enumerate(found, start=1))
        if not _is_log(header):
            raise SourceFormatError("a log without a task", expected="eval.task and eval.model")
        log = _log(Record(header, "$", losses))
        if not samples:
            status = label(header.get("status"), "status")
            raise SourceFormatError("a log without samples", got=f"status {status or 'unknown'}")
    except SHAPE_ERRORS as error:
        yield refusal_of(error, format=FORMAT)
        return
    identities = Identities("inspect", source, options)

    def convert(record: SourceRecord) -> ImportedRollout:
        sample = Record(mapping(record.value, "sample"), "$.samples[]", Losses())
        return _imported(log, identities, options, record.position, sample)

    for position, piece in enumerate(read_each(records, FORMAT, convert)):
        if position == 0 and isinstance(piece, ImportedRollout):
            piece.losses.add(losses)
        yield piece


def _members(source: Source, names: list[str]) -> Iterator[SourceRecord]:
    for position, name in enumerate(names, start=1):
        try:
            data = source.member(name)
            yield SourceRecord(position, parse_json(data), data[:EXCERPT_BYTES])
        except SourceFormatError as error:
            yield SourceRecord(position, None, b"", error)


def _log(document: Record) -> Log:
    evaluation, plan = document.record("eval"), document.record("plan")
    source = evaluation.source
    limits = as_object(source.get("config"))
    configuration = {key: source[key] for key in CONFIGURATION if source.get(key)}
    configuration |= {key: limits[key] for key in LIMITS if limits.get(key) is not None}
    if plan.source.get("steps"):
        configuration["plan"] = plan.source["steps"]
    sampling = as_object(plan.source.get("config")) | as_object(source.get("model_generate_config"))
    log = Log(
        task=text(source["task"], "eval.task") or FORMAT,
        model=evaluation.text("model"),
        version=label(as_object(source.get("packages")).get("inspect_ai"), "eval.packages.inspect_ai"),
        run=label(source.get("task_id"), "eval.task_id") or "",
        run_id=label(source.get("run_id"), "eval.run_id") or "",
        configuration=without_secrets(configuration),
        sampling=without_secrets(sampling),
    )
    used = ("run_id", "task_id", *CONFIGURATION)
    evaluation.drop(_OF_THE_RUN, *(key for key in source if key not in used))
    plan.drop(_OF_THE_RUN, *(key for key in plan.source if key not in ("steps", "config")))
    used = ("eval", "plan", "samples")
    document.drop(_OF_THE_RUN, *(key for key in document.source if key not in used))
    return log


def _imported(
    log: Log, identities: Identities, options: ImportOptions, position: int, given: Record
) -> ImportedRollout:
    losses = given.losses
    transcript = as_object(given.source.get("transcript"))
    named = mapping(given.source.get("attachments") or transcript.get("content"), "attachments")
    attachments = Attachments(named)
    sample = Record(_resolved(given.source, attachments), given.where, losses)
    source = sample.source
    if "epoch" not in source or source.get("id") is None:
        keys = ", ".join(sorted(map(str, source)))[:200]
        raise SourceFormatError("a sample without an id or an epoch", got=keys)
    sample_id, epoch = label(source["id"], "id"), integer(source["epoch"], "epoch")
    name = f"{log.task}-{sample_id}-{epoch}"
    uuid = label(source.get("uuid"), "uuid")
    own = (uuid,) if uuid else (log.run_id, log.run, sample_id, epoch)
    identity = identities.own(name, *own)
    events = [mapping(event, "events[]") for event in sequence(source.get("events"), "events")]
    calls = policy_calls(events)
    tools_json = response_tools_text(next((call["tools"] for call in calls if call.get("tools")), None))
    task = {key: source[key] for key in TASK_KEYS if source.get(key) not in (None, [], {})}
    task_key = f"{log.task}:{sample_id}-{hash_of([_asked(task.get('input')), task.get('choices')])[:8]}"
    sampling = log.sampling | (as_object(calls[0].get("config")) if calls else {})
    rollout = RolloutBuilder(identity, losses, tools_json, position=position)
    rollout.start(
        task_key=task_key,
        environment=log.task,
        substrate=FORMAT,
        substrate_version=log.version,
        source_run=options.run,
        group_id=f"{options.run or log.run}/{task_key}",
        trial_index=None if epoch is None else epoch - 1,
        model_requested=log.model,
        tools_json=tools_json,
        tools_key=tools_key(tools_json),
        sampling_json=canonical_text(sampling) if sampling else None,
        task_json=canonical_text(without_secrets(task)),
        config_json=canonical_text(log.configuration) if log.configuration else None,
    )
    turns = SampleTurns(rollout, losses, log.model, events, calls)
    pool = sequence(sample.take("message_pool"), "message_pool")
    messages = sequence(sample.take("messages"), "messages")
    output = as_object(source.get("output"))
    sample.keep("output")
    if calls:
        turns.add_calls(pool, messages)
        if output == calls[-1]["output"]:
            sample.has_read("output")
    else:
        turns.add_messages(messages, output)
        if rollout.turn_count:
            sample.has_read("output")
    _add_scores(rollout, sample)
    sample.has_read("uuid", "epoch", "events", *TASK_KEYS)
    sample.drop("repeats the context", "call_pool")
    unused = {key: value for key, value in named.items() if key not in attachments.used}
    rest = Record(turns.rest() | ({"attachments": unused} if unused else {}), given.where, losses)
    rest.keep(*rest.source)
    return _end(rollout, sample, rest, len(messages))


def _asked(asked: Any) -> Any:
    """The question without what differs from run to run, such as ids of messages."""
    if not isinstance(asked, list):
        return asked
    return [[as_object(message).get("role"), as_object(message).get("content")] for message in asked]


def _resolved(source: dict[str, Any], attachments: Attachments) -> dict[str, Any]:
    """A sample with its references replaced, and its transcript where later logs have it."""
    sample = {key: value for key, value in source.items() if key not in ("attachments", "transcript")}
    transcript = as_object(source.get("transcript"))
    if transcript:
        sample["events"] = source.get("events") or transcript.get("events")
        rest = {key: value for key, value in transcript.items() if key not in ("events", "content")}
        if rest:
            sample["transcript"] = rest
    return attachments.resolve(sample)


def _add_scores(rollout: RolloutBuilder, sample: Record) -> None:
    scores = dict(mapping(sample.take("scores"), "scores"))
    single = sample.take("score")
    if single is not None:
        scores.setdefault("score", single)
    for scorer, item in scores.items():
        score = mapping(item, f"scores.{scorer}")
        details = {key: value for key, value in score.items() if value not in (None, {}, [])}
        details_json = canonical_text(without_secrets(details)) if details else None
        parts = _parts(score.get("value"), scorer)
        for name, value in parts.items():
            rollout.add_reward(name, value, scorer, details_json=details_json)
        if len(scores) == 1 and len(parts) == 1:
            rollout.add_reward(MAIN_REWARD, next(iter(parts.values())), scorer)
    if len(scores) > 1:
        sample.note("several scorers: none of the scores is the reward")


def _parts(value: Any, scorer: str) -> dict[str, float | None]:
    """The numbers of a score, by their names."""
    name = scorer if scorer != MAIN_REWARD else f"{scorer}.value"
    if isinstance(value, dict):
        return {f"{name}.{key}": _number(part) for key, part in value.items()}
    if isinstance(value, list):
        return {f"{name}.{index}": _number(part) for index, part in enumerate(value)}
    return {name: _number(value)}


def _number(value: Any) -> float | None:
    """Null for words that are no grade."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, (int, float)):
        found = float(value)
        return found if abs(found) < float("inf") else None
    return WORDS.get(value.lower()) if isinstance(value, str) else None


def _end(rollout: RolloutBuilder, sample: Record, rest: Record, message_count: int) -> ImportedRollout:
    source = sample.source
    error, limit = sample.take("error"), sample.take("limit")
    said = as_object(error).get("traceback") or as_object(error).get("message")
    metrics = {key: sample.take(key) for key in ("model_usage", "working_time") if sample.source.get(key)}
    sample.has_read("model_usage", "working_time")
    if error is not None:
        metrics["error"] = error
    if limit is not None:
        metrics["limit"] = limit
    choices = as_object(source.get("output")).get("choices")
    reason = as_object(choices[0]).get("stop_reason") if isinstance(choices, list) and choices else None
    kind = as_object(limit).get("type")
    sample.keep(*_EXTRA_OF_SAMPLE)
    if error is not None:
        ending = Ending("error", None)
    elif limit is not None:
        ending = _LIMIT_ENDINGS.get(str(kind), Ending("unknown", True, str(kind)))
    elif not rollout.turn_count and not message_count:
        ending = Ending("error", None)
    else:
        ending = _STOP_ENDINGS.get(str(reason), Ending("unknown", None))
    return rollout.end(
        ending,
        sample,
        rest,
        recording_length=message_count,
        metrics=metrics,
        exit_status=f"limit: {kind}" if limit is not None else reason if isinstance(reason, str) else None,
        error=None if error is None else said if isinstance(said, str) else canonical_text(error),
        duration_ms=sample.milliseconds("total_time"),
    )


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "cost, in most versions",
        "token ids; logprobs name the tokens' texts",
        "the request and the response as the provider saw them, apart from ids",
        "summaries and reductions of the scores over samples and epochs",
    ),
)
