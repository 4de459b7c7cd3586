"""Audit of a lake: hashes, counts, gaps, orphans, pins.

Flow: open the tables → list and read the landed files → compare the log, the ledger, the tables and the pins
with them.

**A problem names the file or table and what depends on it.** An audit reads and never repairs.
**Shallow** hashes landed files again and checks counts, sequence numbers, manifests and the log of landed
files;
**deep** also computes every event's identity from its fields, landed and in tables, compares every row of an
event table with the landed rows, and computes every table's digest from its rows.
**Writers and projectors may go on**: tables are opened first, at one version, and files are listed after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lance import LanceDataset
from pydantic import BaseModel, ConfigDict

from tracelake.lake.audits.audit_rows import RowHashes, unlanded_rows, wrong_identities
from tracelake.lake.audits.dependents import Dependents
from tracelake.lake.landed.ledger import build_ledger
from tracelake.lake.landed.listing import drop_files_after_gaps
from tracelake.lake.landed.log import landed_log, tree_of
from tracelake.lake.landed.reading import read_landed
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
from tracelake.lake.tables.commits import CURSOR, schema_note
from tracelake.lake.tables.cursors import read_cursor
from tracelake.lake.tables.derived import open_dataset, table_names, table_state
from tracelake.lake.tables.lance_errors import panics_as_errors
from tracelake.lake.tables.torn_manifests import quarantine_disabled, torn_newest_manifest
from tracelake.lake.writing.spool.recovery import DAMAGED_SUFFIX, TORN_FOLDER
from tracelake.schemas.errors import BadInputError, TracelakeError
from tracelake.schemas.events.kinds import CLASS_OF_KIND


class Audit(BaseModel):
    """What was checked, and the problems found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    landed_files: int
    landed_events: int
    tables: int
    pins: int
    deep: bool
    problems: tuple[str, ...]
    quarantined: tuple[str, ...] = ()
    """Torn files in quarantine; no problem by themselves."""

    @property
    def ok(self) -> bool:
        return not self.problems


class AuditedFile(NamedTuple):
    """Contents of one readable landed file."""

    name: LandedName
    event_ids: list[str]
    seqs: list[int]
    row_hashes: RowHashes | None
    """None in a shallow audit."""


def audit(store: ObjectStore, *, deep: bool) -> Audit:
    problems: list[str] = []
    with quarantine_disabled():
        dependents = Dependents(store)
        tables = {name: _open(store, name, dependents, problems) for name in table_names(store)}
        log = landed_log(store)
        paths = _landed_paths(store, problems)
        problems.extend(_log_problems(log, paths, dependents))
        read = [_read(store, path, deep, dependents, problems) for path in paths]
        files = [file for file in read if file is not None]
        problems.extend(_gaps(files))
        problems.extend(_ledger_problems(store))
        for name, dataset in tables.items():
            if dataset is not None:
                of_kind = [file for file in files if file.name.kind == name]
                found = _table_problems(store, name, dataset, of_kind, deep)
                problems.extend(problem + dependents.suffix(name) for problem in found)
        pins = manifest_paths(store)
        # Read again: a pin that was just created has added the files that it saw.
        log = landed_log(store)
        for path in pins:
            problems.extend(_pin_problems(store, path, log, deep))
    return Audit(
        landed_files=len(paths),
        landed_events=sum(len(file.seqs) for file in files),
        tables=len(tables),
        pins=len(pins),
        deep=deep,
        problems=tuple(problems),
        quarantined=tuple(store.list(f"{TABLES}/{QUARANTINE}")),
    )


def _open(store: ObjectStore, name: str, dependents: Dependents, problems: list[str]) -> LanceDataset | None:
    torn = torn_newest_manifest(store.location(table_path(name)))
    if torn is not None:
        problems.append(
            f"table {name}: its newest version {torn.name} is torn{dependents.suffix(name)}. "
            "Opening the table moves it to quarantine; `tracelake build` projects the missing rows"
        )
        return None
    try:
        with panics_as_errors(f"table {name}"):
            return open_dataset(store, name)
    except (TracelakeError, OSError, ValueError) as error:
        problems.append(f"table {name} cannot be opened: {error}{dependents.suffix(name)}")
        return None


def _landed_paths(store: ObjectStore, problems: list[str]) -> list[str]:
    first_listing, second_listing = (store.list(EVENTS, ".parquet") for _ in range(2))
    problems.extend(
        f"{path} is not a landed file of this lake" for path in second_listing if not _is_landed(path)
    )
    return drop_files_after_gaps(
        list(filter(_is_landed, first_listing)), list(filter(_is_landed, second_listing))
    )


def _is_landed(path: str) -> bool:
    try:
        return parse_landed_path(path).kind in CLASS_OF_KIND
    except TracelakeError:
        return False


def _read(
    store: ObjectStore, path: str, deep: bool, dependents: Dependents, problems: list[str]
) -> AuditedFile | None:
    name = parse_landed_path(path)
    try:
        rows = read_landed(store, path, None if deep else ["event_id", "writer_seq"])
    except (TracelakeError, OSError) as error:
        problems.append(f"{error}{dependents.suffix(name.kind, include_table=True)}")
        return None
    if deep:
        problems.extend(f"{path}: {problem}" for problem in wrong_identities(name.kind, rows))
    hashes = RowHashes.of(name.kind, rows) if deep else None
    return AuditedFile(name, rows["event_id"].to_pylist(), rows["writer_seq"].to_pylist(), hashes)


def _log_problems(log: Sequence[str], paths: Sequence[str], dependents: Dependents) -> Iterator[str]:
    """Lines of the log that name no file, or name one twice."""
    landed = set(paths)
    for line, count in Counter(log).items():
        if count > 1:
            yield f"the log of landed files names {line} {count} times"
        if line not in landed:
            try:
                suffix = dependents.suffix(parse_landed_path(line).kind, include_table=True)
            except BadInputError:
                suffix = " (it is no path of a landed file: the log is damaged)"
            yield f"{line} had landed and is missing{suffix}"


def _gaps(files: list[AuditedFile]) -> Iterator[str]:
    """Files of an epoch land in order, so a missing number before a landed one is lost."""
    seqs: dict[str, list[int]] = {}
    for file in files:
        seqs.setdefault(file.name.writer_epoch, []).extend(file.seqs)
    for epoch, numbers in seqs.items():
        missing = set(range(max(numbers) + 1)) - set(numbers)
        if missing:
            first = min(missing)
            yield f"writer {epoch}: {len(missing)} sequence numbers are in no readable file, first {first}"
        if len(numbers) != len(set(numbers)):
            yield f"writer {epoch}: {len(numbers) - len(set(numbers))} sequence numbers have landed twice"


def _table_problems(
    store: ObjectStore, name: str, dataset: LanceDataset, files: list[AuditedFile], deep: bool
) -> Iterator[str]:
    try:
        with panics_as_errors(f"table {name}"):
            if name in CLASS_OF_KIND:
                yield from _event_table_problems(store, dataset, name, files, deep)
            elif deep:
                stored, found = (
                    table_state(store, name, dataset.version, recompute=each) for each in (False, True)
                )
                if stored.digest != found.digest:
                    yield f"table {name}: its rows are not those that were derived"
    except (TracelakeError, OSError, ValueError) as error:
        yield f"table {name} cannot be read: {error}"


def _event_table_problems(
    store: ObjectStore, dataset: LanceDataset, kind: str, files: list[AuditedFile], deep: bool
) -> Iterator[str]:
    event_ids: list[str] = dataset.to_table(columns=["event_id"])["event_id"].to_pylist()
    distinct = set(event_ids)
    if len(distinct) != len(event_ids):
        yield f"table {kind}: {len(event_ids)} rows, {len(distinct)} distinct events"
    not_landed = distinct - {event_id for file in files for event_id in file.event_ids}
    if not_landed:
        yield (
            f"table {kind}: {len(not_landed)} events are in no readable file under {kind_prefix(kind)}, "
            f"first {min(not_landed)}"
        )
    cursor = read_cursor(store, kind, schema_note(dataset, CURSOR) or {})
    passed = [file for file in files if file.name.first_seq <= cursor.get(file.name.writer_epoch, -1)]
    lost = {event_id for file in passed for event_id in file.event_ids} - distinct
    if lost:
        yield f"table {kind}: {len(lost)} events that its cursor has passed are not in it, first {min(lost)}"
    if deep:
        known = RowHashes.joined([file.row_hashes for file in files if file.row_hashes is not None])
        for problem in unlanded_rows(kind, dataset, known):
            yield f"table {kind}: {problem}"


def _ledger_problems(store: ObjectStore) -> Iterator[str]:
    for path in store.list(TORN_FOLDER, DAMAGED_SUFFIX):
        yield f"{path} contains acknowledged events that were damaged before they landed"
    try:
        yield from build_ledger(store).problems
    except TracelakeError as error:
        yield f"the ledger cannot be read: {error}"


def _pin_problems(store: ObjectStore, path: str, log: list[str], deep: bool) -> Iterator[str]:
    try:
        pin = read_manifest(store, path)
    except TracelakeError as error:
        yield str(error)
        return
    found = tree_of(log[: pin.landed.size])
    if found != pin.landed:
        yield (
            f"pin {pin.reference}: the log of landed files has changed since, "
            f"{found.size} lines with root {found.root}, not {pin.landed.size} with {pin.landed.root}"
        )
    for name, table in pin.tables.items():
        try:
            if deep:
                check_table(store, pin, name, table)
            elif _row_count(store, name, table.version) != table.row_count:
                yield f"table {name} of pin {pin.reference} does not have the {table.row_count} pinned rows"
        except (TracelakeError, OSError, ValueError) as error:
            yield f"pin {pin.reference}: {error}"


def _row_count(store: ObjectStore, name: str, version: int) -> int:
    with panics_as_errors(f"table {name}"):
        return open_dataset(store, name, version).count_rows()
