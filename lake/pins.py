"""Making, listing and opening pins.

**A tag first, then the manifest**: the versions are kept from cleanup before anyone can hold the pin.
**A pin opens identically or fails loudly**: digests are recomputed from the rows when it is opened.
**The same contents under the same name are the same pin.**
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from pydantic import ValidationError

from lake.derived import derived_note, open_dataset, table_state
from lake.layout import PINS, pin_path, pin_tag, table_path
from lake.store import ObjectStore
from lake.tables import protect, scan_table
from schemas.errors import BadInputError, PinChangedError, PinMissingError, TableMissingError
from schemas.events import CLASS_OF_KIND
from schemas.pin import LedgerLine, Pin, PinnedTable, parse_reference, pin_digest
from schemas.version import TRACELAKE_VERSION


class OpenPin:
    """A pin that was checked; scans read the pinned versions only."""

    def __init__(self, store: ObjectStore, pin: Pin) -> None:
        self._store = store
        self.pin = pin

    def scan(self, table: str) -> pl.LazyFrame:
        """Raises PinMissingError for a table that is not in the pin. Row order is not defined: sort."""
        if table not in self.pin.tables:
            raise PinMissingError(
                f"pin {self.pin.reference} has no table of this name",
                got=table,
                expected=", ".join(self.pin.tables),
            )
        return scan_table(self._store.location(table_path(table)), self.pin.tables[table].version)


def make_pin(store: ObjectStore, name: str, tables: Sequence[str]) -> Pin:
    """Raises TableMissingError, BadInputError for an empty list."""
    if not tables:
        raise BadInputError("a pin of nothing", got="no tables", expected="one table at least")
    states = {table: table_state(store, table) for table in sorted(set(tables))}
    ledger = _ledger(store, sorted(_kinds_behind(store, list(states))))
    versions = {kind: CLASS_OF_KIND[kind].SCHEMA_VERSION for kind in ledger}
    digest = pin_digest(states, ledger, TRACELAKE_VERSION, versions)
    while True:
        numbers = [pin.number for pin in list_pins(store, name)]
        number = max(numbers, default=0) + 1
        if numbers and (latest := read_pin(store, f"{name}@{number - 1}")).digest == digest:
            return latest
        pin = Pin(
            name=name,
            number=number,
            digest=digest,
            tables=states,
            ledger=ledger,
            tracelake_version=TRACELAKE_VERSION,
            schema_versions=versions,
        )
        if _protected(store, pin) and store.put_new(
            pin_path(name, number), pin.model_dump_json(indent=1).encode()
        ):
            return pin


def list_pins(store: ObjectStore, name: str | None = None) -> list[Pin]:
    """In the order of name and number."""
    prefix = PINS if name is None else pin_path(name, 0).rsplit("/", 1)[0]
    return [_parse(store.read(path), path) for path in store.list(prefix, ".json")]


def read_pin(store: ObjectStore, reference: str) -> Pin:
    """The manifest alone, its own digest checked. `name` without a number is the newest. Raises
    PinMissingError."""
    name, number = parse_reference(reference)
    if number is None:
        known = list_pins(store, name)
        number = known[-1].number if known else 0
    path = pin_path(name, number)
    if not store.exists(path):
        raise PinMissingError(
            "no such pin",
            got=reference,
            expected=", ".join(pin.reference for pin in list_pins(store)) or "none has been made",
            cure="Run `tracelake pin NAME`.",
        )
    return _parse(store.read(path), path)


def open_pin(store: ObjectStore, reference: str) -> OpenPin:
    """Raises PinMissingError, PinChangedError if a table's rows are not those that were pinned."""
    pin = read_pin(store, reference)
    for name, pinned in pin.tables.items():
        check_table(store, pin, name, pinned)
    return OpenPin(store, pin)


def check_table(store: ObjectStore, pin: Pin, name: str, pinned: PinnedTable) -> None:
    """Recompute one table's digest from its rows. Raises PinChangedError."""
    try:
        found = table_state(store, name, pinned.version, recompute=True)
    except TableMissingError as error:
        raise PinChangedError(
            f"pin {pin.reference} cannot be opened", got=str(error), expected=pinned.digest
        ) from error
    if (found.digest, found.row_count) != (pinned.digest, pinned.row_count):
        raise PinChangedError(
            f"table {name} of pin {pin.reference} is not what was pinned",
            got=f"{found.row_count} rows, digest {found.digest}",
            expected=f"{pinned.row_count} rows, digest {pinned.digest}",
            cure="Restore the table from a copy, or rebuild it and pin it anew.",
        )


def _parse(data: bytes, path: str) -> Pin:
    try:
        pin = Pin.model_validate_json(data)
    except ValidationError as error:
        raise PinChangedError(
            f"manifest {path} is damaged",
            got=error.errors(include_url=False)[0]["msg"],
            expected="a pin manifest",
        ) from error
    found = pin_digest(pin.tables, pin.ledger, pin.tracelake_version, pin.schema_versions)
    if found != pin.digest:
        raise PinChangedError(
            f"manifest {path} was changed", got=f"digest {found}", expected=f"digest {pin.digest}"
        )
    return pin


def _protected(store: ObjectStore, pin: Pin) -> bool:
    tag = pin_tag(pin.name, pin.number)
    return all(protect(open_dataset(store, name), tag, table.version) for name, table in pin.tables.items())


def _kinds_behind(store: ObjectStore, tables: list[str]) -> set[str]:
    """Kinds of event that the tables are derived from, through any number of derivations."""
    kinds: set[str] = set()
    waiting, seen = list(tables), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in CLASS_OF_KIND:
            kinds.add(name)
        elif (note := derived_note(store, name)) is not None:
            waiting.extend(note.inputs)
    return kinds


def _ledger(store: ObjectStore, kinds: list[str]) -> dict[str, LedgerLine]:
    conflicts = _rows_where(store, "conflict_found", "conflict_kind")
    rejected = len(_rows_where(store, "event_rejected", "line"))
    lines: dict[str, LedgerLine] = {}
    for kind in kinds:
        landed = table_state(store, kind).row_count
        # What was refused had no kind yet; it is told where rollouts begin.
        refused = rejected if kind == "rollout_started" else 0
        lines[kind] = LedgerLine(landed=landed, conflicting=conflicts.count(kind), rejected=refused)
    return lines


def _rows_where(store: ObjectStore, kind: str, column: str) -> list[object]:
    try:
        return open_dataset(store, kind).to_table(columns=[column])[column].to_pylist()
    except TableMissingError:
        return []
