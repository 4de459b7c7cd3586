"""Rollouts of NeMo Gym: lines `{responses_create_params, response, reward, ...}`.

Flow: request → context; the items of the response → turns and tool results → reward → RolloutEnded.

**A line is one rollout.** The response's id alone is not unique, since harnesses build it from the task: its
time and its first item join it.
**Every key of a line that is not the request, the response or the reward is output of the verifier**, whose
keys each environment chooses: the details of the reward.
**Usage belongs to the turn only if the rollout has one**; else it is a metric of the whole. Zeros next to
output mean that the harness does not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracelake.producers.importers.conversion.fields import (
    label,
    logprobs,
    mapping,
    number,
    text,
    token_ids,
    without_secrets,
)
from tracelake.producers.importers.conversion.model_response import response_fields
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.responses import (
    GENERATED,
    add_item_context,
    add_items,
    item_messages,
    item_records,
    response_tools_text,
)
from tracelake.producers.importers.conversion.rollout_builder import MAIN_REWARD, Ending, RolloutBuilder
from tracelake.producers.importers.identity import Identities, RolloutIdentity
from tracelake.producers.importers.importer import (
    ImportedRollout,
    Importer,
    ImportOptions,
    Refusal,
    as_object,
    read_records,
    refusal_of,
)
from tracelake.producers.importers.losses import Losses
from tracelake.producers.importers.source import Source, SourceRecord
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message, tools_key

FORMAT = "nemo-gym"
REQUEST = "responses_create_params"
ROLLOUT_KEYS = {REQUEST, "response", "reward"}
SAMPLING = (
    "temperature", "top_p", "max_output_tokens", "reasoning", "text", "tool_choice", "parallel_tool_calls",
    "truncation", "max_tool_calls", "top_logprobs", "service_tier",
)  # fmt: skip
# What names or describes the task, in the environments that have it.
TASK_KEYS = (
    "instance_id", "task_id", "uuid", "question", "expected_answer", "verifier_metadata", "problem_statement",
)  # fmt: skip
# Flags of harnesses: the first that is set tells the ending.
_FAILURES: tuple[tuple[str, Ending], ...] = (
    ("agent_timed_out", Ending("timeout", True, "timeout")),
    ("agent_timeout_error", Ending("timeout", True, "timeout")),
    ("container_timed_out", Ending("timeout", True, "timeout")),
    ("context_length_exceeded_error", Ending("max_tokens", True, "context_window")),
    ("memory_limit_exceeded_error", Ending("error", None)),
    ("error", Ending("error", None)),
)
_INCOMPLETE = {"max_output_tokens": Ending("max_tokens", True, "max_tokens")}


def claims(source: Source) -> bool:
    return REQUEST in as_object(source.first)


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    first = as_object(source.first)
    if "response" not in first and "reward" not in first:
        nothing = SourceFormatError(
            "tasks of NeMo Gym, and no rollouts",
            got=", ".join(sorted(map(str, first)))[:200],
            expected=", ".join(sorted(ROLLOUT_KEYS)),
        )
        yield refusal_of(nothing, format=FORMAT)
        return
    identities = Identities("nemo", source, options)

    def convert(record: SourceRecord) -> ImportedRollout:
        line = Record(mapping(record.value, "line"), "$", Losses())
        return _imported(identities, options, record.position, line)

    yield from read_records(source, FORMAT, convert)


def _imported(identities: Identities, options: ImportOptions, position: int, line: Record) -> ImportedRollout:
    if not line.source.keys() >= ROLLOUT_KEYS:
        raise SourceFormatError(
            "a line without the keys of a rollout",
            got=", ".join(sorted(map(str, line.source)))[:200],
            expected=", ".join(sorted(ROLLOUT_KEYS)),
        )
    # Both may be null: the rollout failed.
    reward = number(line.take("reward"), "reward")
    request = Record(mapping(line.take(REQUEST), REQUEST), f"$.{REQUEST}", line.losses)
    response = Record(mapping(line.take("response"), "response"), "$.response", line.losses)
    tools_json = response_tools_text(request.take("tools"))
    asked = request.take("input")
    metadata = request.take("metadata")
    task = {"metadata": metadata} | {key: line.source[key] for key in TASK_KEYS if key in line}
    task_key = _task_key(line, metadata, [asked, request.source.get("instructions"), metadata, tools_json])
    identity = _identity(identities, line, response, task_key)
    rollout = RolloutBuilder(identity, line.losses, tools_json, position=position)
    agent = as_object(line.source.get("agent_ref"))
    environment = label(agent.get("name"), "agent_ref.name") or FORMAT
    sampling = {name: request.take(name) for name in SAMPLING if request.source.get(name) is not None}
    model = request.text("model") or response.text("model") or None
    policy = options.run or hash_of([environment, model, sampling])[:16]
    context = item_records(asked, f"$.{REQUEST}.input", line.losses)
    instructions = request.text("instructions")
    request.keep("include", "previous_response_id", "prompt", "store", "stream", "user", "background")
    rollout.start(
        request,
        task_key=task_key,
        environment=environment,
        substrate=FORMAT,
        source_run=options.run,
        group_id=f"{policy}/{task_key}",
        trial_index=line.integer("_ng_rollout_index"),
        model_requested=model,
        tools_json=tools_json,
        tools_key=tools_key(tools_json),
        sampling_json=canonical_text(without_secrets(sampling)) if sampling else None,
        task_json=canonical_text(without_secrets({key: task[key] for key in task if task[key] is not None})),
        config_json=canonical_text(without_secrets({"agent_ref": agent})) if agent else None,
    )
    if instructions:
        rollout.add_context({"role": "system", "content": instructions})
    add_item_context(rollout, context)
    _add_turns(rollout, response, model)
    details = {key: line.take(key) for key in line.source if key not in ROLLOUT_KEYS and key in line}
    details_json = canonical_text(without_secrets(details)) if details else None
    rollout.add_reward(MAIN_REWARD, reward, FORMAT, details_json=details_json)
    return _end(rollout, line, response)


def _task_key(line: Record, metadata: Any, asked: list[Any]) -> str:
    """The name of a task that other formats know too, such as an instance of SWE-bench; else by what was
    asked."""
    for found in (line.source.get("instance_id"), as_object(metadata).get("instance_id")):
        if type(found) is str and found:
            return found
    return f"{FORMAT}:{hash_of(asked)[:16]}"


def _identity(identities: Identities, line: Record, response: Record, task_key: str) -> RolloutIdentity:
    indices = [line.source.get("_ng_task_index"), line.source.get("_ng_rollout_index")]
    name = f"{as_object(line.source.get('agent_ref')).get('name') or FORMAT}-{task_key}"
    output = response.source.get("output")
    response_id = response.source.get("id")
    if response_id and output:
        first = output[0] if isinstance(output, list) else None
        created_at = response.source.get("created_at")
        return identities.first_call(name, task_key, indices, response_id, created_at, first)
    patch = line.source.get("model_patch")
    return identities.content(
        name, task_key, indices, response.source, patch, is_unique=bool(output or patch)
    )


def _add_turns(rollout: RolloutBuilder, response: Record, model: str | None) -> None:
    output = item_records(response.take("output"), "$.response.output", response.losses)
    # A look at copies: reading marks keys as read.
    copies = [Record(item.source, item.where, Losses()) for item in output]
    turn_count = sum(message["role"] == "assistant" for message, _ in item_messages(copies))
    is_counted = _is_counted(response)
    if output and not is_counted and "usage" in response:
        response.note("usage of 0 tokens next to output: unknown")
    shared = {"model_requested": model, "model_served": response.text("model") or None}

    def turn_fields(message: Message, items: list[Record]) -> dict[str, Any]:
        fields = dict(shared)
        if turn_count == 1:
            fields = response_fields(response) | shared
            if not is_counted:
                counts = ("prompt", "cached", "completion", "reasoning")
                fields |= {f"{name}_token_count": None for name in counts}
        return fields | _token_fields(items)

    add_items(rollout, output, turn_fields)


def _is_counted(response: Record) -> bool:
    usage = as_object(response.source.get("usage"))
    return bool(usage.get("input_tokens") or usage.get("output_tokens"))


def _token_fields(items: list[Record]) -> dict[str, Any]:
    """Token ids, where the policy is being trained: on the last item of a completion."""
    found: dict[str, Any] = {}
    for item in items:
        prompt_ids = token_ids(item.take("prompt_token_ids"), "prompt_token_ids")
        completion_ids = token_ids(item.take(GENERATED), GENERATED)
        sampled = logprobs(item.take("generation_log_probs"), "generation_log_probs")
        item.keep("routed_experts")
        if completion_ids is None:
            continue
        found = {"prompt_ids": prompt_ids, "completion_ids": completion_ids}
        if sampled and len(sampled) == len(completion_ids):
            found |= {"sampling_logprobs": sampled, "logprob_source": "sampler"}
    return found


def _end(rollout: RolloutBuilder, line: Record, response: Record) -> ImportedRollout:
    source = line.source
    incomplete = text(as_object(response.source.get("incomplete_details")).get("reason"), "reason")
    error = source.get("error") or response.source.get("error")
    patch = source.get("model_patch")
    metrics: dict[str, Any] = {}
    if rollout.turn_count != 1:
        # Marks the keys of the schema as known; the values of the whole are no turn's.
        response_fields(response)
        if _is_counted(response):
            metrics["usage"] = response.source["usage"]
    return rollout.end(
        _ending(rollout, line, response, incomplete),
        response,
        metrics=metrics,
        exit_status=incomplete or text(response.source.get("status"), "status"),
        error=None if not error else error if type(error) is str else canonical_text(error),
        submission=patch if type(patch) is str and patch else None,
    )


def _ending(rollout: RolloutBuilder, line: Record, response: Record, incomplete: str | None) -> Ending:
    for key, ending in _FAILURES:
        if line.source.get(key):
            return ending
    if response.source.get("error"):
        return Ending("error", None)
    if incomplete:
        return _INCOMPLETE.get(incomplete, Ending("unknown", True))
    if not rollout.turn_count:
        if line.source.get("model_patch"):
            line.note("the agent's items are missing, but not its patch: a rollout of unknown turns")
            return Ending("unknown", None)
        return Ending("error", None)
    if line.source.get("truncated") is True:
        return Ending("max_turns", True, "max_turns")
    output = response.source["output"]
    last = as_object(output[-1])
    spoke = last.get("role") == "assistant" and last.get("type") == "message"
    finished = line.source.get("terminated") is True or line.source.get("finished_naturally") is True
    return Ending("completed", False) if spoke or finished else Ending("unknown", None)


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "usage, response id and time of each call of a rollout with several",
        "cost",
        "token ids and logprobs, unless the policy was being trained",
        "raw tool output apart from what the model saw",
        "where one call ends and the next begins without a tool result between them",
    ),
)
