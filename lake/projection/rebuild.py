"""Event tables created again from all landed files.

**A readable table is overwritten in one commit**: after a crash it has the old version or the new one. Its
older versions stay, and so do pins whose files are intact.
**An unreadable table is moved to quarantine first**, and then created as new. After a crash in between there
is no table, and the next projection creates it. Pins of the old table have lost their rows: opening them
fails. Pin the new table instead: it has the same digest, because an event table is digested by its event ids.
**Same events, same digest.** If several writers landed an event, the envelope may come from another of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from enum import Enum

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from tracelake.lake.landed.listing import landed_files_of, parsed_name, without_gaps
from tracelake.lake.landed.reading import read_landed
from tracelake.lake.layout import table_path
from tracelake.lake.pins.manifests import list_pins
from tracelake.lake.pins.pins import check_table
from tracelake.lake.projection.project import table_schema
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.commits import CURSOR, create_table, open_table, overwrite_rows
from tracelake.lake.tables.cursors import Cursor, advance_note
from tracelake.lake.tables.digest import event_ids_digest
from tracelake.lake.tables.fingerprints import GENERATION
from tracelake.lake.tables.fsync import local_folder
from tracelake.lake.tables.lance_errors import panics_as_errors
from tracelake.lake.tables.torn_manifests import move_to_quarantine
from tracelake.schemas.errors import BadInputError, CheckFailedError, LakeError
from tracelake.schemas.events.columns import arrow_schema
from tracelake.schemas.events.kinds import CLASS_OF_KIND

BATCH_BYTES = 128 * 2**20


class NoDigest(Enum):
    """Why a table has no digest."""

    MISSING = "there is no table"
    UNREADABLE = "it cannot be opened"
    DAMAGED = "it can be opened, but its rows cannot be read"


class RebuiltTable(BaseModel):
    """One rebuilt table."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    table: str
    row_count: int
    digest: str
    """SHA-256 over its sorted event ids."""
    digest_before: str | None
    """Null if the old table could not be read."""
    quarantined_at: str | None
    """Path of the old table in quarantine; null if it was overwritten."""
    broken_pins: tuple[str, ...]
    """Pins of this table that can no longer be opened."""


def rebuild(store: ObjectStore, tables: Sequence[str] | None = None) -> list[RebuiltTable]:
    """Rebuild the event tables named, or those of all landed kinds.

    Raises BadInputError for another table, and CorruptFileError for a damaged landed file: the table is
    unchanged then.
    """
    kinds = (
        [kind for kind in CLASS_OF_KIND if landed_files_of(store, kind)] if tables is None else list(tables)
    )
    for name in kinds:
        if name not in CLASS_OF_KIND:
            raise BadInputError(
                "only event tables can be rebuilt",
                got=name,
                expected=", ".join(CLASS_OF_KIND),
                cure="Run `tracelake build` to derive the other tables again.",
            )
    return [_rebuild_table(store, kind) for kind in kinds]


def _rebuild_table(store: ObjectStore, kind: str) -> RebuiltTable:
    location = store.location(table_path(kind))
    files = without_gaps(store, kind, landed_files_of(store, kind), {})
    # Reads every file before anything is moved: a damaged one leaves the table unchanged.
    cursor = _last_seqs(store, files)
    before = _digest(location)
    quarantined_at = _quarantine(location) if before is NoDigest.UNREADABLE else None
    dataset = create_table(location, table_schema(kind))
    notes = {CURSOR: advance_note(store, kind, {}, cursor).note, GENERATION: {"rebuilt": uuid.uuid4().hex}}
    overwrite_rows(dataset, table_schema(kind), _distinct_rows(store, kind, files), notes)
    rebuilt = open_table(location)
    assert rebuilt is not None
    return RebuiltTable(
        table=kind,
        row_count=rebuilt.count_rows(),
        digest=event_ids_digest(rebuilt.to_table(columns=["event_id"])["event_id"]),
        digest_before=before if isinstance(before, str) else None,
        quarantined_at=quarantined_at,
        broken_pins=tuple(_broken_pins(store, kind)),
    )


def _distinct_rows(store: ObjectStore, kind: str, files: Sequence[str]) -> Iterator[pa.Table]:
    """Each event once, from the first file that has it, in batches of about `BATCH_BYTES` of Arrow data."""
    seen: set[bytes] = set()
    tables: list[pa.Table] = []
    for path in files:
        rows = read_landed(store, path)
        new: list[int] = []
        for index, event_id in enumerate(rows["event_id"].to_pylist()):
            id_bytes = bytes.fromhex(event_id)
            if id_bytes not in seen:
                seen.add(id_bytes)
                new.append(index)
        tables.append(rows.take(pa.array(new, pa.int64())).cast(arrow_schema(kind)))
        if sum(table.nbytes for table in tables) >= BATCH_BYTES:
            yield pa.concat_tables(tables)
            tables = []
    if tables:
        yield pa.concat_tables(tables)


def _last_seqs(store: ObjectStore, files: Sequence[str]) -> Cursor:
    cursor: Cursor = {}
    for path in files:
        epoch = parsed_name(path).writer_epoch
        last_seq = max(read_landed(store, path, ["writer_seq"])["writer_seq"].to_pylist())
        cursor[epoch] = max(cursor.get(epoch, -1), last_seq)
    return cursor


def _digest(location: str) -> str | NoDigest:
    try:
        with panics_as_errors(location):
            dataset = open_table(location)
    except (CheckFailedError, OSError, ValueError):
        return NoDigest.UNREADABLE
    if dataset is None:
        return NoDigest.MISSING
    try:
        with panics_as_errors(location):
            return event_ids_digest(dataset.to_table(columns=["event_id"])["event_id"])
    except (CheckFailedError, OSError, ValueError):
        return NoDigest.DAMAGED


def _quarantine(location: str) -> str:
    folder = local_folder(location)
    if folder is None:
        raise LakeError(
            f"table {location.rsplit('/', 1)[-1]} cannot be opened",
            got="a table in an object store",
            expected="a table that opens",
            cure="Move its folder aside with the tools of the store, then try again.",
        )
    return str(move_to_quarantine(folder))


def _broken_pins(store: ObjectStore, kind: str) -> Iterator[str]:
    for pin in list_pins(store):
        if kind in pin.tables:
            try:
                check_table(store, pin, kind, pin.tables[kind])
            except CheckFailedError:
                yield pin.reference
