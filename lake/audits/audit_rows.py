"""Rows of event tables compared with landed rows, by identity and by hash."""

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
    """Sorted hashes over all columns of rows, envelope included. They differ between processes."""

    values: np.ndarray

    @classmethod
    def of(cls, kind: str, rows: pa.Table) -> RowHashes:
        return cls(np.unique(_hashed(kind, rows)))

    @classmethod
    def joined(cls, parts: Sequence[RowHashes]) -> RowHashes:
        return cls(np.unique(np.concatenate([np.zeros(0, np.uint64), *(part.values for part in parts)])))


def wrong_identities(kind: str, rows: pa.Table) -> Iterator[str]:
    """Events whose id is not the hash of their fields. Rows of older schema versions cannot be checked so;
    their file's hash protects them."""
    cls = class_of_kind(kind)
    envelopes = zip(rows["event_id"].to_pylist(), rows["schema_version"].to_pylist(), strict=True)
    # A table of an older version lacks the columns that were added later.
    fields = conformed(rows, arrow_schema(kind)).select(payload_columns(cls)).to_pylist()
    for (event_id, version), row in zip(envelopes, fields, strict=True):
        try:
            is_right = version != cls.SCHEMA_VERSION or row_identity(cls, row).event_id == event_id
        except EventInvalidError:
            is_right = False
        if not is_right:
            yield f"event {event_id} does not hash to its own id"


def unlanded_rows(kind: str, dataset: LanceDataset, landed: RowHashes) -> Iterator[str]:
    """Rows whose id is not the hash of their fields, and rows that are in no readable landed file."""
    for batch in dataset.to_batches():
        rows = pa.Table.from_batches([batch])
        wrong = list(wrong_identities(kind, rows))
        yield from wrong
        unlanded = ~np.isin(_hashed(kind, rows), landed.values)
        # Rows of an older schema version were upcast by another version of the code.
        unlanded &= rows["schema_version"].to_numpy() == class_of_kind(kind).SCHEMA_VERSION
        if unlanded.any() and not wrong:
            first = rows["event_id"][int(np.argmax(unlanded))].as_py()
            yield f"{int(unlanded.sum())} rows differ from every landed row, first of event {first}"


def _hashed(kind: str, rows: pa.Table) -> np.ndarray:
    schema = arrow_schema(kind)
    frame = pl.from_arrow(conformed(rows, schema).cast(schema))
    return cast("pl.DataFrame", frame).hash_rows().to_numpy()
