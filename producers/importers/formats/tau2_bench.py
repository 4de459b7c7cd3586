"""tau2-bench's simulations: one results file `{info, tasks, simulations}`, or an index with a file for each
simulation.

Flow: info and tasks → `Run` → for each simulation: policy and messages → turns and tool results → rewards.

**A simulation is one rollout**, identified by its own id.
**The policy is the beginning of the context**, with the ticket of a task without a user; the agent's own
instructions around them are not recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tracelake.producers.importers.conversion.fields import (
    label,
    mapping,
    number,
    sequence,
    text,
    without_secrets,
)
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.rollout_builder import MAIN_REWARD, Ending, RolloutBuilder
from tracelake.producers.importers.conversion.tau2_conversation import Conversation, message_records
from tracelake.producers.importers.conversion.tau2_ticks import messages_of_ticks
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
from tracelake.producers.importers.source import Source, SourceRecord
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import tools_key

FORMAT = "tau2-bench"
INDEX = "../results.json"
SIMULATION_KEYS = {"id", "task_id", "start_time", "termination_reason"}
VERDICT_KEYS = {"total_judged", "agree_count", "entries"}

_ENDINGS: dict[str, Ending] = {
    "user_stop": Ending("completed", False),
    "agent_stop": Ending("completed", False),
    "max_steps": Ending("max_turns", True, "max_turns"),
    "timeout": Ending("timeout", True, "timeout"),
    "too_many_errors": Ending("error", True, "max_errors"),
    "agent_error": Ending("error", None),
    "user_error": Ending("error", None),
    "infrastructure_error": Ending("error", None),
    "unexpected_error": Ending("error", None),
    "context_window_exceeded": Ending("max_tokens", True, "context_window"),
}
_EXTRA_OF_SIMULATION = (
    "seed", "speech_environment", "review", "user_only_review", "info", "auth_classification",
    "hallucination_retries_used", "hallucination_check", "provider_session_id", "effect_timeline",
)  # fmt: skip
_OF_THE_RUN = "of the run, not of a rollout"


class Run(NamedTuple):
    """What the simulations of one results file share."""

    info: dict[str, Any]
    """What stays the same when the run is resumed; without policy and tools."""
    version: str | None
    domain: str | None
    policy: str | None
    tools_json: str | None
    model: str | None
    sampling: dict[str, Any]
    is_solo: bool
    """The agent works on a ticket, without a user."""
    tasks: dict[str, dict[str, Any]]


def claims(source: Source) -> bool:
    document = as_object(source.first)
    return _is_results(document) or _is_simulation(document) or document.keys() >= VERDICT_KEYS


def _is_results(document: dict[str, Any]) -> bool:
    info = as_object(document.get("info"))
    return "tasks" in document and info.keys() >= {"agent_info", "environment_info"}


def _is_simulation(document: dict[str, Any]) -> bool:
    return document.keys() >= SIMULATION_KEYS and ("messages" in document or "ticks" in document)


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    losses = Losses()
    document = as_object(source.first)
    try:
        if document.keys() >= VERDICT_KEYS:
            raise SourceFormatError(
                "a judge's verdicts on simulations",
                got=f"{len(sequence(document['entries'], 'entries'))} verdicts, without messages",
                expected="the simulations themselves",
            )
        records = source.records()
        index = None
        if _is_results(document):
            index = document
            if "simulations" not in index:
                raise SourceFormatError(
                    "the index of a run",
                    got="no simulations in it",
                    expected="files in the folder simulations next to it",
                    cure="Import the folder: each simulation is read together with this index.",
                )
            simulations = sequence(index["simulations"], "simulations")
            records = (SourceRecord(position, value) for position, value in enumerate(simulations, start=1))
        elif (found := source.sibling(INDEX)) is not None:
            index = mapping(parse_json(found), INDEX)
        run = _run(Record(index or {}, "$", losses))
    except SHAPE_ERRORS as error:
        yield refusal_of(error, format=FORMAT)
        return
    identities = Identities("tau2", source, options)

    def convert(record: SourceRecord) -> ImportedRollout:
        simulation = Record(mapping(record.value, "simulation"), "$.simulations[]", Losses())
        if index is None:
            simulation.note("no results.json of this run was found: its model and policy are unknown")
        return _imported(run, identities, options, record.position, simulation)

    for position, piece in enumerate(read_each(records, FORMAT, convert)):
        if position == 0 and isinstance(piece, ImportedRollout):
            piece.losses.add(losses)
        yield piece


def _run(document: Record) -> Run:
    info = document.record("info")
    agent, environment = info.record("agent_info"), info.record("environment_info")
    shared = {name: value for name, value in info.source.items() if name != "num_trials"}
    shared["environment_info"] = {
        name: value for name, value in environment.source.items() if name not in ("policy", "tool_defs")
    }
    run = Run(
        info=without_secrets(shared) if info.source else {},
        version=info.text("git_commit"),
        domain=environment.text("domain_name"),
        policy=environment.text("policy"),
        tools_json=_tools_text(environment),
        model=agent.text("llm"),
        sampling=agent.record("llm_args").take_all(),
        is_solo="solo" in (agent.text("implementation") or ""),
        tasks={
            label(mapping(task, "tasks[]").get("id"), "tasks[].id") or "": task
            for task in sequence(document.take("tasks"), "tasks")
        },
    )
    info.drop(_OF_THE_RUN, "num_trials")
    for record in (info, agent, environment):
        # All of it is in `info`.
        record.take_all()
    document.has_read("simulations")
    document.drop(
        _OF_THE_RUN, *(key for key in document.source if key not in ("info", "tasks", "simulations"))
    )
    return run


def _tools_text(environment: Record) -> str | None:
    """tau2 describes a tool by its signature; null if the run did not save them."""
    found = environment.take("tool_defs")
    shaped: list[Any] = []
    for item in sequence(list(found.values()) if isinstance(found, dict) else found, "tool_defs"):
        tool = mapping(item, "tool_defs[]")
        if "function" in tool:
            shaped.append(tool)
            continue
        names = {"doc": "description", "params": "parameters"}
        function = {names.get(name, name): value for name, value in tool.items() if value is not None}
        shaped.append({"type": "function", "function": function})
    return canonical_text(shaped) if shaped else None


def _imported(
    run: Run, identities: Identities, options: ImportOptions, position: int, simulation: Record
) -> ImportedRollout:
    if not _is_simulation(simulation.source):
        raise SourceFormatError(
            "not a simulation",
            got=", ".join(sorted(map(str, simulation.source)))[:200],
            expected=f"{', '.join(sorted(SIMULATION_KEYS))}, and messages or ticks",
        )
    task_id = label(simulation.take("task_id"), "task_id") or ""
    name = f"{FORMAT}-{run.domain}" if run.domain else FORMAT
    simulation_id = text(simulation.take("id"), "id")
    identity = identities.own(f"{name}-{task_id}", simulation_id)
    rollout = RolloutBuilder(identity, simulation.losses, run.tools_json, position=position)
    task = run.tasks.get(task_id)
    # The prompt and the state of the world; how it is graded may be revised.
    asked = {key: (task or {}).get(key) for key in ("user_scenario", "ticket", "initial_state")}
    task_key = f"{name}:{task_id}" if task is None else f"{name}:{task_id}-{hash_of(asked)[:8]}"
    run_name = options.run or (hash_of(run.info)[:16] if run.info else None)
    rollout.start(
        task_key=task_key,
        environment=name,
        substrate=FORMAT,
        substrate_version=run.version,
        source_run=options.run,
        group_id=f"{run_name}/{task_key}" if run_name else None,
        trial_index=simulation.integer("trial"),
        model_requested=run.model,
        tools_json=run.tools_json,
        tools_key=tools_key(run.tools_json),
        sampling_json=canonical_text(without_secrets(run.sampling)) if run.sampling else None,
        task_json=canonical_text({"id": task_id} if task is None else task),
        config_json=canonical_text(run.info) if run.info else None,
    )
    policy = simulation.text("policy") or run.policy
    ticket = text((task or {}).get("ticket"), "ticket") if run.is_solo else None
    if policy or ticket:
        rollout.add_context({"role": "system", "content": "\n\n".join(filter(None, (policy, ticket)))})
    conversation = Conversation(rollout, run.model, simulation.losses)
    messages = _messages(simulation)
    for message in messages:
        conversation.add(message)
    _add_rewards(rollout, simulation)
    return _end(rollout, simulation, conversation, len(messages))


def _messages(simulation: Record) -> list[Record]:
    found = sequence(simulation.take("messages"), "messages")
    ticks = sequence(simulation.take("ticks"), "ticks")
    if ticks and not found:
        found = messages_of_ticks(ticks)
        simulation.note("full duplex: what a side says over several ticks is one message")
        if not found:
            raise SourceFormatError(
                "a full-duplex simulation without words",
                got=f"{len(ticks)} ticks, none with text or a tool call",
                expected="content in the chunks",
                cure="Its text was removed; import the original file.",
            )
    elif ticks:
        simulation.drop("the same as the messages", "ticks")
    return message_records(found, simulation.losses)


def _add_rewards(rollout: RolloutBuilder, simulation: Record) -> None:
    """The reward that counts, then its parts; none if the simulation was not graded."""
    info = mapping(simulation.take("reward_info"), "reward_info")
    if not info:
        return
    if "reward" not in info:
        raise SourceFormatError("reward_info without a reward", got=", ".join(sorted(info))[:200])
    details = {key: value for key, value in info.items() if key != "reward" and value is not None}
    details_json = canonical_text(details) if details else None
    score = number(info["reward"], "reward_info.reward")
    rollout.add_reward(MAIN_REWARD, score, FORMAT, details_json=details_json)
    for name, part in mapping(info.get("reward_breakdown"), "reward_info.reward_breakdown").items():
        if name != MAIN_REWARD:
            rollout.add_reward(name, number(part, f"reward_info.reward_breakdown.{name}"), FORMAT)


def _end(
    rollout: RolloutBuilder, simulation: Record, conversation: Conversation, message_count: int
) -> ImportedRollout:
    reason = simulation.text("termination_reason") or ""
    failed = reason.endswith("error")
    error = as_object(simulation.source.get("info")).get("error") if failed else None
    cost_usd = simulation.number("agent_cost")
    if cost_usd == 0 and conversation.has_unknown_cost:
        cost_usd = None
    metrics = {name: simulation.take(name) for name in ("user_cost", "agent_usage") if name in simulation}
    if simulation.source.get("mode") == "half_duplex":
        simulation.has_read("mode")
    simulation.keep("timestamp", "start_time", "end_time", "mode", *_EXTRA_OF_SIMULATION)
    return rollout.end(
        _ENDINGS.get(reason) or Ending("error" if failed else "unknown", None),
        simulation,
        *conversation.aside,
        recording_length=message_count,
        metrics=metrics,
        exit_status=reason or None,
        error=error if isinstance(error, str) else None,
        cost_usd=cost_usd,
        duration_ms=simulation.milliseconds("duration"),
    )


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "the agent's instructions around the policy",
        "tool definitions, unless the run saved them",
        "model served and response id of each call, in most versions",
        "times as points in time: the recorder's clock names no zone",
        "token ids and logprobs",
        "raw tool output apart from what the model saw",
    ),
)
