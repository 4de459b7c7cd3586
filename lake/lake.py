"""The lake: one root, and everything that may be done with it.

Flow: `writer` lands events → `project` brings them into tables → `scan` reads, folds derive, `derive`
writes back → `pin` names exact contents → `open_pin` reads them, for ever the same → `verify` audits it
all.

**Opening is light**: Lance and Polars are imported by the methods that need them, so that an import or an
`append` starts at once.
"""

from __future__ import annotations

import json
import logging
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING

from tracelake.lake.layout import FORMAT_VERSION, MARKER
from tracelake.lake.stores.probe import check_conditional_writes
from tracelake.lake.stores.store import ObjectStore, is_local, open_store
from tracelake.lake.writing.collector import QUEUED_MAX, Collector
from tracelake.lake.writing.deduplicate import Origin, read_or_create_redaction_key
from tracelake.lake.writing.spool.recovery import recover
from tracelake.lake.writing.writer import Writer
from tracelake.schemas.errors import CorruptFileError, LakeError, LakeExistsError, LakeMissingError
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.lake_events import ConflictFound
from tracelake.schemas.version import TRACELAKE_VERSION

if TYPE_CHECKING:
    import polars as pl

    from tracelake.lake.audits.audit import Audit
    from tracelake.lake.landed.ledger import Ledger
    from tracelake.lake.maintenance.maintain import TableMaintenance
    from tracelake.lake.pins.pins import OpenPin
    from tracelake.lake.projection.rebuild import RebuiltTable
    from tracelake.lake.tables.derived import Derivation
    from tracelake.schemas.pin import Pin, PinnedTable

PROJECT_RUN = "project"
_log = logging.getLogger("tracelake")


class Lake:
    """Open one with `Lake.open`, make one with `Lake.create`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._writers: weakref.WeakSet[Writer] = weakref.WeakSet()

    @classmethod
    def create(cls, uri: str) -> Lake:
        """Raises LakeExistsError, and StoreUnsupportedError for a remote store that ignores conditions."""
        store = open_store(uri)
        if not is_local(store):
            check_conditional_writes(store)
        marker = {"format_version": FORMAT_VERSION, "created_by": f"tracelake {TRACELAKE_VERSION}"}
        if not store.put_new(MARKER, json.dumps(marker).encode()):
            raise LakeExistsError(
                "there is a lake here already", got=uri, cure="Open it, or name another place."
            )
        read_or_create_redaction_key(store)
        return cls(store)

    @classmethod
    def open(cls, uri: str) -> Lake:
        """What dead writers left lands first. Raises LakeMissingError, LakeError for a lake of a newer
        format."""
        store = open_store(uri)
        if not store.exists(MARKER):
            raise LakeMissingError(
                "there is no lake here",
                got=uri,
                expected=f"a place with {MARKER}",
                cure="Run `tracelake init`.",
            )
        version = _format_version(store.read(MARKER))
        if version != FORMAT_VERSION:
            raise LakeError(
                "a lake of another format",
                got=version,
                expected=str(FORMAT_VERSION),
                cure="Upgrade tracelake.",
            )
        try:
            recover(store)
        except (CorruptFileError, OSError) as error:
            # Reading goes on without what cannot land yet; whoever writes or projects is told.
            _log.warning("what a dead writer left could not be landed: %s", error)
        return cls(store)

    @property
    def uri(self) -> str:
        return self._store.uri

    def writer(self, run_id: str) -> Writer:
        writer = Writer(self._store, run_id)
        self._writers.add(writer)
        return writer

    def collector(self, run_id: str, *, queued_max: int = QUEUED_MAX) -> Collector:
        """For a trainer that must not wait: events are taken at once and become durable beside it."""
        return Collector(self.writer(run_id), queued_max=queued_max)

    def ledger(self) -> Ledger:
        """What became of every event that was given. Raises CorruptFileError."""
        from tracelake.lake.landed.ledger import ledger

        self._settle()
        return ledger(self._store)

    @property
    def store(self) -> ObjectStore:
        return self._store

    def project(self, kinds: Sequence[str] | None = None) -> dict[str, int]:
        """Bring event tables up to date, all of them or those named; rows added by kind. What this lake's
        own writers have acknowledged lands first, and so does what dead writers left. Of all tables, derived
        ones too, a newest version that a power cut tore is put aside."""
        from tracelake.lake.landed.listing import files_to_project
        from tracelake.lake.projection.project import project_kind
        from tracelake.lake.tables.torn_manifests import quarantine_torn_tables

        self._settle()
        if kinds is None:
            quarantine_torn_tables(self._store.uri)
        told: list[Event] = []

        def tell(conflicts: Sequence[Event]) -> None:
            told.extend(conflicts)
            with self.writer(PROJECT_RUN) as writer:
                writer.append(conflicts, Origin("derived"))

        files = files_to_project(self._store, kinds)
        added = {kind: project_kind(self._store, kind, tell, shown=shown) for kind, shown in files.items()}
        if told:
            # A conflict is in the tables as soon as the events that it is about.
            again = project_kind(self._store, ConflictFound.KIND, tell)
            added[ConflictFound.KIND] = added.get(ConflictFound.KIND, 0) + again
        return added

    def tables(self) -> list[str]:
        """Names of all tables, event tables and derived ones."""
        from tracelake.lake.tables.derived import table_names

        return table_names(self._store)

    def scan(self, table: str, at: str | int | None = None) -> pl.LazyFrame:
        """Rows of a table: the newest version, a version number, or a pin `name@N`. Row order is not
        defined: sort.

        A number stands for as long as a lease or a pin holds it; other versions are cleaned away in time.
        Raises TableMissingError, PinMissingError, PinChangedError.
        """
        from tracelake.lake.tables.commits import scan_table
        from tracelake.lake.tables.derived import open_dataset

        if isinstance(at, str):
            return self.open_pin(at).scan(table)
        return scan_table(open_dataset(self._store, table, at), at)

    def state(self, table: str, at: int | None = None) -> PinnedTable:
        """Version, rows and digest of a table as it is now, or at a version. Raises TableMissingError."""
        from tracelake.lake.tables.derived import table_state

        return table_state(self._store, table, at)

    def derive(self, table: str, frame: pl.DataFrame, derivation: Derivation) -> PinnedTable:
        """Write a derived table. Raises BadInputError if its key does not tell all rows apart."""
        from tracelake.lake.tables.derived import write_derived

        return write_derived(self._store, table, frame, derivation)

    def pin(self, name: str, tables: Sequence[str], *, allowed: Sequence[str] = ()) -> Pin:
        """`allowed` are places of findings that are no secrets, as the error names them. Raises
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
        """Merge small files and drop old versions that nothing names. Raises TableMissingError."""
        from tracelake.lake.maintenance.maintain import maintain

        return maintain(self._store, None if tables is None else list(tables))

    def rebuild(self, tables: Sequence[str] | None = None) -> list[RebuiltTable]:
        """Make event tables anew from landed files, all of them or those named.

        Raises BadInputError for another table, CorruptFileError for a damaged landed file.
        """
        from tracelake.lake.projection.rebuild import rebuild

        return rebuild(self._store, tables)

    def lease(
        self, table: str, version: int | None = None, *, lasts: timedelta = timedelta(days=1)
    ) -> AbstractContextManager[int]:
        """Holds a version, the newest by default, against maintenance while the `with` lasts; gives its
        number. Raises TableMissingError."""
        from tracelake.lake.tables.tags import leased

        return leased(self._store, table, version, lasts=lasts)

    def verify(self, *, deep: bool = False) -> Audit:
        from tracelake.lake.audits.audit import audit

        return audit(self._store, deep=deep)

    def _settle(self) -> None:
        """Land what is acknowledged and only spooled, as far as this process may."""
        for writer in list(self._writers):
            writer.land_spooled()
        recover(self._store)


def _format_version(marker: bytes) -> object:
    try:
        return json.loads(marker)["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(f"{MARKER} is damaged", got=repr(marker), expected="its JSON") from error
