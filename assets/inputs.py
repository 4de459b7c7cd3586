"""Event tables as folds read them: payload columns of one version, without what is quarantined.

**A version is resolved once** and read at that version, so that a table which moves meanwhile cannot mix
two states.
**Nothing of the envelope but the event's id** enters a fold: when and by whom a fact was told must not
change what is derived.
**A conflict quarantines** both events under its key and, where they belong to a rollout's own record, the
whole rollout: a context with a hole is no context.
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
    """Rows, and the digest of the table that they were read from."""

    frame: pl.DataFrame
    digest: str


class Quarantine(NamedTuple):
    key_hashes: frozenset[str]
    rollout_ids: frozenset[str]


def load_events(lake: Lake, kind: str, quarantine: Quarantine) -> InputTable:
    """Event id and payload columns, sorted by event id; no rows if the lake has no such events yet."""
    columns = ["event_id", "key_hash", *payload_columns(class_of_kind(kind))]
    try:
        # Held: what is digested is what is read, however long either takes.
        with lake.lease(kind) as version:
            digest = lake.state(kind, version).digest
            frame = lake.scan(kind, at=version).select(columns).collect()
    except TableMissingError:
        empty = pl.DataFrame(arrow_schema(kind).empty_table()).select(columns)
        return InputTable(empty.drop("key_hash", "source_position"), "empty")
    kept = frame.filter(~pl.col("key_hash").is_in(list(quarantine.key_hashes)))
    if "rollout_id" in columns and kind in {cls.KIND for cls in ROLLOUT_RECORD}:
        kept = kept.filter(~pl.col("rollout_id").is_in(list(quarantine.rollout_ids)))
    return InputTable(kept.drop("key_hash", "source_position").sort("event_id"), digest)


def load_quarantine(lake: Lake) -> Quarantine:
    """What no derived table may contain."""
    try:
        conflicts = (
            lake.scan("conflict_found").select("conflict_kind", "conflict_key_hash", "rollout_id").collect()
        )
    except TableMissingError:
        return Quarantine(frozenset(), frozenset())
    record = [cls.KIND for cls in ROLLOUT_RECORD]
    rollouts = conflicts.filter(pl.col("conflict_kind").is_in(record))["rollout_id"].drop_nulls()
    return Quarantine(frozenset(conflicts["conflict_key_hash"]), frozenset(rollouts))
