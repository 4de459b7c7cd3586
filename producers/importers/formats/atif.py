"""ATIF, harbor's trajectory format, 1.0 to 1.8: one JSON document per trajectory.

Flow: document → agent → for each of its entries: a message of the context, or an agent's call with its
observation → RolloutEnded. Subagents' trajectories inside a document are rollouts too.

**Only an entry that a model call made is a turn.** Copied context and entries without a call join the
context.
**`session_id` is not unique**: `trajectory_id` is the identity where there is one, else session, agent and
the first entries.
**An observation without a call id joins the context as the user's message**, as agents that read a terminal
send it.
**Rewards are no part of ATIF.** A `result.json` next to the document grades it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tracelake.producers.importers.conversion.chat import chat_content, tools_text
from tracelake.producers.importers.conversion.fields import logprobs, mapping, number, sequence, token_ids
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.rollout_builder import MAIN_REWARD, Ending, RolloutBuilder
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
from tracelake.producers.importers.json_text import parse_json
from tracelake.producers.importers.losses import Losses
from tracelake.producers.importers.source import Source
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message, content_text, tools_key

FORMAT = "atif"
ENTRIES = "steps"
SUBAGENTS = "subagent_trajectories"
RESULT = "result.json"
ROLES = {"system": "system", "user": "user", "agent": "assistant"}
FIRST_ENTRIES = 4
"""Enough for the task and the first reply."""


def claims(source: Source) -> bool:
    document = as_object(source.document)
    return str(document.get("schema_version", "")).startswith("ATIF-") and isinstance(
        document.get(ENTRIES), list
    )


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    whole = Record(mapping(source.document, "document"), "$", Losses())
    yield from _read(source, options, whole, source.sibling(RESULT))


def _read(
    source: Source, options: ImportOptions, whole: Record, result: bytes | None
) -> Iterator[ImportedRollout | Refusal]:
    try:
        inner = sequence(whole.source.get(SUBAGENTS), SUBAGENTS)
        subagents = [Record(mapping(document, SUBAGENTS), "$", Losses()) for document in inner]
        whole.keep(SUBAGENTS)
        yield _imported(source, options, whole, result)
    except SHAPE_ERRORS as error:
        yield refusal_of(error, format=FORMAT)
        return
    for subagent in subagents:
        yield from _read(source, options, subagent, None)


def _imported(source: Source, options: ImportOptions, whole: Record, result: bytes | None) -> ImportedRollout:
    agent = whole.record("agent")
    entries = whole.records(ENTRIES)
    if not entries:
        raise SourceFormatError("a trajectory without entries", expected="one at least")
    whole.has_read("schema_version", "trajectory_id")
    whole.keep("session_id", "notes", "continued_trajectory_ref", "extra")
    agent.keep("extra")
    tools_json = tools_text(agent.take("tool_definitions"))
    rollout = RolloutBuilder(_identity(source, options, whole, entries), whole.losses, tools_json)
    model = agent.text("model_name")
    name = agent.text("name") or FORMAT
    questions = [entry.source for entry in entries if entry.source.get("source") == "user"]
    question = content_text(chat_content(questions[0].get("message"))) if questions else ""
    rollout.start(
        task_key=f"{name}:{hash_of(question)[:16]}",
        environment=name,
        substrate=name,
        substrate_version=agent.text("version"),
        source_run=options.run,
        model_requested=model,
        tools_json=tools_json,
        tools_key=tools_key(tools_json),
        config_json=canonical_text(agent.source["extra"]) if agent.source.get("extra") else None,
    )
    for index, entry in enumerate(entries):
        _add_entry(rollout, index, entry, model)
    failure = _add_rewards(rollout, whole, result)
    final = whole.record("final_metrics")
    cost = final.number("total_cost_usd")
    final.keep(
        "total_prompt_tokens", "total_completion_tokens", "total_cached_tokens", "total_steps", "extra"
    )
    no_call = Ending("error", None) if not rollout.turn_count else Ending("unknown", None)
    return rollout.end(
        Ending("error", None) if failure else no_call,
        whole,
        recording_length=len(entries),
        cost_usd=cost,
        error=failure,
        source_position=len(entries) - 1,
    )


def _identity(
    source: Source, options: ImportOptions, whole: Record, entries: list[Record]
) -> RolloutIdentity:
    identities = Identities("atif", source, options, stable_parts=3)
    agent = as_object(whole.source.get("agent"))
    trajectory_id = whole.source.get("trajectory_id")
    if trajectory_id is not None:
        return identities.own(agent.get("name"), trajectory_id)
    calls = [entry.source for entry in entries if entry.source.get("source") == "agent"]
    stable = [whole.source.get("session_id"), agent, [entry.source for entry in entries[:FIRST_ENTRIES]]]
    # The first call has an observation only later.
    first_call = {key: value for key, value in calls[0].items() if key != "observation"} if calls else None
    before = [entry for entry in stable[2] if entry.get("source") != "agent"][:2]
    return identities.content(agent.get("name"), *stable[:2], before, first_call, is_unique=bool(calls))


def _add_entry(rollout: RolloutBuilder, index: int, entry: Record, model: str | None) -> None:
    role = ROLES.get(str(entry.source.get("source")))
    if role is None:
        raise SourceFormatError(
            "an entry of an unknown source",
            got=f"entry {index + 1}",
            expected=", ".join(ROLES),
            cure="Upgrade tracelake if the format has a new one.",
        )
    entry.has_read("source", "step_id")
    entry.keep("extra", "is_copied_context", "llm_call_count", "reasoning_effort")
    message = _message(entry, role)
    results = entry.record("observation").detached("results")
    call_count = entry.source.get("llm_call_count")
    if role != "assistant" or entry.source.get("is_copied_context") is True or call_count == 0:
        entry.keep("model_name")
        rollout.add_context(message, entry)
        for result in results:
            rollout.add_context(_result_message(result), result)
        return
    if type(call_count) is int and call_count > 1:
        entry.note("an entry of several model calls is one turn: its metrics are those of all of them")
    rollout.add_turn(message, _turn_fields(index, entry, model), entry)
    _add_results(rollout, index, results, message)


def _message(entry: Record, role: str) -> Message:
    message: Message = {"role": role, "content": chat_content(entry.take("message"), entry)}
    calls = entry.records("tool_calls")
    if calls:
        message["tool_calls"] = [_call(call) for call in calls]
    reasoning = entry.text("reasoning_content")
    if reasoning:
        message["reasoning_content"] = reasoning
    return message


def _call(call: Record) -> Message:
    arguments = call.take("arguments")
    if type(arguments) is not str:
        arguments = canonical_text({} if arguments is None else arguments)
    function = {"name": call.text("function_name"), "arguments": arguments}
    call.keep("extra")
    return {"id": call.text("tool_call_id"), "type": "function", "function": function}


def _turn_fields(index: int, entry: Record, model: str | None) -> dict[str, Any]:
    metrics = entry.record("metrics")
    metrics.keep("extra")
    completion_ids = token_ids(metrics.take("completion_token_ids"), "completion_token_ids")
    sampled = logprobs(metrics.take("logprobs"), "logprobs")
    fits = sampled is not None and completion_ids is not None and len(sampled) == len(completion_ids)
    if sampled is not None and not fits:
        metrics.note("logprobs without a token id for each are not imported")
    return {
        "model_requested": entry.text("model_name") or model,
        "prompt_token_count": metrics.integer("prompt_tokens"),
        "completion_token_count": metrics.integer("completion_tokens"),
        "cached_token_count": metrics.integer("cached_tokens"),
        "cost_usd": metrics.number("cost_usd"),
        "prompt_ids": token_ids(metrics.take("prompt_token_ids"), "prompt_token_ids"),
        "completion_ids": completion_ids,
        "sampling_logprobs": sampled if fits else None,
        "logprob_source": "sampler" if fits else None,
        "occurred_at": entry.moment("timestamp"),
        "source_position": index,
    }


def _add_results(rollout: RolloutBuilder, index: int, results: list[Record], action: Message) -> None:
    ids = Counter(call["id"] for call in action.get("tool_calls", []))
    doubled = {call_id for call_id, count in ids.items() if count > 1}
    for result in results:
        message = _result_message(result)
        call_id = message.get("tool_call_id")
        if call_id in doubled:
            result.note("two calls of one entry have the same id: which one a result answers is unknown")
        fields = {
            "tool_call_id": call_id,
            "tool_name": None if call_id in doubled else rollout.called_tool(call_id),
            "visible_output": content_text(message["content"]),
            "source_position": index,
        }
        rollout.add_tool_result(fields, result)
        rollout.add_context(message)


def _result_message(result: Record) -> Message:
    content = chat_content(result.take("content"), result)
    call_id = result.text("source_call_id")
    result.keep("subagent_trajectory_ref", "extra")
    if call_id is None:
        return {"role": "user", "content": content}
    return {"role": "tool", "content": content, "tool_call_id": call_id}


def _add_rewards(rollout: RolloutBuilder, whole: Record, data: bytes | None) -> str | None:
    """Rewards of the trial's result; returns the text of the exception that ended it."""
    if data is None:
        return None
    trial = mapping(parse_json(data), RESULT)
    verifier = mapping(trial.get("verifier_result"), "verifier_result")
    if verifier.get("reward_valid") is False:
        whole.note("the verifier's reward is marked as not valid: not imported")
    else:
        for name, score in mapping(verifier.get("rewards"), "rewards").items():
            rollout.add_reward(MAIN_REWARD if name == "reward" else name, number(score, name), "harbor")
    failure = trial.get("exception_info")
    return None if failure is None else canonical_text(failure)


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "rewards, unless result.json lies next to the trajectory",
        "model served, response id and finish reason of each call",
        "times of single calls and tools",
        "raw tool output apart from what the model saw",
    ),
)
