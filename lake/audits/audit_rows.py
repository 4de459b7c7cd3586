"""Rows of event tables against what has landed, by identity and by hash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np
import polars as pl
import pyarrow as pa
from lance import LanceDataset

from tracelake.schemas.errors import EventInvalidError
from tracelake.schemas.events.columns import arrow_schema, payload_columns
from tracelake.schemas.events.event import row_identity
from tracelake.schemas.events.kinds import class_of_kind
from tracelake.schemas.events.upcast import conformed


class RowHashes(NamedTuple):
    """Hashes over all columns of rows, envelope too; of this process, and sorted."""

    values: np.ndarray

    @classmethod
    def of(cls, kind: str, rows: pa.Table) -> RowHashes:
        return cls(np.unique(_hashed(kind, rows)))

    @classmethod
    def joined(cls, parts: Sequence[RowHashes]) -> RowHashes:
        return cls(np.unique(np.concatenate([np.zeros(0, np.uint64), *(part.values for part in parts)])))


def false_identities(kind: str, rows: pa.Table) -> Iterator[str]:
    """Events whose fields do not make their id. Of an older schema's events only the file's hash tells."""
    cls = class_of_kind(kind)
    envelopes = zip(rows["event_id"].to_pylist(), rows["schema_version"].to_pylist(), strict=True)
    # A table that an older version made lacks the columns that were added since.
    fields = conformed(rows, arrow_schema(kind)).select(payload_columns(cls)).to_pylist()
    for (event_id, version), row in zip(envelopes, fields, strict=True):
        try:
            sound = version != cls.SCHEMA_VERSION or row_identity(cls, row).event_id == event_id
        except EventInvalidError:
            sound = False
        if not sound:
            yield f"event {event_id} does not hash to its own id"


def strange_rows(kind: str, dataset: LanceDataset, landed: RowHashes) -> Iterator[str]:
    """Rows whose fields do not make their id, and rows that stand in no readable landed file like that."""
    for batch in dataset.to_batches():
        rows = pa.Table.from_batches([batch])
        false = list(false_identities(kind, rows))
        yield from false
        strange = ~np.isin(_hashed(kind, rows), landed.values)
        # An older schema's rows were upcast by the code of their time.
        strange &= rows["schema_version"].to_numpy() == class_of_kind(kind).SCHEMA_VERSION
        if strange.any() and not false:
            first = rows["event_id"][int(np.argmax(strange))].as_py()
            yield f"{int(strange.sum())} rows are in no readable file as they are, first of event {first}"


def _hashed(kind: str, rows: pa.Table) -> np.ndarray:
    schema = arrow_schema(kind)
    frame = pl.from_arrow(conformed(rows, schema).cast(schema))
    return cast("pl.DataFrame", frame).hash_rows().to_numpy()
