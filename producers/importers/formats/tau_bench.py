"""tau-bench's results: one JSON list of `{task_id, reward, info, traj, trial}`.

**An element is one rollout**, identified by the file, the task and the trial.
**The model is unknown**: at best the file's name mentions one, which proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracelake.producers.importers.conversion.chat import chat_messages
from tracelake.producers.importers.conversion.fields import integer, label, mapping, number
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
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.events.rollout_events import RewardAssigned, RolloutEnded, RolloutStarted
from tracelake.schemas.message import Message, content_text

FORMAT = "tau-bench"
KEYS = {"task_id", "reward", "info", "traj", "trial"}
DOMAINS = ("airline", "retail")
USER_STOP = "###STOP###"
TRANSFER_TOOL = "transfer_to_human_agents"
ELEMENTS_SNIFFED = 20


def claims(parsed: ParsedSource) -> bool:
    document = parsed.document
    if not isinstance(document, list):
        return False
    return any(
        isinstance(element, dict) and element.keys() >= KEYS for element in document[:ELEMENTS_SNIFFED]
    )


def read(parsed: ParsedSource, companions: Companions) -> Iterator[ImportedRollout | Refusal]:
    for position, element in enumerate(parsed.document, start=1):
        try:
            yield _imported(parsed.source, position, mapping(element, "element"))
        except SHAPE_ERRORS as error:
            excerpt = repr(element)[:200].encode("utf-8", "replace")
            yield refusal_of(error, line=position, data=excerpt, format=FORMAT)


def _imported(source: SourceFile, position: int, element: dict[str, Any]) -> ImportedRollout:
    if not element.keys() >= KEYS:
        raise SourceFormatError(
            "an element without the keys of a result",
            got=", ".join(sorted(element)),
            expected=", ".join(sorted(KEYS)),
        )
    task_id, trial = label(element["task_id"], "task_id"), integer(element["trial"], "trial")
    rollout_id = rollout_id_of("tau", f"{_domain(source)}-{task_id}-{trial}", [source.name, task_id, trial])
    info = mapping(element["info"], "info")
    messages = chat_messages(element["traj"], "traj")
    rollout = RolloutBuilder(rollout_id)
    rollout.events.append(_started(source, rollout_id, element, info, position))
    _add_messages(rollout, messages, position)
    rollout.events.append(_reward(rollout_id, element, info, position))
    ended = _ended(rollout, messages, info, position)
    return rollout.imported(ended, notes=("model unknown: the file does not name it",))


def _add_messages(rollout: RolloutBuilder, messages: list[Message], position: int) -> None:
    replies = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            rollout.add_turn(message, {"source_position": position})
            continue
        if message["role"] == "tool" and rollout.turn_count:
            content = content_text(message["content"])
            call_id = message.get("tool_call_id")
            seen = index < replies[-1]
            fields = {
                "tool_call_id": call_id,
                "tool_name": rollout.called_tool(call_id) or message.get("name"),
                "raw_output": None if seen else content,
                "visible_output": content if seen else None,
                "error": content if content.startswith("Error:") else None,
                "source_position": position,
            }
            rollout.add_tool_result(fields)
        rollout.add_context(message)


def _started(
    source: SourceFile, rollout_id: str, element: dict[str, Any], info: dict[str, Any], position: int
) -> RolloutStarted:
    task = info.get("task")
    domain = _domain(source)
    return RolloutStarted(
        rollout_id=rollout_id,
        task_key=f"{FORMAT}-{domain}:{label(element['task_id'], 'task_id')}",
        environment=f"{FORMAT}-{domain}",
        substrate=FORMAT,
        source_run=source.stem,
        group_id=f"{source.stem}/{label(element['task_id'], 'task_id')}",
        trial_index=integer(element["trial"], "trial"),
        task_json=None if task is None else canonical_text(task),
        source_position=position,
    )


def _reward(rollout_id: str, element: dict[str, Any], info: dict[str, Any], position: int) -> RewardAssigned:
    details = info.get("reward_info")
    return RewardAssigned(
        rollout_id=rollout_id,
        name="reward",
        score=number(element["reward"], "reward"),
        grader=FORMAT,
        details_json=None if details is None else canonical_text(details),
        source_position=position,
    )


def _ended(
    rollout: RolloutBuilder, messages: list[Message], info: dict[str, Any], position: int
) -> RolloutEnded:
    ending = _ending(messages[-1] if messages else None, info)
    metrics = {name: info[name] for name in ("user_cost", "source") if info.get(name) is not None}
    return RolloutEnded(
        rollout_id=rollout.rollout_id,
        stop_reason=ending.stop_reason,
        turn_count=rollout.turn_count,
        truncated=ending.truncated,
        truncated_by=ending.truncated_by,
        metrics_json=rollout.metrics_text(metrics),
        source_position=position,
    )


def _ending(last: Message | None, info: dict[str, Any]) -> Ending:
    """The runner computes `reward_info` only if the environment reported that it was done; else the turns ran
    out."""
    if last is None:
        return Ending("unknown", None)
    if last["role"] == "user" and USER_STOP in content_text(last["content"]):
        return Ending("completed", False)
    if last.get("name") == TRANSFER_TOOL:
        return Ending("tool_stopped", False)
    if "reward_info" in info and info["reward_info"] is None:
        return Ending("max_turns", True, "max_turns")
    return Ending("unknown", None)


def _domain(source: SourceFile) -> str:
    """From the file's name, the only place that names it; the whole stem if it names no known domain."""
    stem = source.stem
    return next((domain for domain in DOMAINS if stem.endswith(domain)), stem)


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "model, response ids, usage and cost of the agent's calls",
        "tool definitions",
        "times",
        "token ids and logprobs",
        "raw tool output apart from what the model saw",
        "sampling parameters",
    ),
)
