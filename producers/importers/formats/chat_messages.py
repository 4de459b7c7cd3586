"""Datasets of chats: JSON lines or Parquet, one conversation per row, in a column of messages.

Flow: column map, found by the names of the first row or given by the user → for each row: messages → turns →
rewards → RolloutEnded.

**There is no standard for these datasets**: `COLUMN_NAMES` lists the names that are known for each role of a
column, and `--from chat-messages --columns messages=dialog,id=uid` names others. A column without a role is
in `extra_json`.
**Both common shapes of a message are read**: `role` and `content`, and `from` and `value`.
**A row is one rollout**, identified by its id where it has one, else by its messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from tracelake.producers.importers.conversion.chat import tools_text
from tracelake.producers.importers.conversion.chat_rollout import add_chat
from tracelake.producers.importers.conversion.fields import label, mapping, number
from tracelake.producers.importers.conversion.record import Record
from tracelake.producers.importers.conversion.rollout_builder import MAIN_REWARD, Ending, RolloutBuilder
from tracelake.producers.importers.formats.trl_completions import without_nulls
from tracelake.producers.importers.identity import Identities
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
from tracelake.schemas.canonical import hash_of
from tracelake.schemas.errors import SourceFormatError
from tracelake.schemas.message import tools_key

FORMAT = "chat-messages"
COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation", "trajectory", "chat", "dialog", "dialogue"),
    "id": ("trajectory_id", "conversation_id", "traj_id", "uuid", "id"),
    "task": ("instance_id", "task_id", "problem_id", "prompt_id", "question_id"),
    "model": ("model", "model_name"),
    "reward": ("reward", "resolved", "target", "score"),
    "tools": ("tools", "tool_definitions"),
    "submission": ("model_patch", "generated_patch", "patch"),
    "exit_status": ("exit_status",),
    "environment": ("dataset", "environment", "env"),
}
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "ai": "assistant", "observation": "tool"}
"""Names of roles in `from`, and in older datasets."""
REQUEST_MARKS = {"temperature", "top_p", "max_tokens", "request_params", "stream"}
"""A row with one of these is a request to a model, and no conversation that happened."""
SHAPES = ({"role", "content"}, {"role", "text"}, {"from", "value"}, {"role", "tool_calls"})


def claims(source: Source) -> bool:
    row = as_object(source.first)
    if row.keys() & REQUEST_MARKS:
        return False
    return any(_is_messages(row.get(name)) for name in COLUMN_NAMES["messages"])


def _is_messages(value: Any) -> bool:
    found = _list_of(value)
    return bool(found) and all(any(shape <= as_object(item).keys() for shape in SHAPES) for item in found[:4])


def _list_of(value: Any) -> list[Any]:
    """Messages, which some datasets write as JSON text."""
    if type(value) is str and value.startswith("["):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return []
    return value if type(value) is list else []


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    try:
        columns = _column_map(as_object(source.first), options)
    except SourceFormatError as error:
        yield refusal_of(error, format=FORMAT)
        return
    identities = Identities("chat", source, options)

    def convert(record: SourceRecord) -> ImportedRollout:
        value = mapping(record.value, "row")
        row = Record(without_nulls(value) if source.container == "parquet" else dict(value), "$", Losses())
        return _imported(identities, options, columns, record.position, row)

    yield from read_records(source, FORMAT, convert)


def _column_map(first: dict[str, Any], options: ImportOptions) -> dict[str, str]:
    """The name of the column of each role. Raises SourceFormatError for a role that does not exist, and for a
    column that the first row does not have."""
    given = dict(options.columns)
    wrong = [role for role in given if role not in COLUMN_NAMES]
    missing = [name for name in given.values() if name not in first]
    if wrong or missing:
        raise SourceFormatError(
            "the column map does not fit",
            got=", ".join(wrong or missing),
            expected=f"roles {', '.join(COLUMN_NAMES)}; columns {', '.join(sorted(first))[:200]}",
            cure="Write --columns ROLE=COLUMN,…",
        )
    found: dict[str, str] = {}
    for role, names in COLUMN_NAMES.items():
        for name in names:
            if name in first and role not in found and (role != "messages" or _is_messages(first[name])):
                found[role] = name
    columns = found | given
    if "messages" not in columns:
        raise SourceFormatError(
            "no column of messages",
            got=f"columns {', '.join(sorted(first))[:200]}",
            expected=", ".join(COLUMN_NAMES["messages"]),
            cure="Write --columns messages=COLUMN",
        )
    return columns


def _imported(
    identities: Identities, options: ImportOptions, columns: dict[str, str], position: int, row: Record
) -> ImportedRollout:
    def column(role: str) -> Any:
        return row.take(columns[role]) if role in columns else None

    name = columns["messages"]
    row.source[name] = [_chat_shape(mapping(message, name)) for message in _list_of(row.source.get(name))]
    messages = row.records(name)
    if not messages:
        raise SourceFormatError("a row without messages", got=f"nothing in {name}", expected="one at least")
    own_id, task = label(column("id"), "id"), label(column("task"), "task")
    model, environment = label(column("model"), "model"), label(column("environment"), "environment")
    if own_id is not None:
        identity = identities.own(task or own_id, own_id, task, model)
    else:
        whole = [message.source for message in messages]
        sampled = any(message.source.get("role") == "assistant" for message in messages)
        identity = identities.content(task, task, model, whole, is_unique=sampled)
    tools = column("tools")
    tools_json = tools_text(_list_of(tools) or None) if tools else None
    rollout = RolloutBuilder(identity, row.losses, tools_json, position=position)
    questions = [message.source for message in messages if message.source.get("role") == "user"]
    question = hash_of(questions[0].get("content") if questions else None)[:16]
    rollout.start(
        task_key=task or f"{environment or FORMAT}:{question}",
        environment=environment or FORMAT,
        substrate=FORMAT,
        source_run=options.run,
        model_requested=model,
        tools_json=tools_json,
        tools_key=tools_key(tools_json),
    )
    add_chat(rollout, messages, lambda record, message: {"model_requested": model})
    reward = column("reward")
    if reward is not None:
        score = float(reward) if type(reward) is bool else number(reward, columns["reward"])
        rollout.add_reward(MAIN_REWARD, score, f"column {columns['reward']}")
    status = label(column("exit_status"), "exit_status")
    return rollout.end(
        Ending("completed", False) if status and status.lower() == "submitted" else Ending("unknown", None),
        row,
        exit_status=status,
        submission=label(column("submission"), "submission"),
    )


def _chat_shape(message: dict[str, Any]) -> dict[str, Any]:
    """A message with `role` and `content`, whatever its dataset calls them."""
    shaped = dict(message)
    if "role" not in shaped and "from" in shaped:
        shaped["role"] = shaped.pop("from")
    if "content" not in shaped:
        for name in ("value", "text", "system_prompt"):
            if shaped.get(name) is not None:
                shaped["content"] = shaped.pop(name)
                break
    shaped["role"] = ROLES.get(str(shaped.get("role")), shaped.get("role"))
    calls = shaped.get("tool_calls")
    if type(calls) is str:
        shaped["tool_calls"] = _list_of(calls)
    return shaped


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "response ids, usage, cost and times of each call, unless the dataset has columns for them",
        "token ids and logprobs",
        "raw tool output apart from what the model saw",
        "why the rollout stopped, unless there is an exit status",
    ),
)
