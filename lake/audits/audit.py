"""Does the lake still say what it was told? Re-hash, recount, look for gaps and orphans, reopen pins.

**A problem names the file or table and what depends on it.** An audit reads and never repairs.
**Shallow** re-hashes landed files and checks counts, sequence numbers, manifests and the log of landed files;
**deep** also recomputes every event's identity, landed and in tables, from its fields, compares every row of
an event table with what has landed, and recomputes every table's digest from its rows.
**Writers and projectors may go on meanwhile**: tables are opened first, at one version, files listed after.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lance import LanceDataset
from pydantic import BaseModel, ConfigDict

from tracelake.lake.audits.audit_log import log_problems, tree_problem
from tracelake.lake.audits.audit_rows import RowHashes, false_identities, strange_rows
from tracelake.lake.audits.dependents import Dependents
from tracelake.lake.landed.ledger import ledger
from tracelake.lake.landed.log import landed_log
from tracelake.lake.landed.reading import read_landed, drop_files_after_gaps
from tracelake.lake.layout import (
    EVENTS,
    QUARANTINE,
    TABLES,
    LandedName,
    kind_prefix,
    parse_landed_path,
    table_path,
)
from tracelake.lake.pins.manifests import manifest_paths, read_manifest
from tracelake.lake.pins.pins import check_table
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.torn_manifests import quarantine_disabled, torn_newest_manifest, panics_as_errors
from tracelake.lake.tables.commits import CURSOR, schema_note
from tracelake.lake.tables.cursors import read_cursor
from tracelake.lake.tables.derived import open_dataset, table_names, table_state
from tracelake.lake.writing.spool.recovery import DAMAGED, TORN
from tracelake.schemas.errors import TracelakeError
from tracelake.schemas.events.kinds import CLASS_OF_KIND


class Audit(BaseModel):
    """What was looked at, and what was wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    landed_files: int
    landed_events: int
    tables: int
    pins: int
    deep: bool
    problems: tuple[str, ...]
    quarantined: tuple[str, ...] = ()
    """Torn files that were put aside; no problem by themselves."""

    @property
    def ok(self) -> bool:
        return not self.problems


class Landed(NamedTuple):
    """What one readable landed file holds."""

    name: LandedName
    event_ids: list[str]
    seqs: list[int]
    row_hashes: RowHashes | None
    """Null in a shallow audit."""


def audit(store: ObjectStore, *, deep: bool) -> Audit:
    with quarantine_disabled():
        return _audited(store, deep=deep)


def _audited(store: ObjectStore, *, deep: bool) -> Audit:
    problems: list[str] = []
    dependents = Dependents(store)
    tables = {name: _opened(store, name, dependents, problems) for name in table_names(store)}
    log = landed_log(store)
    paths = _landed_paths(store, problems)
    problems.extend(log_problems(log, paths, dependents))
    landed = [file for path in paths if (file := _read(store, path, deep, dependents, problems)) is not None]
    problems.extend(_gaps(landed))
    problems.extend(_ledger_problems(store))
    for name, dataset in tables.items():
        of_kind = [file for file in landed if file.name.kind == name]
        if dataset is not None:
            found = _table_problems(store, name, dataset, of_kind, deep)
            problems.extend(problem + dependents.told(name) for problem in found)
    pins = manifest_paths(store)
    # Again: a pin of just now has entered what it saw.
    log = landed_log(store)
    for path in pins:
        problems.extend(_pin_problems(store, path, log, deep))
    return Audit(
        landed_files=len(paths),
        landed_events=sum(len(file.seqs) for file in landed),
        tables=len(tables),
        pins=len(pins),
        deep=deep,
        problems=tuple(problems),
        quarantined=tuple(store.list(f"{TABLES}/{QUARANTINE}")),
    )


def _opened(
    store: ObjectStore, name: str, dependents: Dependents, problems: list[str]
) -> LanceDataset | None:
    torn = torn_newest_manifest(store.location(table_path(name)))
    if torn is not None:
        problems.append(
            f"table {name}: its newest version {torn.name} is torn{dependents.told(name)}. "
            "Opening the table puts it aside; `tracelake build` brings the rest"
        )
        return None
    try:
        with panics_as_errors(f"table {name}"):
            return open_dataset(store, name)
    except (TracelakeError, OSError, ValueError) as error:
        problems.append(f"table {name} cannot be opened: {error}{dependents.told(name)}")
        return None


def _landed_paths(store: ObjectStore, problems: list[str]) -> list[str]:
    shown, again = (store.list(EVENTS, ".parquet") for _ in range(2))
    problems.extend(f"{path} is no landed file of this lake" for path in again if not _is_landed(path))
    return drop_files_after_gaps(list(filter(_is_landed, shown)), list(filter(_is_landed, again)))


def _is_landed(path: str) -> bool:
    try:
        return parse_landed_path(path).kind in CLASS_OF_KIND
    except TracelakeError:
        return False


def _read(
    store: ObjectStore, path: str, deep: bool, dependents: Dependents, problems: list[str]
) -> Landed | None:
    name = parse_landed_path(path)
    try:
        rows = read_landed(store, path, None if deep else ["event_id", "writer_seq"])
    except (TracelakeError, OSError) as error:
        problems.append(f"{error}{dependents.told(name.kind, itself=True)}")
        return None
    if deep:
        problems.extend(f"{path}: {problem}" for problem in false_identities(name.kind, rows))
    hashes = RowHashes.of(name.kind, rows) if deep else None
    return Landed(name, rows["event_id"].to_pylist(), rows["writer_seq"].to_pylist(), hashes)


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
        with panics_as_errors(f"table {name}"):
            if name in CLASS_OF_KIND:
                yield from _event_table_problems(store, dataset, name, landed, deep)
            elif deep:
                stored, found = (
                    table_state(store, name, dataset.version, recompute=each) for each in (False, True)
                )
                if stored.digest != found.digest:
                    yield f"table {name}: its rows are not those that were derived"
    except (TracelakeError, OSError, ValueError) as error:
        yield f"table {name} cannot be read: {error}"


def _event_table_problems(
    store: ObjectStore, dataset: LanceDataset, kind: str, landed: list[Landed], deep: bool
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
    cursor = read_cursor(store, kind, schema_note(dataset, CURSOR) or {})
    passed = [file for file in landed if file.name.first_seq <= cursor.get(file.name.writer_epoch, -1)]
    lost = {event_id for file in passed for event_id in file.event_ids} - distinct
    if lost:
        yield f"table {kind}: {len(lost)} events that its cursor has passed are not in it, first {min(lost)}"
    if deep:
        known = RowHashes.joined([file.row_hashes for file in landed if file.row_hashes is not None])
        for problem in strange_rows(kind, dataset, known):
            yield f"table {kind}: {problem}"


def _ledger_problems(store: ObjectStore) -> Iterator[str]:
    for path in store.list(TORN, DAMAGED):
        yield f"{path} holds acknowledged events that were damaged before they landed"
    try:
        yield from ledger(store).problems
    except TracelakeError as error:
        yield f"the ledger cannot be closed: {error}"


def _pin_problems(store: ObjectStore, path: str, log: list[str], deep: bool) -> Iterator[str]:
    try:
        pin = read_manifest(store, path)
    except TracelakeError as error:
        yield str(error)
        return
    if (problem := tree_problem(pin, log)) is not None:
        yield problem
    for name, table in pin.tables.items():
        try:
            if deep:
                check_table(store, pin, name, table)
            elif _row_count(store, name, table.version) != table.row_count:
                yield f"table {name} of pin {pin.reference} has not the {table.row_count} pinned rows"
        except (TracelakeError, OSError, ValueError) as error:
            yield f"pin {pin.reference}: {error}"


def _row_count(store: ObjectStore, name: str, version: int) -> int:
    with panics_as_errors(f"table {name}"):
        return open_dataset(store, name, version).count_rows()
