"""The lake: one root folder or bucket, and all operations on it.

Flow: `writer` lands events → `project` adds them to tables → `scan` reads, folds derive, `derive` writes
derived tables → `pin` names exact contents → `open_pin` reads them again, unchanged → `verify` audits
everything.

**Opening is light**: Lance and Polars are imported by the methods that need them, so an import or an `append`
starts at once.
"""

from __future__ import annotations

import json
import logging
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING

from tracelake.lake.layout import CURSORS, EVENTS, FORMAT_VERSION, LEDGER, LOG, MARKER, PINS, TABLES
from tracelake.lake.secrets.redaction import read_or_create_redaction_key
from tracelake.lake.stores.probe import check_conditional_writes
from tracelake.lake.stores.store import ObjectStore, is_local, open_store
from tracelake.lake.writing.collector import QUEUED_MAX, Collector
from tracelake.lake.writing.deduplicate import Origin
from tracelake.lake.writing.spool.recovery import recover
from tracelake.lake.writing.writer import Writer
from tracelake.schemas.errors import (
    BadInputError,
    CorruptFileError,
    LakeError,
    LakeExistsError,
    LakeMissingError,
)
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.kinds import CLASS_OF_KIND
from tracelake.schemas.events.lake_events import ConflictFound
from tracelake.schemas.version import TRACELAKE_VERSION

if TYPE_CHECKING:
    import polars as pl

    from tracelake.lake.audits.audit import Audit
    from tracelake.lake.curation.conflicts import Conflict
    from tracelake.lake.curation.retractions import NamedAs, Retraction
    from tracelake.lake.curation.selection import Selection
    from tracelake.lake.landed.ledger import Ledger
    from tracelake.lake.maintenance.maintain import TableMaintenance
    from tracelake.lake.pins.pins import OpenPin
    from tracelake.lake.projection.rebuild import RebuiltTable
    from tracelake.lake.tables.derived import Derivation
    from tracelake.schemas.pin import Pin, PinnedTable

PROJECT_RUN = "project"
CURATION_RUN = "curation"
_log = logging.getLogger("tracelake")


class Lake:
    """Open a lake with `Lake.open`, create one with `Lake.create`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._writers: weakref.WeakSet[Writer] = weakref.WeakSet()

    @classmethod
    def create(cls, uri: str) -> Lake:
        """Raises LakeExistsError, also over the files of a lake without its marker, and StoreUnsupportedError
        for a remote store that ignores conditions."""
        store = open_store(uri)
        if not is_local(store):
            # Before the listing: some servers have no bucket to list until something was written.
            check_conditional_writes(store)
        if not store.exists(MARKER):
            _refuse_remains(store)
        if not store.put_new(MARKER, json.dumps(_marker()).encode()):
            raise LakeExistsError(
                "there is a lake here already", got=uri, cure="Open it, or choose another place."
            )
        read_or_create_redaction_key(store)
        return cls(store)

    @classmethod
    def open(cls, uri: str) -> Lake:
        """Lands what crashed writers left first. Raises LakeMissingError, and LakeError for a lake of another
        format."""
        store = open_store(uri)
        if not store.exists(MARKER):
            raise LakeMissingError(
                "there is no lake here",
                got=uri,
                expected=f"a place with {MARKER}",
                cure=f"Run `tracelake init --lake {uri}`.",
            )
        _check_format(store.read(MARKER))
        try:
            recover(store)
        except (CorruptFileError, OSError) as error:
            # Readers can do without it; a writer or a projector raises the error.
            _log.warning("could not land what a crashed writer left: %s", error)
        return cls(store)

    @classmethod
    def open_or_create(cls, uri: str) -> Lake:
        """Raises what `open` and `create` raise, except that it does not matter which of them fits."""
        try:
            return cls.open(uri)
        except LakeMissingError:
            pass
        try:
            return cls.create(uri)
        except LakeExistsError:
            # Another process created it in between.
            return cls.open(uri)

    @property
    def uri(self) -> str:
        return self._store.uri

    @property
    def store(self) -> ObjectStore:
        return self._store

    def writer(self, run_id: str) -> Writer:
        writer = Writer(self._store, run_id)
        self._writers.add(writer)
        return writer

    def collector(self, run_id: str, *, queued_max: int = QUEUED_MAX) -> Collector:
        """For a trainer that must not wait: it queues events, and a thread makes them durable."""
        return Collector(self.writer(run_id), queued_max=queued_max)

    def ledger(self) -> Ledger:
        """The outcome of every event that was given to a writer. Raises CorruptFileError."""
        from tracelake.lake.landed.ledger import build_ledger

        self._flush_local_writers()
        return build_ledger(self._store)

    def project(self, kinds: Sequence[str] | None = None) -> dict[str, int]:
        """Bring event tables up to date, all or those of the kinds named; returns the new rows by kind.

        First lands what this lake's writers have acknowledged and what crashed writers left. Without `kinds`,
        torn newest versions of all tables, derived ones too, move to quarantine. Conflicts may be found only
        when their own kind is projected, so naming `conflict_found` projects all kinds.
        """
        from tracelake.lake.landed.listing import files_to_project
        from tracelake.lake.projection.project import project_kind
        from tracelake.lake.tables.torn_manifests import quarantine_torn_tables

        self._flush_local_writers()
        if kinds is None:
            quarantine_torn_tables(self._store.uri)
        conflicts_landed = False

        def land_conflicts(conflicts: Sequence[Event]) -> None:
            nonlocal conflicts_landed
            conflicts_landed = True
            with self.writer(PROJECT_RUN) as writer:
                writer.append(conflicts, Origin("derived"))

        all_kinds = kinds is None or ConflictFound.KIND in kinds
        added = dict.fromkeys(kinds or (), 0)
        for kind, listing in files_to_project(self._store, None if all_kinds else kinds).items():
            added[kind] = project_kind(self._store, kind, land_conflicts, listing=listing)
        if conflicts_landed:
            # A conflict enters its table together with the events that it names.
            count = project_kind(self._store, ConflictFound.KIND, land_conflicts)
            added[ConflictFound.KIND] = added.get(ConflictFound.KIND, 0) + count
        return added

    def tables(self) -> list[str]:
        """Names of all tables, event tables and derived ones."""
        from tracelake.lake.tables.derived import table_names

        return table_names(self._store)

    def scan(self, table: str, at: str | int | None = None, *, fresh: bool = False) -> pl.LazyFrame:
        """Rows of a table: its newest version, a version number, or a pin `name@N`. Row order is not defined:
        sort.

        An event table is read as of its last projection, and has no rows before its first one. `fresh`
        projects it first. A version number works while a lease or a pin protects the version; cleanup removes
        others. Raises TableMissingError for a derived table or a version that does not exist,
        PinMissingError, PinChangedError, and BadInputError for `fresh` with `at` or with a derived table.
        """
        from tracelake.lake.tables.commits import scan_table
        from tracelake.lake.tables.derived import open_dataset, scan_events

        if fresh:
            if at is not None or table not in CLASS_OF_KIND:
                raise BadInputError(
                    "only the newest version of an event table can be fresh",
                    got=table if at is None else f"{table} at {at}",
                    expected="the kind of an event, and no version",
                )
            self.project([table])
        if isinstance(at, str):
            return self.open_pin(at).scan(table)
        if at is None and table in CLASS_OF_KIND:
            return scan_events(self._store, table)
        return scan_table(open_dataset(self._store, table, at), at)

    def state(self, table: str, at: int | None = None) -> PinnedTable:
        """Version, rows and digest of a table, now or at a version. Raises TableMissingError."""
        from tracelake.lake.tables.derived import table_state

        return table_state(self._store, table, at)

    def derive(self, table: str, frame: pl.DataFrame, derivation: Derivation) -> PinnedTable:
        """Write a derived table. Raises BadInputError if two rows share a key."""
        from tracelake.lake.tables.derived import write_derived

        return write_derived(self._store, table, frame, derivation)

    def pin(self, name: str, tables: Sequence[str], *, allowed: Sequence[str] = ()) -> Pin:
        """`allowed` lists findings that are no secrets, as SecretFoundError names them. Raises
        TableMissingError, BadInputError, SecretFoundError."""
        from tracelake.lake.pins.pins import create_pin

        return create_pin(self._store, name, tables, allowed)

    def pins(self) -> list[Pin]:
        from tracelake.lake.pins.manifests import list_pins

        return list_pins(self._store)

    def open_pin(self, reference: str) -> OpenPin:
        """Raises PinMissingError, PinChangedError."""
        from tracelake.lake.pins.pins import open_pin

        return open_pin(self._store, reference)

    def maintain(self, tables: Sequence[str] | None = None) -> list[TableMaintenance]:
        """Merge small files and remove old versions without a tag. Raises TableMissingError."""
        from tracelake.lake.maintenance.maintain import maintain

        return maintain(self._store, None if tables is None else list(tables))

    def rebuild(self, tables: Sequence[str] | None = None) -> list[RebuiltTable]:
        """Create event tables again from landed files, all or those named.

        Raises BadInputError for another table, CorruptFileError for a damaged landed file.
        """
        from tracelake.lake.projection.rebuild import rebuild

        return rebuild(self._store, tables)

    def lease(
        self, table: str, version: int | None = None, *, duration: timedelta = timedelta(days=1)
    ) -> AbstractContextManager[int]:
        """Protect a version, the newest by default, from cleanup inside the `with` block, but no longer than
        `duration`; yields its number. Raises TableMissingError."""
        from tracelake.lake.tables.tags import leased

        return leased(self._store, table, version, duration=duration)

    def selection(self) -> Selection:
        """Which events count and which rollouts are left out, from tables as of their last projection."""
        from tracelake.lake.curation.selection import read_selection

        return read_selection(self._store)

    def conflicts(self) -> list[Conflict]:
        """All conflicts, resolved ones too, with what differs; projects first."""
        from tracelake.lake.curation.conflicts import list_conflicts

        self.project()
        return list_conflicts(self._store)

    def resolve(
        self, target: str, *, use: str | None = None, file: str | None = None, reason: str
    ) -> list[Conflict]:
        """Decide a conflict, by its id, or all conflicts of a rollout; returns them as they are then.

        `use`: `first`, `other`, `neither` or an event id. `file`: the events of this source count. Raises
        BadInputError."""
        from tracelake.lake.curation.conflicts import plan_resolution, targeted

        self._land_decisions(plan_resolution(self.conflicts(), target, use=use, file=file, reason=reason))
        return targeted(self.conflicts(), target)

    def retract(
        self, name: str, *, reason: str, undo: bool = False, named_as: NamedAs | None = None
    ) -> Retraction:
        """Leave a rollout, or all rollouts of a run, out of later builds; `undo` takes it back. Raises
        BadInputError."""
        from tracelake.lake.curation.retractions import plan_retraction

        self.project()
        plan = plan_retraction(
            self._store, name, self.selection(), reason=reason, undo=undo, named_as=named_as
        )
        self._land_decisions(plan.events)
        return plan

    def retracted_in(self, pin: Pin) -> tuple[str, ...]:
        """Rollouts in a pin that are retracted now. Raises TableMissingError."""
        from tracelake.lake.curation.retractions import retracted_in

        return retracted_in(self._store, pin, self.selection())

    def verify(self, *, deep: bool = False) -> Audit:
        from tracelake.lake.audits.audit import audit

        return audit(self._store, deep=deep)

    def _land_decisions(self, decisions: Sequence[Event]) -> None:
        if not decisions:
            return
        with self.writer(CURATION_RUN) as writer:
            writer.append(decisions)
        self.project(sorted({event.KIND for event in decisions}))

    def _flush_local_writers(self) -> None:
        """Land events that this lake's writers, or crashed ones, have acknowledged and only spooled."""
        for writer in list(self._writers):
            writer.land_spooled()
        recover(self._store)


def _refuse_remains(store: ObjectStore) -> None:
    """A new lake over the files of another would present them as its own. Raises LakeExistsError."""
    spool = () if store.spool_folder is None else (store.spool_folder.name,)
    for folder in (EVENTS.partition("/")[0], TABLES, PINS, LOG, LEDGER, CURSORS, *spool):
        if found := store.list(folder):
            raise LakeExistsError(
                f"the files of a lake are here, and its {MARKER} is missing",
                got=f"{store.uri}: {found[0]}" + (f" and {len(found) - 1} more" if len(found) > 1 else ""),
                expected="an empty place",
                cure=f"Restore {MARKER} from a copy, or write it: {json.dumps(_marker())}. "
                "To begin anew, choose another place or move these files away.",
            )


def _marker() -> dict[str, object]:
    return {"format_version": FORMAT_VERSION, "created_by": f"tracelake {TRACELAKE_VERSION}"}


def _check_format(marker: bytes) -> None:
    try:
        version = json.loads(marker)["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(f"{MARKER} is damaged", got=repr(marker), expected="its JSON") from error
    if type(version) is not int:
        raise CorruptFileError(f"{MARKER} is damaged", got=repr(version), expected="a whole number as format")
    if version == FORMAT_VERSION:
        return
    is_older = version < FORMAT_VERSION
    raise LakeError(
        f"this lake has {'an older' if is_older else 'a newer'} format",
        got=version,
        expected=str(FORMAT_VERSION),
        cure="Create a new lake and import the traces again." if is_older else "Upgrade tracelake.",
    )
