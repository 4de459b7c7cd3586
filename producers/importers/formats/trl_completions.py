"""TRL's logged completions: `completions/completions_00001.parquet`, one row per sampled completion.

**A row is one rollout**, identified by the training's update, its prompt and its completion. TRL writes no
token ids, no task and no model: the report says so.
**The main reward is the sum of the reward functions**, as with TRL's default weights: the file has none.
**Parquet gives every object the keys of all others**: keys without a value are left out, in arguments of
tools too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from tracelake.producers.importers.conversion.chat_rollout import add_chat
from tracelake.producers.importers.conversion.fields import mapping, number
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
from tracelake.schemas.message import Message

FORMAT = "trl-completions"
UPDATE = "step"
COLUMNS = {UPDATE, "prompt", "completion", "advantage"}


def claims(source: Source) -> bool:
    return source.container in ("parquet", "jsonl") and as_object(source.first).keys() >= COLUMNS


def read(source: Source, options: ImportOptions) -> Iterator[ImportedRollout | Refusal]:
    identities = Identities("trl", source, options)

    def convert(record: SourceRecord) -> ImportedRollout:
        row = Record(without_nulls(mapping(record.value, "row")), "$", Losses())
        return _imported(identities, options, record.position, row)

    return read_records(source, FORMAT, convert)


def without_nulls(value: Any) -> Any:
    """A value of Parquet without the keys that its column's type adds to each object."""
    if type(value) is dict:
        items = cast("dict[str, Any]", value).items()
        return {key: without_nulls(item) for key, item in items if item is not None}
    if type(value) is list:
        return [without_nulls(item) for item in cast("list[Any]", value)]
    return value


def _imported(identities: Identities, options: ImportOptions, position: int, row: Record) -> ImportedRollout:
    prompt, completion = row.source.get("prompt"), row.source.get("completion")
    update = row.integer(UPDATE)
    identity = identities.content(f"update-{update}", update, prompt, completion, is_unique=bool(completion))
    rollout = RolloutBuilder(identity, row.losses, position=position)
    task_key = f"{FORMAT}:{hash_of(prompt)[:16]}"
    rollout.start(
        task_key=task_key,
        environment=FORMAT,
        substrate="trl",
        source_run=options.run,
        group_id=f"{options.run or FORMAT}/{update}/{task_key}",
        policy_version=update,
    )
    if type(prompt) is str:
        row.has_read("prompt")
        rollout.add_context({"role": "text", "content": prompt})
    else:
        for message in row.records("prompt"):
            rollout.read_context(message)
    fields: dict[str, Any] = {"policy_version_start": update, "policy_version_end": update}
    if type(completion) is str:
        row.has_read("completion")
        action: Message = {"role": "assistant", "content": completion}
        rollout.add_turn(action, dict(fields))
    else:
        add_chat(rollout, row.records("completion"), lambda record, message: dict(fields))
    advantage = row.number("advantage")
    _add_rewards(rollout, row)
    return rollout.end(
        Ending("unknown", None),
        row,
        metrics={} if advantage is None else {"advantage": advantage},
        other_turn_count=int(type(completion) is str),
    )


def _add_rewards(rollout: RolloutBuilder, row: Record) -> None:
    """Every other column of numbers is a reward function; a null in it means that the function gave none."""
    scores = {
        name: number(value, name)
        for name, value in row.source.items()
        if name not in COLUMNS and type(value) in (int, float)
    }
    row.has_read(*scores)
    for name, score in scores.items():
        if name != MAIN_REWARD:
            rollout.add_reward(name, score, "trl", weight=1.0)
    if scores:
        row.note("the main reward is the sum of the reward functions: TRL logs no weights")
        total = sum(score for score in scores.values() if score is not None)
        details = canonical_text({"sum_of": sorted(scores)})
        rollout.add_reward(MAIN_REWARD, total, "trl", details_json=details)


IMPORTER = Importer(
    FORMAT,
    claims,
    read,
    not_carried=(
        "model, token ids, logprobs and masks",
        "task and group: rollouts of one prompt and update are a group",
        "call ids of tool results, and tool definitions",
        "weights of the reward functions",
        "tool arguments that are null",
        "batches that were never logged: TRL keeps only the newest between two logs",
    ),
)
