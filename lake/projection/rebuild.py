"""Event tables made anew from what has landed.

**A table that opens is overwritten in one commit**: a crash leaves the old version or the new one. Its older
versions stay, and with them every pin whose files are whole.
**A table that cannot be opened is put aside first**, and made as if it had never been. Between the two a
crash leaves no table, which the next projection makes. Pins of it have lost their rows: they fail loudly.
Pin anew; what was pinned has the same digest, for an event table is digested by the events that it holds.
**Same events, same digest.** Which writer's telling of an event is kept may differ where several told it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from enum import Enum

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from tracelake.lake.landed.listing import files_ahead, landed_name, landed_of
from tracelake.lake.landed.reading import read_landed
from tracelake.lake.layout import table_path
from tracelake.lake.pins.manifests import list_pins
from tracelake.lake.pins.pins import check_table
from tracelake.lake.projection.project import table_schema
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.care import overwrite_rows, put_aside, typed_panics
from tracelake.lake.tables.commits import CURSOR, create_table, open_table
from tracelake.lake.tables.cursors import Cursor, noted
from tracelake.lake.tables.digest import event_ids_digest
from tracelake.lake.tables.fsync import local_folder
from tracelake.lake.tables.seen import GENERATION
from tracelake.schemas.errors import BadInputError, CheckFailedError, LakeError
from tracelake.schemas.events.columns import arrow_schema
from tracelake.schemas.events.kinds import CLASS_OF_KIND

BATCH_BYTES = 128 * 2**20


class Unread(Enum):
    """Why a table has no digest."""

    ABSENT = "there is none"
    CLOSED = "it cannot be opened"
    DAMAGED = "it opens, and its rows cannot be read"


class Rebuilt(BaseModel):
    """One table that was made anew."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    table: str
    row_count: int
    digest: str
    """Over its sorted event ids."""
    digest_before: str | None
    """Null if it could not be read."""
    put_aside: str | None
    """Where the old table lies; null if it was overwritten."""
    broken_pins: tuple[str, ...]
    """Pins that hold this table and cannot be opened now."""


def rebuild(store: ObjectStore, tables: Sequence[str] | None = None) -> list[Rebuilt]:
    """Event tables of the kinds named, or of all that have landed.

    Raises BadInputError for a table that does not come from landed files alone, CorruptFileError for a landed
    file that is damaged: the table is as it was then.
    """
    wanted = [kind for kind in CLASS_OF_KIND if landed_of(store, kind)] if tables is None else list(tables)
    for name in wanted:
        if name not in CLASS_OF_KIND:
            raise BadInputError(
                "only event tables are rebuilt",
                got=name,
                expected=", ".join(CLASS_OF_KIND),
                cure="Run `tracelake build` to derive the others anew.",
            )
    return [_rebuilt(store, kind) for kind in wanted]


def _rebuilt(store: ObjectStore, kind: str) -> Rebuilt:
    location = store.location(table_path(kind))
    files = files_ahead(store, kind, landed_of(store, kind), {})
    # Read before anything is moved: a damaged landed file leaves the table as it was.
    cursor = _reached(store, files)
    before = _digest(location)
    aside = _moved(location) if before is Unread.CLOSED else None
    dataset = create_table(location, table_schema(kind))
    notes = {CURSOR: noted(store, kind, {}, cursor).note, GENERATION: {"rebuilt": uuid.uuid4().hex}}
    overwrite_rows(dataset, table_schema(kind), _batches(store, kind, files), notes)
    made = open_table(location)
    assert made is not None
    return Rebuilt(
        table=kind,
        row_count=made.count_rows(),
        digest=event_ids_digest(made.to_table(columns=["event_id"])["event_id"]),
        digest_before=before if isinstance(before, str) else None,
        put_aside=aside,
        broken_pins=tuple(_broken_pins(store, kind)),
    )


def _batches(store: ObjectStore, kind: str, files: Sequence[str]) -> Iterator[pa.Table]:
    """Each event once, as the first file has it; about `BATCH_BYTES` of Arrow data at once."""
    seen: set[bytes] = set()
    tables: list[pa.Table] = []
    for path in files:
        rows = read_landed(store, path)
        keep: list[int] = []
        for index, event_id in enumerate(rows["event_id"].to_pylist()):
            name = bytes.fromhex(event_id)
            if name not in seen:
                seen.add(name)
                keep.append(index)
        tables.append(rows.take(pa.array(keep, pa.int64())).cast(arrow_schema(kind)))
        if sum(table.nbytes for table in tables) >= BATCH_BYTES:
            yield pa.concat_tables(tables)
            tables = []
    if tables:
        yield pa.concat_tables(tables)


def _reached(store: ObjectStore, files: Sequence[str]) -> Cursor:
    cursor: Cursor = {}
    for path in files:
        epoch = landed_name(path).writer_epoch
        last_seq = max(read_landed(store, path, ["writer_seq"])["writer_seq"].to_pylist())
        cursor[epoch] = max(cursor.get(epoch, -1), last_seq)
    return cursor


def _digest(location: str) -> str | Unread:
    try:
        with typed_panics(location):
            dataset = open_table(location)
    except (CheckFailedError, OSError, ValueError):
        return Unread.CLOSED
    if dataset is None:
        return Unread.ABSENT
    try:
        with typed_panics(location):
            return event_ids_digest(dataset.to_table(columns=["event_id"])["event_id"])
    except (CheckFailedError, OSError, ValueError):
        return Unread.DAMAGED


def _moved(location: str) -> str:
    folder = local_folder(location)
    if folder is None:
        raise LakeError(
            f"table {location.rsplit('/', 1)[-1]} cannot be opened",
            got="a table in an object store",
            expected="a table that opens",
            cure="Move its folder aside with the tools of the store, then try again.",
        )
    return str(put_aside(folder))


def _broken_pins(store: ObjectStore, kind: str) -> Iterator[str]:
    for pin in list_pins(store):
        if kind in pin.tables:
            try:
                check_table(store, pin, kind, pin.tables[kind])
            except CheckFailedError:
                yield pin.reference
