"""Event tables as folds read them: payload columns of one version, without events that do not count.

**A version is resolved once** and read at that version, so that a concurrent commit cannot mix two states.
**Of the envelope only the event id** enters a fold: the writer of a fact and its time must not change derived
tables.
**Conflicts and retractions leave events and rollouts out** as `lake/curation/selection.py` decides.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from tracelake.lake import Lake
from tracelake.lake.curation.selection import Selection, is_used, selection_columns
from tracelake.schemas.errors import TableMissingError
from tracelake.schemas.events.columns import arrow_schema, payload_columns
from tracelake.schemas.events.kinds import class_of_kind
from tracelake.schemas.pin import NEVER_LANDED

NOT_FOR_FOLDS = ("key_hash", "source_position")


class InputTable(NamedTuple):
    """Rows, and the digest of the table version they come from."""

    frame: pl.DataFrame
    digest: str


def load_events(lake: Lake, kind: str, selection: Selection) -> InputTable:
    """Event id and payload columns of the rows that count, sorted by event id; no rows if the lake has no
    such events yet."""
    columns = list(
        dict.fromkeys(["event_id", *selection_columns(kind), *payload_columns(class_of_kind(kind))])
    )
    try:
        # The lease protects this version from cleanup while it is digested and read.
        with lake.lease(kind) as version:
            digest = lake.state(kind, version).digest
            frame = lake.scan(kind, at=version).select(columns).collect()
    except TableMissingError:
        empty = pl.DataFrame(arrow_schema(kind).empty_table()).select(columns)
        return InputTable(empty.drop(NOT_FOR_FOLDS), NEVER_LANDED)
    frame = frame.filter(is_used(frame, kind, selection))
    return InputTable(frame.drop(NOT_FOR_FOLDS).sort("event_id"), digest)
