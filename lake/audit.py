"""Does the lake still say what it was told? Re-hash, recount, look for gaps and orphans, reopen pins.

**A problem names the file or table and what depends on it.** An audit reads and never repairs.
**Shallow** re-hashes landed files and checks counts, sequence numbers and manifests; **deep** also recomputes
every event's identity, landed and in tables, from its fields, and every table's digest from its rows.
**Writers and projectors may go on meanwhile**: tables are opened first, at one version, files listed after.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
from lance import LanceDataset
from pydantic import BaseModel, ConfigDict

from lake.derived import open_dataset, table_names, table_state
from lake.landing import read_landed, without_holes
from lake.layout import EVENTS, LandedName, kind_prefix, parse_landed_path
from lake.manifests import manifest_paths, read_manifest
from lake.pins import check_table
from lake.store import ObjectStore
from lake.tables import CURSOR, schema_note
from schemas.columns import arrow_schema, payload_columns
from schemas.errors import EventInvalidError, TracelakeError
from schemas.event import row_identity
from schemas.events import CLASS_OF_KIND, class_of_kind
from schemas.upcast import conformed


class Audit(BaseModel):
    """What was looked at, and what was wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    landed_files: int
    landed_events: int
    tables: int
    pins: int
    deep: bool
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


class Landed(NamedTuple):
    """What one readable landed file holds."""

    name: LandedName
    event_ids: list[str]
    seqs: list[int]


def audit(store: ObjectStore, *, deep: bool) -> Audit:
    problems: list[str] = []
    tables = {name: _opened(store, name, problems) for name in table_names(store)}
    paths = _landed_paths(store, problems)
    landed = [file for path in paths if (file := _read(store, path, deep, problems)) is not None]
    problems.extend(_gaps(landed))
    for name, dataset in tables.items():
        of_kind = [file for file in landed if file.name.kind == name]
        if dataset is not None:
            problems.extend(_table_problems(store, name, dataset, of_kind, deep))
    pins = manifest_paths(store)
    for path in pins:
        problems.extend(_pin_problems(store, path, deep))
    return Audit(
        landed_files=len(paths),
        landed_events=sum(len(file.seqs) for file in landed),
        tables=len(tables),
        pins=len(pins),
        deep=deep,
        problems=tuple(problems),
    )


def _opened(store: ObjectStore, name: str, problems: list[str]) -> LanceDataset | None:
    try:
        return open_dataset(store, name)
    except (TracelakeError, OSError, ValueError) as error:
        problems.append(f"table {name} cannot be opened: {error}")
        return None


def _landed_paths(store: ObjectStore, problems: list[str]) -> list[str]:
    shown, again = (store.list(EVENTS, ".parquet") for _ in range(2))
    problems.extend(f"{path} is no landed file of this lake" for path in again if not _is_landed(path))
    return without_holes(list(filter(_is_landed, shown)), list(filter(_is_landed, again)))


def _is_landed(path: str) -> bool:
    try:
        return parse_landed_path(path).kind in CLASS_OF_KIND
    except TracelakeError:
        return False


def _read(store: ObjectStore, path: str, deep: bool, problems: list[str]) -> Landed | None:
    name = parse_landed_path(path)
    try:
        rows = read_landed(store, path, None if deep else ["event_id", "writer_seq"])
    except (TracelakeError, OSError) as error:
        problems.append(str(error))
        return None
    if deep:
        problems.extend(f"{path}: {problem}" for problem in _false_identities(name.kind, rows))
    return Landed(name, rows["event_id"].to_pylist(), rows["writer_seq"].to_pylist())


def _false_identities(kind: str, rows: pa.Table) -> Iterator[str]:
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


def _gaps(landed: list[Landed]) -> Iterator[str]:
    """Files of an epoch land one after the other: a number that is missing before another has been lost."""
    seqs: dict[str, list[int]] = {}
    for file in landed:
        seqs.setdefault(file.name.writer_epoch, []).extend(file.seqs)
    for epoch, numbers in seqs.items():
        missing = set(range(max(numbers) + 1)) - set(numbers)
        if missing:
            first = min(missing)
            yield f"writer {epoch}: {len(missing)} sequence numbers are in no readable file, first {first}"
        if len(numbers) != len(set(numbers)):
            yield f"writer {epoch}: {len(numbers) - len(set(numbers))} sequence numbers have landed twice"


def _table_problems(
    store: ObjectStore, name: str, dataset: LanceDataset, landed: list[Landed], deep: bool
) -> Iterator[str]:
    try:
        if name in CLASS_OF_KIND:
            yield from _event_table_problems(dataset, name, landed, deep)
        elif deep:
            stored, found = (
                table_state(store, name, dataset.version, recompute=each) for each in (False, True)
            )
            if stored.digest != found.digest:
                yield f"table {name}: its rows are not those that were derived"
    except (TracelakeError, OSError, ValueError) as error:
        yield f"table {name} cannot be read: {error}"


def _event_table_problems(
    dataset: LanceDataset, kind: str, landed: list[Landed], deep: bool
) -> Iterator[str]:
    held: list[str] = dataset.to_table(columns=["event_id"])["event_id"].to_pylist()
    distinct = set(held)
    if len(distinct) != len(held):
        yield f"table {kind}: {len(held)} rows, {len(distinct)} distinct events"
    strangers = distinct - {event_id for file in landed for event_id in file.event_ids}
    if strangers:
        yield (
            f"table {kind}: {len(strangers)} events stand in no readable file under {kind_prefix(kind)}, "
            f"first {min(strangers)}"
        )
    cursor: dict[str, int] = schema_note(dataset, CURSOR) or {}
    passed = [file for file in landed if file.name.first_seq <= cursor.get(file.name.writer_epoch, -1)]
    lost = {event_id for file in passed for event_id in file.event_ids} - distinct
    if lost:
        yield f"table {kind}: {len(lost)} events that its cursor has passed are not in it, first {min(lost)}"
    if deep:
        for batch in dataset.to_batches():
            for problem in _false_identities(kind, pa.Table.from_batches([batch])):
                yield f"table {kind}: {problem}"


def _pin_problems(store: ObjectStore, path: str, deep: bool) -> Iterator[str]:
    try:
        pin = read_manifest(store, path)
    except TracelakeError as error:
        yield str(error)
        return
    for name, table in pin.tables.items():
        try:
            if deep:
                check_table(store, pin, name, table)
            elif open_dataset(store, name, table.version).count_rows() != table.row_count:
                yield f"table {name} of pin {pin.reference} has not the {table.row_count} pinned rows"
        except (TracelakeError, OSError, ValueError) as error:
            yield f"pin {pin.reference}: {error}"
