"""tau-bench's results: one JSON list of `{task_id, reward, info, traj, trial}`.

**An element is one rollout**; its identity is the file, the task and the trial.
**The file does not say which model spoke**: the name is in the file's own name at best, which proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracelake.producers.importers.chat import TurnsBuilder, call_names, chat_messages
from tracelake.producers.importers.fields import integer, label, mapping, number
from tracelake.producers.importers.source import (
    SHAPE_ERRORS,
    Imported,
    Importer,
    Opened,
    Refused,
    Siblings,
    SourceFile,
    refused,
    rollout_id_of,
)
from tracelake.schemas.canonical import canonical_text
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.events.rollout_events import (
    RewardAssigned,
    RolloutEnded,
    RolloutStarted,
    StopReason,
    ToolReturned,
)
from tracelake.schemas.message import Message, content_text

FORMAT = "tau-bench"
KEYS = {"task_id", "reward", "info", "traj", "trial"}
DOMAINS = ("airline", "retail")
USER_STOP = "###STOP###"
TRANSFER_TOOL = "transfer_to_human_agents"
ELEMENTS_SNIFFED = 20


def claims(opened: Opened) -> bool:
    document = opened.document
    if not isinstance(document, list):
        return False
    return any(
        isinstance(element, dict) and element.keys() >= KEYS for element in document[:ELEMENTS_SNIFFED]
    )


def read(opened: Opened, siblings: Siblings) -> Iterator[Imported | Refused]:
    for number_, element in enumerate(opened.document, start=1):
        try:
            yield _imported(opened.source, number_, mapping(element, "element"))
        except SHAPE_ERRORS as error:
            yield refused(
                error, line=number_, data=repr(element)[:200].encode("utf-8", "replace"), format=FORMAT
            )


def _imported(source: SourceFile, position: int, element: dict[str, Any]) -> Imported:
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
    turns = TurnsBuilder(rollout_id)
    turns.events.append(_started(source, rollout_id, element, info, position))
    result_count = _take(turns, messages, position)
    reward = _reward(rollout_id, element, info, position)
    turns.events.append(reward)
    turns.events.append(_ended(turns, messages, info, position))
    return Imported(
        rollout_id,
        turns.events,
        turns.turn_count,
        result_count,
        reward=reward.score or 0.0,
        reward_count=1,
        notes=("model unknown: the file does not name it",),
    )


def _take(turns: TurnsBuilder, messages: list[Message], position: int) -> int:
    """Adds turns and tool results; returns the count of results."""
    replies = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    names: dict[str, str] = {}
    result_count = answered = 0
    for place, message in enumerate(messages):
        if message["role"] == "assistant":
            turns.add_turn(message, {"source_position": position})
            names, answered = call_names(message), 0
            continue
        if message["role"] == "tool" and turns.turn_count:
            turns.events.append(
                _result(turns, message, names, answered, seen=place < replies[-1], position=position)
            )
            answered += 1
            result_count += 1
        turns.add_context(message)
    return result_count


def _result(
    turns: TurnsBuilder,
    message: Message,
    names: dict[str, str],
    call_index: int,
    *,
    seen: bool,
    position: int,
) -> ToolReturned:
    content = content_text(message["content"])
    call_id = message.get("tool_call_id")
    return ToolReturned(
        rollout_id=turns.rollout_id,
        turn_index=turns.turn_count - 1,
        call_index=call_index,
        tool_call_id=call_id,
        tool_name=names.get(call_id or "") or message.get("name"),
        raw_output=None if seen else content,
        visible_output=content if seen else None,
        error=content if content.startswith("Error:") else None,
        source_position=position,
    )


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


def _ended(turns: TurnsBuilder, messages: list[Message], info: dict[str, Any], position: int) -> RolloutEnded:
    reason, cut = _stopped(messages[-1] if messages else None, info)
    metrics = {name: info[name] for name in ("user_cost", "source") if info.get(name) is not None}
    return RolloutEnded(
        rollout_id=turns.rollout_id,
        stop_reason=reason,
        turn_count=turns.turn_count,
        truncated=cut,
        truncated_by="max_turns" if cut else None,
        metrics_json=turns.metrics_text(metrics),
        source_position=position,
    )


def _stopped(last: Message | None, info: dict[str, Any]) -> tuple[StopReason, bool | None]:
    """The runner computes `reward_info` only when the environment said that it was done, else the turns
    ran out."""
    if last is None:
        return "unknown", None
    if last["role"] == "user" and USER_STOP in content_text(last["content"]):
        return "completed", False
    if last.get("name") == TRANSFER_TOOL:
        return "tool_stopped", False
    if "reward_info" in info and info["reward_info"] is None:
        return "max_turns", True
    return "unknown", None


def _domain(source: SourceFile) -> str:
    """By the file's name, which is all that tells; the whole stem if it names no known domain."""
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
