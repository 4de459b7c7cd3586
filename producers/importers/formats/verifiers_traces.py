"""`traces.jsonl` of verifiers v1 (0.2 and later) and of PRIME-RL: message graphs with token ids.

Flow: a line is an episode, or a bare trace → each trace is a rollout → its graph gives turns and tool
results → rewards → RolloutEnded.

**A trace is one rollout, identified by its id.** PRIME-RL writes it twice: under `all` when it arrives, under
`effective` when it was chosen for training. Both recordings give the same events; what only the later one
contains, such as advantages, becomes events of its own, so neither is lost and nothing conflicts.
**Streams of numbers per token** (advantages, reference log-probabilities, entropies, loss weights) are scores
of a turn: the score is their mean, the details have them all, by the node that they belong to.
**The total reward is the sum of score times weight.** If nothing was scored, it is null.
**A record states its version twice**: `version` went from 2 back to 1, hence `verifiers.version` counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from tracelake.producers.importers.conversion.chat import result_text, tools_text
from tracelake.producers.importers.conversion.fields import (
    mapping,
    number,
    sequence,
    without_secrets,
)
from tracelake.producers.importers.conversion.many_rollouts import read_parts
from tracelake.producers.importers.conversion.message_graph import (
    Node,
    path_to,
    read_graph,
    tokens_of,
    values_by_node,
)
from tracelake.producers.importers.conversion.model_response import finish_fields
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.rollout_builder import MAIN_REWARD, Ending
from tracelake.producers.importers.conversion.tree_rollout import TreeRollout
from tracelake.producers.importers.identity import Identities
from tracelake.producers.importers.importer import (
    ImportedRollout,
    Importer,
    ImportOptions,
    Refusal,
    as_object,
)
from tracelake.producers.importers.losses import Losses
from tracelake.producers.importers.source import Source, SourceRecord
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import tools_key

FORMAT = "verifiers-traces"
SUBSTRATE = "verifiers"
TRAINER = "prime-rl"
# Streams that a trainer adds to the nodes that it uses.
STREAMS = ("advantages", "reference_logprobs", "trainer_logprobs", "entropies")
# Lists of a node that may be empty; those that are not and belong to no turn stay in its rest.
NODE_LISTS = ("token_ids", "mask", "is_content", "logprobs", "tools", "semantic_parents")
# Versions before this one store log-probabilities with all digits.
FULL_PRECISION = ("0.2.", "0.3.0", "0.3.1")
_FOLLOWS = "follows from other fields"
_COUNTS = ("num_input_tokens", "num_output_tokens", "num_total_tokens")
_LIMITS = {
    "max_turns": ("max_turns", "max_turns"),
    "max_input_tokens": ("max_tokens", "max_input_tokens"),
    "max_output_tokens": ("max_tokens", "max_tokens"),
    "max_total_tokens": ("max_tokens", "max_total_tokens"),
    "context_length": ("max_tokens", "context_window"),
    "compaction_failed": ("max_tokens", "context_window"),
}


class Part(NamedTuple):
    """One trace of a line, with the episode that it belongs to."""

    position: int
    trace: Record | None
    """Null for an episode that failed before its first trace."""
    episode: Record
    """Empty for a bare trace."""
    trace_count: int


class Span(NamedTuple):
    """Versions of the weights at the start and the end of an episode."""

    start: int | None
    end: int | None


def claims(source: Source) -> bool:
    record = as_object(source.first)
    traces = record.get("traces")
    if type(traces) is not list:
        return _is_trace(record)
    if traces:
        return _is_trace(as_object(traces[0])) and "id" in record
    return record.keys() >= {"id", "ok", "errors", "task"} and type(record.get("errors")) is list


def _is_trace(record: dict[str, Any]) -> bool:
    task = as_object(record.get("task"))
    return record.keys() >= {"id", "nodes", "task"} and type(record["nodes"]) is list and "data" in task


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    identities = Identities("trace", source, options)
    return read_parts(source, FORMAT, _split, lambda part: _imported(identities, source, options, part))


def _split(record: SourceRecord) -> Iterator[Part]:
    value = mapping(record.value, "line")
    if "traces" not in value:
        losses = Losses()
        yield Part(record.position, Record(value, "$", losses), Record({}, "$", losses), 1)
        return
    traces = value["traces"]
    if type(traces) is not list:
        raise SourceFormatError("an episode without a list of traces", got=type(traces).__name__)
    for trace in traces or [None]:
        # Each rollout states the whole episode: one of its traces may be refused.
        losses = Losses()
        episode = Record(value, "$", losses)
        episode.has_read("traces")
        each = None if trace is None else Record(mapping(trace, "traces[]"), "$.traces[]", losses)
        yield Part(record.position, each, episode, len(traces))


def _imported(identities: Identities, source: Source, options: ImportOptions, part: Part) -> ImportedRollout:
    trace = part.trace or Record({}, "$.traces[]", part.episode.losses)
    task = (part.trace or part.episode).record("task")
    env = part.episode.record("env")
    environment = env.text("id") or task.source.get("type") or SUBSTRATE
    task_name = task.label("key") or task.label("hash") or hash_of(task.source.get("data"))[:16]
    trace_id = (part.trace or part.episode).label("id")
    if trace_id is None:
        raise SourceFormatError("a trace without an id", expected="the key id")
    identity = identities.own(f"{environment}-{trace_id}", trace_id)
    tools_json = _tools(trace.take("tools"))
    rollout = TreeRollout(identity, trace.losses, tools_json, part.position)
    agent = trace.record("agent")
    config = agent.take("config")
    model = as_object(config).get("model") or agent.take("model")
    sampling = as_object(config).get("sampling") or agent.take("sampling")
    policy = _policy_span(part, trace)
    versions = trace.record("verifiers")
    run = part.episode.record("run") if "run" in part.episode else trace.record("run")
    rollout.start(
        env,
        occurred_at=trace.record("timing").moment("start"),
        task_key=f"{environment}:{task_name}",
        environment=environment,
        substrate=SUBSTRATE,
        substrate_version=versions.text("version"),
        source_run=options.run or run.text("name") or run.label("id"),
        group_id=_group(part, agent.text("name")),
        model_requested=model if type(model) is str else None,
        policy_version=policy.start,
        tools_json=tools_json,
        tools_key=tools_key(tools_json),
        sampling_json=canonical_text(without_secrets(sampling)) if sampling else None,
        task_json=canonical_text({**task.take_all()}) if task.source else None,
        config_json=_configuration(part, trace, config),
    )
    nodes = read_graph(trace.records("nodes"))
    streams = _streams(nodes)
    seen = _add_turns(rollout, trace, nodes, sampling, policy)
    _add_streams(rollout, streams, seen)
    for node in nodes:
        if node.index not in seen:
            rollout.add_context(node.message, node.record)
    _add_rewards(rollout, trace, source)
    return _end(rollout, part, trace, nodes, policy)


def _configuration(part: Part, trace: Record, config: Any) -> str:
    """What ran: the agent and its box, and the episode that it was a part of."""
    agent, versions = trace.record("agent"), trace.record("verifiers")
    run = part.episode.record("run") if "run" in part.episode else trace.record("run")
    found = {
        "agent": config,
        "agent_name": agent.text("name"),
        "harness": agent.take("harness"),
        "runtime": agent.take("runtime") or trace.take("runtime"),
        "trainable": agent.flag("trainable"),
        "verifiers_commit": versions.text("commit"),
        "trace_version": trace.integer("version"),
        "episode_id": part.episode.label("id"),
        "env_name": part.episode.record("env").text("name"),
        "run": {**run.take_all()} or None,
    }
    return canonical_text(without_secrets({key: value for key, value in found.items() if value is not None}))


def _group(part: Part, agent: str | None) -> str | None:
    """Rollouts of the same agent in one group; without a group, the agents of one episode."""
    group = part.episode.record("group").label("id")
    if part.trace_count < 2:
        return group
    episode = part.episode.source.get("id")
    return f"{group}/{agent}" if group else None if episode is None else str(episode)


def _policy_span(part: Part, trace: Record) -> Span:
    """The versions of the weights at the start and the end of the episode."""
    run = as_object(part.episode.source.get("run") or trace.source.get("run"))
    span = as_object(as_object(run.get("work")).get("policy"))
    found = Record(span, "$.run.work.policy", trace.losses)
    return Span(found.integer("start"), found.integer("end"))


def _add_turns(
    rollout: TreeRollout, trace: Record, nodes: list[Node], sampling: Any, policy: Span
) -> dict[int, int]:
    """Turns and results in the order of the nodes; a node that no turn saw comes last. Returns the turn that
    first saw each node, by the node's index."""
    calls = _calls_by_node(trace, nodes)
    version = trace.record("verifiers").source.get("version")
    turns: dict[int, int] = {}
    seen: dict[int, int] = {}
    for node in nodes:
        node.record.has_read(*(key for key in NODE_LISTS if node.record.source.get(key) == []))
        if node.record.source.get("tools") == trace.source.get("tools"):
            node.record.has_read("tools")
        node.record.keep(*NODE_LISTS)
        if node.message["role"] == "tool":
            _add_result(rollout, node, turns)
        if not node.is_sampled:
            node.record.drop("the time at which the next call was stored", "timestamp")
            continue
        before = path_to(nodes, node, node.turn_before)
        call = calls.get(node.index) or Record({}, "$.calls[]", trace.losses)
        fields = _turn_fields(node, call, sampling) | _token_fields(nodes, node, version)
        if policy.start is not None and policy.start == policy.end:
            fields |= {"policy_version_start": policy.start, "policy_version_end": policy.end}
        root = (before or [node])[0]
        turns[node.index] = rollout.add_turn_after(
            None if node.turn_before is None else turns[node.turn_before],
            [(each.message, each.record) for each in before],
            node.message,
            fields,
            node.record,
            call,
            tools_json=_tools(root.record.source.get("tools")) if root.parent is None else None,
        )
        for each in (*before, node):
            seen.setdefault(each.index, turns[node.index])
    return seen


def _calls_by_node(trace: Record, nodes: list[Node]) -> dict[int, Record]:
    """The call that gave each sampled node. If several did, the last one's reply was used."""
    found: dict[int, Record] = {}
    for call in trace.records("calls"):
        index = call.source.get("node")
        if type(index) is int and 0 <= index < len(nodes) and nodes[index].is_sampled:
            found[index] = call
    return found


def _add_result(rollout: TreeRollout, node: Node, turns: dict[int, int]) -> None:
    """A result of the turn that made the call; a prompt may contain results that no turn asked for."""
    call_id = node.message.get("tool_call_id")
    call = rollout.calls.get(call_id or "")
    turn_index = call.turn_index if call else turns.get(-1 if node.turn_before is None else node.turn_before)
    if turn_index is None or rollout.has_result(turn_index, call_id):
        # Another branch has the same result.
        return
    fields = {
        "tool_call_id": call_id,
        "tool_name": call.tool_name if call else node.message.get("name"),
        "visible_output": result_text(node.message),
    }
    rollout.add_result_of(turn_index, fields)


def _turn_fields(node: Node, call: Record, sampling: Any) -> dict[str, Any]:
    usage, time = call.record("usage"), call.record("time")
    prompt, cached = usage.integer("prompt_tokens"), usage.integer("cached_input_tokens")
    start, end = time.moment("start"), time.moment("end")
    if call.source.get("sampling") == sampling:
        call.has_read("sampling")
    # Their settings may differ from the agent's.
    call.keep("sampling", "endpoint", "policy", "acp", "error")
    call.has_read("node")
    if end is not None:
        node.record.drop("the call states its time", "timestamp")
    if node.message_record.source.get("provider_state"):
        # What a provider wants back to continue its own reasoning.
        node.message["reasoning_details"] = node.message_record.take("provider_state")
    return {
        "occurred_at": end or node.record.moment("timestamp"),
        "model_requested": call.text("model"),
        **finish_fields(call.text("finish_reason")),
        # The recorder counts cached tokens apart.
        "prompt_token_count": None if prompt is None else prompt + (cached or 0),
        "cached_token_count": cached,
        "completion_token_count": usage.integer("completion_tokens"),
        "reasoning_token_count": usage.integer("reasoning_tokens"),
        "cost_usd": usage.number("cost"),
        "latency_ms": (end - start).total_seconds() * 1000 if start and end and end >= start else None,
    }


def _token_fields(nodes: list[Node], node: Node, version: Any) -> dict[str, Any]:
    tokens = tokens_of(nodes, node)
    if tokens is None:
        return {}
    fields: dict[str, Any] = {
        "prompt_ids": tokens.prompt_ids,
        "completion_ids": tokens.completion_ids,
        "completion_mask": tokens.completion_mask,
    }
    if tokens.logprobs is not None:
        exact = type(version) is str and version.startswith(FULL_PRECISION)
        rounded = not exact and all(round(each, 4) == each for each in tokens.logprobs)
        fields["sampling_logprobs"] = tokens.logprobs
        fields["logprob_source"] = "rounded_4dp" if rounded else "sampler"
    return fields


def _streams(nodes: list[Node]) -> dict[str, dict[int, list[float]]]:
    """Numbers per token that a trainer added, by name and the index of the node."""
    streams = {name: values_by_node([(node.index, node.record) for node in nodes], name) for name in STREAMS}
    for node in nodes:
        weights = node.record.record("loss_weights")
        for name in weights.source:
            stream = streams.setdefault(f"loss_weights.{name}", {})
            stream |= values_by_node([(node.index, weights)], name)
    return streams


def _add_streams(
    rollout: TreeRollout, streams: dict[str, dict[int, list[float]]], seen: dict[int, int]
) -> None:
    """By the turn that first saw their node; null: no turn did."""
    for name, values in streams.items():
        by_turn: dict[int | None, dict[str, list[float]]] = {}
        for index, each in values.items():
            by_turn.setdefault(seen.get(index), {})[str(index)] = each
        for turn_index, found in by_turn.items():
            every = [value for each in found.values() for value in each]
            details = canonical_text({"by_node": found})
            mean = math.fsum(every) / len(every)
            rollout.add_reward(name, mean, TRAINER, turn_index=turn_index, details_json=details)


def _add_rewards(rollout: TreeRollout, trace: Record, source: Source) -> None:
    """The total, its components with their weights, and the metrics. Raises SourceFormatError for a score
    that is no number."""
    scores: dict[str, tuple[float | None, float | None]] = {}
    for name, value in mapping(trace.take("rewards"), "rewards").items():
        if type(value) is dict:
            reward = Record(value, f"$.rewards.{name}", trace.losses)
            weight = reward.number("weight")
            scores[name] = (number(reward.take("score"), name), 1.0 if weight is None else weight)
            unknown = reward.rest()
            if unknown:
                trace.add_rest("rewards", {name: unknown})
        else:
            # Before 0.3 a number, which was weighted already.
            scores[name] = (number(value, f"rewards.{name}"), None if value is None else 1.0)
    if scores:
        values = [score * (weight or 0.0) for score, weight in scores.values() if score is not None]
        rollout.add_reward(MAIN_REWARD, math.fsum(values) if values else None, SUBSTRATE)
    for name, (score, weight) in scores.items():
        name_here = f"rewards.{name}" if name == MAIN_REWARD else name
        rollout.add_reward(name_here, score, SUBSTRATE, weight=weight)
    for name, value in mapping(trace.take("metrics"), "metrics").items():
        name_here = f"metrics.{name}" if name in scores or name == MAIN_REWARD else name
        rollout.add_reward(name_here, number(value, f"metrics.{name}"), SUBSTRATE)
    if source.parts[-2:] == ["effective", "traces.jsonl"]:
        rollout.add_reward("effective", 1.0, TRAINER)


def _end(rollout: TreeRollout, part: Part, trace: Record, nodes: list[Node], policy: Span) -> ImportedRollout:
    calls, episode = trace.records("calls"), part.episode
    used = list(_calls_by_node(trace, nodes).values())
    failed = [{**call.take_all()} for call in calls if call not in used]
    errors = [*trace.records("errors"), *episode.records("errors")]
    condition, ok = trace.text("stop_condition"), trace.flag("ok")
    is_completed = trace.flag("is_completed")
    ending = _ending(condition, ok, is_completed=is_completed, failed=bool(errors) or part.trace is None)
    timing = trace.record("timing")
    span = as_object(timing.source.get("agent") or timing.source.get("generation"))
    metrics = {
        "timing": {**timing.take_all()},
        "info": trace.take("info"),
        "extra_usage": trace.take("extra_usage"),
        "request_rewrites": trace.take("request_rewrites"),
        "response_rewrites": trace.take("response_rewrites"),
        "calls_without_reply": failed,
        "is_timeout": trace.flag("is_timeout") or episode.flag("is_timeout") or None,
        "ok": ok,
        "is_completed": is_completed,
        "episode_ok": episode.flag("ok"),
        "policy_version_start": policy.start,
        "policy_version_end": policy.end,
    }
    last_reason = used[-1].source.get("finish_reason") if used else None
    for record in (trace, episode):
        record.drop(_FOLLOWS, *_COUNTS)
    # Which token ids are images and videos.
    trace.keep("mm_token_type_id_map")
    if part.trace is not None:
        episode.drop("as in the trace", "task")
    return rollout.end(
        ending,
        trace,
        episode,
        recording_length=len(nodes),
        metrics={name: value for name, value in metrics.items() if value not in (None, [], {})},
        exit_status=condition,
        truncated=True if last_reason == "length" else ending.truncated,
        error="\n\n".join(_error_text(error) for error in errors) or None,
        submission=trace.text("root_reply"),
        duration_ms=_span_ms(Record(span, "$.timing", trace.losses)),
    )


def _ending(condition: str | None, ok: bool | None, *, is_completed: bool | None, failed: bool) -> Ending:
    limit = _LIMITS.get(condition or "")
    if limit is not None:
        return Ending(limit[0], True, limit[1])  # type: ignore[arg-type]
    if condition is not None and condition.endswith("_timeout"):
        return Ending("timeout", True, "timeout")
    if condition is not None and (condition == "error" or condition.endswith("_error")):
        return Ending("error", None)
    if condition in ("agent_completed", "done"):
        return Ending("completed", False)
    if failed and not ok:
        return Ending("error", None)
    if condition is not None:
        # A condition of the task's own.
        return Ending("completed", False)
    return Ending("unfinished", None) if is_completed is False else Ending("unknown", None)


def _error_text(error: Record) -> str:
    status = error.integer("status_code")
    first = f"{error.text('type')}: {error.text('message')}" + (f" (HTTP {status})" if status else "")
    traceback = error.text("traceback")
    return f"{first}\n{traceback}" if traceback else first


def _span_ms(span: Record) -> float | None:
    start, end = span.milliseconds("start"), span.milliseconds("end")
    return end - start if start and end and end >= start else None


def _tools(tools: Any) -> str | None:
    """In OpenAI's shape: the recorder writes the type among the keys of the function."""
    shaped = [
        {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}
        if as_object(tool).get("type", "function") == "function"
        else tool
        for tool in sequence(tools, "tools")
    ]
    return tools_text(shaped)


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "response ids and models served",
        "raw tool output apart from what the model saw",
        "log-probabilities with more than four decimal places (0.4 and later)",
        "routed experts and sampling masks",
        "policy versions of each call, if the weights changed during an episode",
        "the run's configuration beyond the agent's",
    ),
)
