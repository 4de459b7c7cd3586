"""Derived tables: rewritten as a whole, with a note of their inputs; and the state of any table.

**A derivation is a function** of input digests, code version and parameters. Its note has the digest of the
result.
**An unchanged result creates no new version.**
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa
from lance import LanceDataset
from pydantic import BaseModel, ConfigDict, ValidationError

from tracelake.lake.layout import TABLES, table_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.commits import DERIVATION, open_table, replace_rows, scan_table, schema_note
from tracelake.lake.tables.digest import columns_digest, event_ids_digest, schema_digest, table_digest
from tracelake.schemas.errors import BadInputError, LakeError, TableMissingError
from tracelake.schemas.events.columns import COMPRESSED, arrow_schema
from tracelake.schemas.events.kinds import CLASS_OF_KIND
from tracelake.schemas.pin import PinnedTable


class Derivation(BaseModel):
    """The inputs of a derived table."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    key: tuple[str, ...]
    """Columns that identify a row and order all rows."""
    code_version: str
    inputs: dict[str, str] = {}
    """Digest of each input table."""
    parameters: dict[str, Any] = {}


class DerivedNote(Derivation):
    """A derivation and the digest of its result."""

    digest: str


def write_derived(store: ObjectStore, name: str, frame: pl.DataFrame, derivation: Derivation) -> PinnedTable:
    """Raises BadInputError if two rows share a key, or a column's type has no digest."""
    if name in CLASS_OF_KIND:
        raise BadInputError(
            "an event table cannot be written", got=name, expected="the name of a derived table"
        )
    if not derivation.key or not set(derivation.key) <= set(frame.columns):
        raise BadInputError(
            f"{name} has no such key", got=str(derivation.key), expected=f"some of {', '.join(frame.columns)}"
        )
    if frame.height and frame.height != frame.select(pl.struct(list(derivation.key)).n_unique()).item():
        raise BadInputError(
            f"rows of {name} share a key",
            got=f"{frame.height} rows",
            expected=f"distinct values of ({', '.join(derivation.key)})",
        )
    rows = _plain_arrow(frame.sort(list(derivation.key)))
    note = DerivedNote(**derivation.model_dump(), digest=table_digest(rows, derivation.key))
    location = store.location(table_path(name))
    dataset = open_table(location)
    if dataset is None or schema_note(dataset, DERIVATION) != note.model_dump(mode="json"):
        metadata = {DERIVATION: note.model_dump_json()}
        dataset = replace_rows(location, rows.replace_schema_metadata(metadata), exists=dataset is not None)
    return table_state(store, name, dataset.version)


def table_state(
    store: ObjectStore, name: str, version: int | None = None, *, recompute: bool = False
) -> PinnedTable:
    """The state of a table at a version; `recompute` reads all rows instead of trusting the stored digest.

    Raises TableMissingError, LakeError for a table that the lake did not write.
    """
    dataset = open_dataset(store, name, version)
    if name in CLASS_OF_KIND:
        digest = event_ids_digest(dataset.to_table(columns=["event_id"])["event_id"])
        derivation: dict[str, Any] = {
            "rows_digest": _stored_digest(dataset, ["event_id"]) if recompute else None
        }
    else:
        note = _note(dataset, name)
        digest = _stored_digest(dataset, note.key) if recompute else note.digest
        derivation = {"code_version": note.code_version, "inputs": note.inputs, "parameters": note.parameters}
    return PinnedTable(
        version=dataset.version,
        row_count=dataset.count_rows(),
        digest=digest,
        schema_digest=schema_digest(dataset.schema),
        **derivation,
    )


def table_names(store: ObjectStore) -> list[str]:
    """Names of all tables, event tables and derived ones, sorted."""
    folders = {path.split("/")[1] for path in store.list(TABLES, ".manifest")}
    return sorted(folder.removesuffix(".lance") for folder in folders if folder.endswith(".lance"))


def derived_note(store: ObjectStore, name: str) -> DerivedNote | None:
    """The note of the current version; None for event tables and missing tables."""
    dataset = open_table(store.location(table_path(name)))
    return None if dataset is None or name in CLASS_OF_KIND else _note(dataset, name)


def open_dataset(store: ObjectStore, name: str, version: int | None = None) -> LanceDataset:
    """Raises TableMissingError."""
    dataset = open_table(store.location(table_path(name)), version)
    if dataset is None:
        raise TableMissingError(
            "the lake has no such table",
            got=name,
            expected="a table that `tracelake query` lists",
            cure="Run `tracelake build` to derive it.",
        )
    return dataset


def scan_events(store: ObjectStore, kind: str) -> pl.LazyFrame:
    """An event table as of its last projection; without rows, but with all columns, before the first one."""
    dataset = open_table(store.location(table_path(kind)))
    if dataset is None:
        return pl.LazyFrame(arrow_schema(kind).empty_table())
    return scan_table(dataset, None)


def _note(dataset: LanceDataset, name: str) -> DerivedNote:
    try:
        return DerivedNote.model_validate(schema_note(dataset, DERIVATION))
    except ValidationError as error:
        raise LakeError(
            f"table {name} has no note of its derivation",
            got="rows that the lake did not write",
            expected="a table that `tracelake build` wrote",
        ) from error


def _stored_digest(dataset: LanceDataset, key: Sequence[str]) -> str:
    def load(name: str) -> pa.ChunkedArray:
        return dataset.to_table(columns=[name])[name]

    for fragment in dataset.get_fragments():
        # In a damaged file the columns may differ in length, which reading them one by one would not show.
        fragment.head(1)
    return columns_digest(dataset.schema, dataset.to_table(columns=list(key)), load)


def _plain_arrow(frame: pl.DataFrame) -> pa.Table:
    """Text as large_string with compression declared: Lance cannot write view types."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    fields: list[pa.Field] = []
    for field in table.schema:
        text = pa.types.is_large_string(field.type) or pa.types.is_string(field.type)
        fields.append(field.with_metadata(COMPRESSED) if text else field)
    return table.cast(pa.schema(fields))
