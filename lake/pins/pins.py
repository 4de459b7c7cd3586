"""Creating and opening pins.

Flow: lease the tables → digest them → search their rows for secrets → tag their versions → write the
manifest.

**Tags come before the manifest**: cleanup can no longer remove the versions when the first reader gets the
pin.
**A pin records what had landed**: size and Merkle root of the log of landed files.
**A pin opens unchanged or fails loudly**: opening it computes the digests again from the rows.
**The same contents under the same name are the same pin.**
**A pin of an event table leaves out what folds leave out**, by conflicts and retractions: it lists the ids of
those events, and its scans do not return them.
**A later retraction changes no pin**: opening it warns.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence

import polars as pl

from tracelake.lake.curation.retractions import retracted_in
from tracelake.lake.curation.selection import (
    EVERYTHING,
    Selection,
    is_used,
    read_selection,
    selection_columns,
)
from tracelake.lake.landed.ledger import build_ledger
from tracelake.lake.landed.log import append_to_log
from tracelake.lake.layout import pin_tag, table_path
from tracelake.lake.pins.manifests import create_manifest, list_pins, read_pin
from tracelake.lake.secrets.known_secrets import secrets_of
from tracelake.lake.secrets.secret_check import check_for_secrets
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.commits import open_table, scan_table
from tracelake.lake.tables.derived import derived_note, open_dataset, table_state
from tracelake.lake.tables.lance_errors import panics_as_errors
from tracelake.lake.tables.tags import create_tag, leased
from tracelake.schemas.errors import (
    BadInputError,
    CommitContendedError,
    CorruptFileError,
    PinChangedError,
    PinMissingError,
    StoreUnavailableError,
    TableMissingError,
)
from tracelake.schemas.events.kinds import CLASS_OF_KIND
from tracelake.schemas.events.lake_events import ConflictFound, EventRejected
from tracelake.schemas.events.rollout_events import RolloutStarted
from tracelake.schemas.pin import MANIFEST_FORMAT, KindCounts, Pin, PinnedTable, pin_digest, pin_seal
from tracelake.schemas.version import TRACELAKE_VERSION

RACES_MAX = 100
_log = logging.getLogger("tracelake")


class OpenPin:
    """A verified pin; scans read the pinned versions only."""

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
        pinned = self.pin.tables[table]
        rows = scan_table(open_dataset(self._store, table, pinned.version), pinned.version)
        return rows.filter(~pl.col("event_id").is_in(pinned.quarantined)) if pinned.quarantined else rows


def create_pin(store: ObjectStore, name: str, tables: Sequence[str], allowed: Sequence[str] = ()) -> Pin:
    """`allowed` lists findings that are no secrets. Raises TableMissingError, BadInputError without tables,
    PinChangedError for a derived table whose rows do not match its digest, and SecretFoundError."""
    if not tables:
        raise BadInputError("a pin needs tables", got="no tables", expected="at least one table")
    with contextlib.ExitStack() as leases:
        # Digesting a large table can take longer than cleanup keeps its version.
        versions = {table: leases.enter_context(leased(store, table)) for table in sorted(set(tables))}
        selection = read_selection(store)
        states = {
            table: _state_to_pin(store, table, version, selection) for table, version in versions.items()
        }
        ledger = _kind_counts(store, sorted(_source_kinds(store, list(states))))
        schema_versions = {kind: CLASS_OF_KIND[kind].SCHEMA_VERSION for kind in ledger}
        unnumbered = Pin(
            name=name,
            number=0,
            digest=pin_digest(states, ledger, TRACELAKE_VERSION, schema_versions),
            tables=states,
            ledger=ledger,
            tracelake_version=TRACELAKE_VERSION,
            schema_versions=schema_versions,
            manifest_format=MANIFEST_FORMAT,
            landed=append_to_log(store),
            run_counts=tuple(build_ledger(store).lines),
        )
        return _write_under_free_number(store, unnumbered, allowed)


def open_pin(store: ObjectStore, reference: str) -> OpenPin:
    """Raises PinMissingError, PinChangedError if a table's rows are not those that were pinned."""
    pin = read_pin(store, reference)
    for name, pinned in pin.tables.items():
        check_table(store, pin, name, pinned)
    if retracted := retracted_in(store, pin, read_selection(store)):
        _log.warning(
            "pin %s stays as it is; rollouts of it that have been retracted since: %d, such as %s",
            pin.reference,
            len(retracted),
            retracted[0],
        )
    return OpenPin(store, pin)


def check_table(store: ObjectStore, pin: Pin, name: str, pinned: PinnedTable) -> None:
    """Compute one table's digests again from its rows. Raises PinChangedError, StoreUnavailableError."""
    try:
        with panics_as_errors(f"table {name}"):
            found = table_state(store, name, pinned.version, recompute=True)
    except StoreUnavailableError:
        # This says nothing about the table.
        raise
    except (OSError, ValueError, RuntimeError, LookupError, CorruptFileError) as error:
        raise PinChangedError(
            f"table {name} of pin {pin.reference} cannot be read",
            got=str(error),
            expected=f"{pinned.row_count} rows, digest {pinned.digest}",
            cure="Restore the table from a copy, or run `tracelake rebuild` and pin it again.",
        ) from error
    if _contents(found) != _contents(pinned):
        raise PinChangedError(
            f"table {name} of pin {pin.reference} is not what was pinned",
            got=f"{found.row_count} rows, digests {_contents(found)}",
            expected=f"{pinned.row_count} rows, digests {_contents(pinned)}",
            cure="Restore the table from a copy, or run `tracelake rebuild` and pin it again.",
        )


def _write_under_free_number(store: ObjectStore, pin: Pin, allowed: Sequence[str]) -> Pin:
    """The pin under the first free number, or an older pin of the same contents that can still be opened."""
    for _ in range(RACES_MAX):
        known = list_pins(store, pin.name)
        for older in reversed(known):
            if older.digest == pin.digest and _versions_exist(store, older):
                return older
        if not pin.number:
            _search_for_secrets(store, pin.tables, allowed)
        # Skips a number that another process tagged without writing a manifest.
        number = max(pin.number, *(older.number for older in known), 0) + 1
        pin = pin.model_copy(update={"number": number})
        if _tag_versions(store, pin) and create_manifest(store, pin):
            return pin.model_copy(update={"seal": pin_seal(pin)})
    raise CommitContendedError(
        f"pin {pin.name} found no free number",
        got=f"{RACES_MAX} attempts, the last one {pin.reference}",
        cure="Derive the tables again and retry: cleanup may have removed the versions to pin.",
    )


def _search_for_secrets(store: ObjectStore, states: dict[str, PinnedTable], allowed: Sequence[str]) -> None:
    """Raises SecretFoundError."""
    rows = ((name, open_dataset(store, name, state.version).to_table()) for name, state in states.items())
    check_for_secrets(rows, secrets=secrets_of(os.environ), allowed=allowed)


def _tag_versions(store: ObjectStore, pin: Pin) -> bool:
    tag = pin_tag(pin.name, pin.number)
    return all(
        create_tag(open_dataset(store, name), tag, table.version) for name, table in pin.tables.items()
    )


def _versions_exist(store: ObjectStore, pin: Pin) -> bool:
    try:
        for name, table in pin.tables.items():
            open_dataset(store, name, table.version)
    except TableMissingError:
        return False
    return True


def _contents(table: PinnedTable) -> tuple[int, str, str, str | None]:
    return table.row_count, table.digest, table.schema_digest, table.rows_digest


def _state_to_pin(store: ObjectStore, name: str, version: int, selection: Selection) -> PinnedTable:
    stored = table_state(store, name, version)
    state = table_state(store, name, version, recompute=True)
    if state.digest != stored.digest:
        raise PinChangedError(
            f"table {name} is not what was derived",
            got=f"digest {state.digest}",
            expected=f"digest {stored.digest}",
            cure="Run `tracelake build` to derive it again.",
        )
    return state.model_copy(update={"quarantined": _events_left_out(store, name, state.version, selection)})


def _events_left_out(store: ObjectStore, name: str, version: int, selection: Selection) -> tuple[str, ...]:
    """Sorted ids of an event table's events that do not count."""
    if name not in CLASS_OF_KIND or selection == EVERYTHING:
        return ()
    rows = pl.DataFrame(open_dataset(store, name, version).to_table(columns=selection_columns(name)))
    return tuple(sorted(rows.filter(~is_used(rows, name, selection))["event_id"]))


def _source_kinds(store: ObjectStore, tables: list[str]) -> set[str]:
    """Kinds of event that the tables are derived from, through any number of derivations."""
    kinds: set[str] = set()
    queue, seen = list(tables), set[str]()
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in CLASS_OF_KIND:
            kinds.add(name)
        elif (note := derived_note(store, name)) is not None:
            queue.extend(note.inputs)
    return kinds


def _kind_counts(store: ObjectStore, kinds: list[str]) -> dict[str, KindCounts]:
    conflicting = [kind for kind, _ in _conflicts(store)]
    rejected = _row_count(store, EventRejected.KIND)
    return {
        kind: KindCounts(
            landed=_row_count(store, kind),
            conflicting=conflicting.count(kind),
            # A rejected piece of a source has no kind; it is counted where rollouts begin.
            rejected=rejected if kind == RolloutStarted.KIND else 0,
        )
        for kind in kinds
    }


def _conflicts(store: ObjectStore) -> list[tuple[str, str]]:
    """(kind, key hash) of each `ConflictFound`."""
    dataset = open_table(store.location(table_path(ConflictFound.KIND)))
    if dataset is None:
        return []
    rows = dataset.to_table(columns=["conflict_kind", "conflict_key_hash"]).to_pylist()
    return [(row["conflict_kind"], row["conflict_key_hash"]) for row in rows]


def _row_count(store: ObjectStore, kind: str) -> int:
    dataset = open_table(store.location(table_path(kind)))
    return 0 if dataset is None else dataset.count_rows()
