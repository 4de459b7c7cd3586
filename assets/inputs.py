"""Event tables as folds read them: payload columns of one version, without quarantined events.

**A version is resolved once** and read at that version, so that a concurrent commit cannot mix two states.
**Of the envelope only the event id** enters a fold: the writer of a fact and its time must not change derived
tables.
**A conflict quarantines** both events under its key and, if they belong to a rollout's own record, the whole
rollout: a context with a missing turn is wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from tracelake.lake import Lake
from tracelake.schemas.errors import TableMissingError
from tracelake.schemas.events.columns import arrow_schema, payload_columns
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.kinds import class_of_kind
from tracelake.schemas.events.rollout_events import (
    RewardAssigned,
    RolloutEnded,
    RolloutStarted,
    ToolReturned,
    TurnCompleted,
)

ROLLOUT_RECORD: tuple[type[Event], ...] = (
    RolloutStarted,
    TurnCompleted,
    ToolReturned,
    RolloutEnded,
    RewardAssigned,
)


class InputTable(NamedTuple):
    """Rows, and the digest of the table version they come from."""

    frame: pl.DataFrame
    digest: str


class Quarantine(NamedTuple):
    key_hashes: frozenset[str]
    rollout_ids: frozenset[str]


def load_events(lake: Lake, kind: str, quarantine: Quarantine) -> InputTable:
    """Event id and payload columns, sorted by event id; no rows if the lake has no such events yet."""
    columns = ["event_id", "key_hash", *payload_columns(class_of_kind(kind))]
    try:
        # The lease protects this version from cleanup while it is digested and read.
        with lake.lease(kind) as version:
            digest = lake.state(kind, version).digest
            frame = lake.scan(kind, at=version).select(columns).collect()
    except TableMissingError:
        empty = pl.DataFrame(arrow_schema(kind).empty_table()).select(columns)
        return InputTable(empty.drop("key_hash", "source_position"), "empty")
    frame = frame.filter(~pl.col("key_hash").is_in(list(quarantine.key_hashes)))
    if "rollout_id" in columns and kind in {cls.KIND for cls in ROLLOUT_RECORD}:
        frame = frame.filter(~pl.col("rollout_id").is_in(list(quarantine.rollout_ids)))
    return InputTable(frame.drop("key_hash", "source_position").sort("event_id"), digest)


def load_quarantine(lake: Lake) -> Quarantine:
    """Keys and rollouts that no derived table may contain."""
    columns = ["conflict_kind", "conflict_key_hash", "rollout_id"]
    conflicts = lake.scan("conflict_found").select(columns).collect()
    record = [cls.KIND for cls in ROLLOUT_RECORD]
    rollouts = conflicts.filter(pl.col("conflict_kind").is_in(record))["rollout_id"].drop_nulls()
    return Quarantine(frozenset(conflicts["conflict_key_hash"]), frozenset(rollouts))
