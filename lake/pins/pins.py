"""Making, listing and opening pins.

**A tag first, then the manifest**: the versions are kept from cleanup before anyone can hold the pin.
**A pin says what had landed**: the size and the Merkle root of the log of landed files.
**A pin opens identically or fails loudly**: digests are recomputed from the rows when it is opened.
**The same contents under the same name are the same pin.**
**Events in conflict are in no pin**: their ids are listed in it, and its scans leave them out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import polars as pl

from tracelake.lake.landed.ledger import ledger as ledger_of
from tracelake.lake.landed.log import append_to_log
from tracelake.lake.layout import pin_tag
from tracelake.lake.pins.manifests import create_manifest, list_pins, read_pin
from tracelake.lake.secrets.known_secrets import secrets_of
from tracelake.lake.secrets.secret_check import check_for_secrets
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.torn_manifests import panics_as_errors
from tracelake.lake.tables.commits import scan_table
from tracelake.lake.tables.derived import derived_note, open_dataset, table_state
from tracelake.lake.tables.tags import leased
from tracelake.lake.tables.tags import create_tag
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
        pinned = self.pin.tables[table]
        rows = scan_table(open_dataset(self._store, table, pinned.version), pinned.version)
        return rows.filter(~pl.col("event_id").is_in(pinned.quarantined)) if pinned.quarantined else rows


def create_pin(store: ObjectStore, name: str, tables: Sequence[str], allowed: Sequence[str] = ()) -> Pin:
    """`allowed` are places of findings that are no secrets. Raises TableMissingError, BadInputError for an
    empty list, PinChangedError for a derived table that does not hold what was derived, and
    SecretFoundError."""
    if not tables:
        raise BadInputError("a pin of nothing", got="no tables", expected="one table at least")
    names = sorted(set(tables))
    with contextlib.ExitStack() as holds:
        # KnownRows until tagged: to read a large table takes longer than its version is kept.
        held = {name: holds.enter_context(leased(store, name)) for name in names}
        states = {table: _state_to_pin(store, table, held[table]) for table in names}
        return _numbered(store, _described(store, name, states), allowed)


def _described(store: ObjectStore, name: str, states: dict[str, PinnedTable]) -> Pin:
    """The pin without its number."""
    ledger = _ledger(store, sorted(_kinds_behind(store, list(states))))
    versions = {kind: CLASS_OF_KIND[kind].SCHEMA_VERSION for kind in ledger}
    return Pin(
        name=name,
        number=0,
        digest=pin_digest(states, ledger, TRACELAKE_VERSION, versions),
        tables=states,
        ledger=ledger,
        tracelake_version=TRACELAKE_VERSION,
        schema_versions=versions,
        manifest_format=MANIFEST_FORMAT,
        landed=append_to_log(store),
        run_counts=tuple(ledger_of(store).lines),
    )


def _numbered(store: ObjectStore, pin: Pin, allowed: Sequence[str]) -> Pin:
    """The pin under the first number that is free; an older one of the same contents if it stands."""
    for _ in range(RACES_MAX):
        known = list_pins(store, pin.name)
        for older in reversed(known):
            if older.digest == pin.digest and _stands(store, older):
                return older
        if not pin.number:
            _search_for_secrets(store, pin.tables, allowed)
        # A number whose tag another pin took, and left without a manifest, is passed over.
        number = max(pin.number, *(older.number for older in known), 0) + 1
        pin = pin.model_copy(update={"number": number})
        if _protected(store, pin) and create_manifest(store, pin):
            return pin.model_copy(update={"seal": pin_seal(pin)})
    raise CommitContendedError(
        f"pin {pin.name} found no number that is free",
        got=f"{RACES_MAX} tries, the last one {pin.reference}",
        cure="Derive the tables anew and try again: the versions to be pinned may have been cleaned away.",
    )


def _search_for_secrets(store: ObjectStore, states: dict[str, PinnedTable], allowed: Sequence[str]) -> None:
    """Of what is about to be handed out. Raises SecretFoundError."""
    rows = ((name, open_dataset(store, name, state.version).to_table()) for name, state in states.items())
    check_for_secrets(rows, secrets=secrets_of(os.environ), allowed=allowed)


def open_pin(store: ObjectStore, reference: str) -> OpenPin:
    """Raises PinMissingError, PinChangedError if a table's rows are not those that were pinned."""
    pin = read_pin(store, reference)
    for name, pinned in pin.tables.items():
        check_table(store, pin, name, pinned)
    return OpenPin(store, pin)


def check_table(store: ObjectStore, pin: Pin, name: str, pinned: PinnedTable) -> None:
    """Recompute one table's digests from its rows. Raises PinChangedError, StoreUnavailableError."""
    try:
        with panics_as_errors(f"table {name}"):
            found = table_state(store, name, pinned.version, recompute=True)
    except StoreUnavailableError:
        # Nothing is known about the table.
        raise
    except (OSError, ValueError, RuntimeError, LookupError, CorruptFileError) as error:
        raise PinChangedError(
            f"table {name} of pin {pin.reference} cannot be read",
            got=str(error),
            expected=f"{pinned.row_count} rows, digest {pinned.digest}",
            cure="Restore the table from a copy, or run `tracelake rebuild` and pin it anew.",
        ) from error
    if _contents(found) != _contents(pinned):
        raise PinChangedError(
            f"table {name} of pin {pin.reference} is not what was pinned",
            got=f"{found.row_count} rows, digests {_contents(found)}",
            expected=f"{pinned.row_count} rows, digests {_contents(pinned)}",
            cure="Restore the table from a copy, or run `tracelake rebuild` and pin it anew.",
        )


def _contents(table: PinnedTable) -> tuple[int, str, str, str | None]:
    return table.row_count, table.digest, table.schema_digest, table.rows_digest


def _state_to_pin(store: ObjectStore, name: str, version: int) -> PinnedTable:
    stored = table_state(store, name, version)
    state = table_state(store, name, version, recompute=True)
    if state.digest != stored.digest:
        raise PinChangedError(
            f"table {name} is not what was derived",
            got=f"digest {state.digest}",
            expected=f"digest {stored.digest}",
            cure="Run `tracelake build` to derive it anew.",
        )
    return state.model_copy(update={"quarantined": _quarantined(store, name, state.version)})


def _quarantined(store: ObjectStore, name: str, version: int) -> tuple[str, ...]:
    """Events of an event table whose key is in conflict, sorted."""
    keys = {key_hash for kind, key_hash in _conflicts(store) if kind == name}
    if not keys:
        return ()
    rows = open_dataset(store, name, version).to_table(columns=["event_id", "key_hash"]).to_pylist()
    return tuple(sorted(row["event_id"] for row in rows if row["key_hash"] in keys))


def _stands(store: ObjectStore, pin: Pin) -> bool:
    """Whether the versions that the pin names are still there."""
    try:
        for name, table in pin.tables.items():
            open_dataset(store, name, table.version)
    except TableMissingError:
        return False
    return True


def _protected(store: ObjectStore, pin: Pin) -> bool:
    tag = pin_tag(pin.name, pin.number)
    return all(create_tag(open_dataset(store, name), tag, table.version) for name, table in pin.tables.items())


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


def _ledger(store: ObjectStore, kinds: list[str]) -> dict[str, KindCounts]:
    conflicting = [kind for kind, _ in _conflicts(store)]
    rejected = len(_rows(store, EventRejected.KIND, ["event_id"]))
    lines: dict[str, KindCounts] = {}
    for kind in kinds:
        landed = len(_rows(store, kind, ["event_id"]))
        # What was refused had no kind yet; it is told where rollouts begin.
        refused = rejected if kind == RolloutStarted.KIND else 0
        lines[kind] = KindCounts(landed=landed, conflicting=conflicting.count(kind), rejected=refused)
    return lines


def _conflicts(store: ObjectStore) -> list[tuple[str, str]]:
    """(kind, key hash) of each conflict that was told."""
    rows = _rows(store, ConflictFound.KIND, ["conflict_kind", "conflict_key_hash"])
    return [(row["conflict_kind"], row["conflict_key_hash"]) for row in rows]


def _rows(store: ObjectStore, kind: str, columns: list[str]) -> list[dict[str, Any]]:
    """Of an event table as it is now; none if nothing of the kind has landed."""
    try:
        return open_dataset(store, kind).to_table(columns=columns).to_pylist()
    except TableMissingError:
        return []
