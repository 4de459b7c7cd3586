"""tau-bench's results: one JSON list of `{task_id, reward, info, traj, trial}`.

**An element is one rollout**, identified by its task, its trial, what was said, and the file's name, because
two models may say the same. No fact comes from the name: the domain comes from the task's actions and the
policy that the agent was given.
**The model is unknown**: at best the file's name mentions one, which proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tracelake.producers.importers.conversion.chat_rollout import add_chat
from tracelake.producers.importers.conversion.fields import integer, label, mapping, number
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.rollout_builder import MAIN_REWARD, Ending, RolloutBuilder
from tracelake.producers.importers.identity import Identities
from tracelake.producers.importers.importer import (
    ImportedRollout,
    Importer,
    ImportOptions,
    Refusal,
    as_object,
    read_records,
)
from tracelake.producers.importers.losses import Losses
from tracelake.producers.importers.source import Source, SourceRecord
from tracelake.schemas.canonical import canonical_text, hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import Message, content_text

FORMAT = "tau-bench"
KEYS = {"task_id", "reward", "info", "traj", "trial"}
USER_STOP = "###STOP###"
TRANSFER_TOOL = "transfer_to_human_agents"
# Words of the policy and of the tools that only one domain has.
DOMAIN_MARKS = {
    "airline": ("airline agent policy", "book_reservation", "cancel_reservation", "update_reservation"),
    "retail": ("retail agent policy", "exchange_delivered_order", "return_delivered_order", "pending_order"),
}


def claims(source: Source) -> bool:
    return source.container == "json" and as_object(source.first).keys() >= KEYS


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    # An element has no id and no time; the file's name has the model and the time of the run.
    identities = Identities("tau", source, options, stable_parts=1)

    def convert(record: SourceRecord) -> ImportedRollout:
        element = Record(mapping(record.value, "element"), "$", Losses())
        return _imported(identities, options, record.position, element)

    return read_records(source, FORMAT, convert)


def _imported(
    identities: Identities, options: ImportOptions, position: int, element: Record
) -> ImportedRollout:
    if not element.source.keys() >= KEYS:
        raise SourceFormatError(
            "an element without the keys of a result",
            got=", ".join(sorted(element.source))[:200],
            expected=", ".join(sorted(KEYS)),
        )
    source = element.source
    task_id, trial = label(element.take("task_id"), "task_id"), integer(element.take("trial"), "trial")
    reward = number(element.take("reward"), "reward")
    info = element.record("info")
    task = info.take("task")
    messages = element.records("traj")
    domain = _domain(source["traj"] or [], task)
    name = f"{FORMAT}-{domain}" if domain else FORMAT
    identity = identities.content(
        f"{name}-{task_id}-{trial}", task_id, trial, task, source["traj"], is_unique=False
    )
    rollout = RolloutBuilder(identity, element.losses, position=position)
    task_key = f"{name}:{task_id}" if task is None else f"{name}:{task_id}-{hash_of(task)[:8]}"
    rollout.start(
        task_key=task_key,
        environment=name,
        substrate=FORMAT,
        source_run=options.run,
        group_id=f"{options.run}/{task_key}" if options.run else None,
        trial_index=trial,
        task_json=None if task is None else canonical_text(task),
    )
    element.note("model unknown: the file does not name it")
    add_chat(rollout, messages, lambda record, message: {}, _error_of)
    graded = "reward_info" in info.source
    details = info.take("reward_info")
    rollout.add_reward(
        MAIN_REWARD, reward, FORMAT, details_json=None if details is None else canonical_text(details)
    )
    last = messages[-1].source if messages else None
    error = info.take("error")
    ending = _ending(last, error is not None, turns_ran_out=graded and details is None)
    traceback = info.text("traceback")
    metrics = {name: info.take(name) for name in ("user_cost", "source") if name in info}
    return rollout.end(
        ending,
        element,
        metrics=metrics,
        error=traceback or (None if error is None else str(error)),
    )


def _error_of(record: Record, message: Message) -> dict[str, Any]:
    """The environment reports its errors as text."""
    content = content_text(message["content"])
    return {"error": content} if content.startswith("Error:") else {}


def _ending(last: dict[str, Any] | None, failed: bool, *, turns_ran_out: bool) -> Ending:
    """The runner computes `reward_info` only if the environment reported that it was done; else the turns ran
    out."""
    if failed or last is None:
        return Ending("error", None)
    if last.get("role") == "user" and USER_STOP in str(last.get("content")):
        return Ending("completed", False)
    if last.get("name") == TRANSFER_TOOL:
        return Ending("tool_stopped", False)
    return Ending("max_turns", True, "max_turns") if turns_ran_out else Ending("unknown", None)


def _domain(messages: list[Any], task: Any) -> str | None:
    """Null if nothing names it."""
    policy = str(as_object(messages[0]).get("content")) if messages else ""
    where = f"{policy[:2000]} {as_object(task).get('actions')}".lower()
    found = [domain for domain, marks in DOMAIN_MARKS.items() if any(mark in where for mark in marks)]
    return found[0] if len(found) == 1 else None


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
