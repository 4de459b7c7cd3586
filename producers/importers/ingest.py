"""Imports traces of other tools into a lake.

Flow: paths → files → each file's format by its content → events of each rollout → the writer → the report.

**A bad piece never costs its neighbours**: it is listed, told to the lake as `EventRejected`, and the rest
goes on.
**The same import again changes nothing**: every event is a duplicate.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from lake import Lake
from lake.writer import Origin, Receipt, Writer
from producers.importers.finding import Found, FoundSiblings, Loaded, load, search
from producers.importers.formats import AUTO, candidates, importer_of
from producers.importers.report import FileTally, ImportReport, Landed, RefusedPiece, import_report
from producers.importers.source import (
    LFS_POINTER,
    HandedIn,
    Imported,
    Importer,
    Refused,
    SourceFile,
    excerpt_of,
    opened,
    refused,
    refused_pointer,
)
from producers.importers.verdicts import PATCH, Verdict, rewards_of, verdicts_in
from schemas.errors import EventInvalidError, SourceFormatError
from schemas.event import Event
from schemas.lake_events import EventRejected

# Small enough that one batch lands while the next is read.
FLUSH_BYTES = 12 * 2**20
NOT_A_TRACE_NAME = "not the name of a trace"
NOT_A_TRACE = "no known trace format"
READ_BESIDE = "read beside a trace"


class Progress(NamedTuple):
    """Where an import is, after each file."""

    path: str
    done_count: int
    total_count: int
    rollout_count: int


def import_sources(
    lake: Lake,
    paths: Iterable[str | os.PathLike[str]],
    *,
    format: str = AUTO,
    on_progress: Callable[[Progress], None] | None = None,
) -> ImportReport:
    """Import files, folders and globs, local or behind any fsspec address.

    Raises SourceFormatError for a format that does not exist and SourceMissingError if no path leads to a
    file; all that is wrong with single files is in the report."""
    chosen = candidates(format)
    sought = search(paths)
    if not sought.found and sought.missing:
        raise sought.missing[0][1]
    with _no_collection(), lake.writer(run_id=f"import-{datetime.now(UTC):%Y%m%dT%H%M%S}") as writer:
        run = _Import(writer, sought.found, chosen)
        for index, loaded in enumerate(
            load(file for file in sought.found if run.may_be_trace(file)), start=1
        ):
            run.take(loaded)
            if on_progress:
                on_progress(Progress(loaded.found.uri, index, run.total_count, run.rollout_count))
        run.take_verdicts()
        writer.flush()
    return run.report([RefusedPiece(path=path, reason=str(error)) for path, error in sought.missing])


@contextmanager
def _no_collection() -> Iterator[None]:
    """Nothing that an import makes is cyclic, and collecting among millions of live objects costs more
    than it frees."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Import:
    """The state of one import."""

    def __init__(self, writer: Writer, files: list[Found], chosen: tuple[Importer, ...]) -> None:
        self._writer = writer
        self._siblings = FoundSiblings(files)
        self._chosen = chosen
        self._tallies: dict[str, FileTally] = {}
        self._skipped: dict[str, str] = {}
        self._handed_in: dict[str, tuple[HandedIn, FileTally]] = {}
        self._verdicts: list[Verdict] = []
        self._landed = Landed()
        self._unflushed_bytes = 0
        self._notes: list[str] = []
        self.total_count = sum(file.may_be_trace for file in files)
        self.rollout_count = 0

    def may_be_trace(self, file: Found) -> bool:
        if not file.may_be_trace:
            self._skipped[file.uri] = NOT_A_TRACE_NAME
        return file.may_be_trace

    def take(self, loaded: Loaded) -> None:
        file, source = loaded.found, loaded.source
        if source is None:
            error = loaded.error or SourceFormatError("a file that cannot be read", got=file.uri)
            self._tally(file.uri).refuse(Refused(str(error)))
        elif source.data.startswith(LFS_POINTER):
            self._take_pieces(source, None, refused_pointer(source))
        else:
            self._take_trace(file, source)

    def take_verdicts(self) -> None:
        """Rewards for the rollouts whose verdict was found in the same import."""
        rollouts = {name: tally for name, (_, tally) in self._handed_in.items()}
        handed_in = [rollout for rollout, _ in self._handed_in.values()]
        given = rewards_of(handed_in, self._verdicts, lambda folder: self._siblings.read(folder, PATCH))
        counted: set[str] = set()
        for event, uri, digest in given:
            self._add([event], Origin("imported", uri, digest))
            first = event.rollout_id not in counted
            rollouts[event.rollout_id].add_rewards((event.score or 0.0) if first else 0.0, 1)
            counted.add(event.rollout_id)
        unjudged = len(handed_in) - len(counted)
        if self._verdicts and unjudged:
            self._notes.append(
                f"{unjudged} rollouts have no verifier report that is certainly theirs: no reward"
            )

    def report(self, missing: list[RefusedPiece]) -> ImportReport:
        for uri in self._siblings.used & self._skipped.keys():
            self._skipped[uri] = READ_BESIDE
        reasons = Counter(self._skipped.values())
        return import_report(list(self._tallies.values()), missing, reasons, self._landed, self._notes)

    def _take_trace(self, file: Found, source: SourceFile) -> None:
        try:
            found = opened(source)
        except SourceFormatError as error:
            self._take_pieces(source, None, [refused(error, data=source.data)])
            return
        try:
            importer = importer_of(found, self._chosen)
        except SourceFormatError as error:
            verdicts = verdicts_in(found)
            self._verdicts += verdicts
            if verdicts or not file.named:
                self._skipped[file.uri] = READ_BESIDE if verdicts else NOT_A_TRACE
            else:
                self._take_pieces(source, None, [refused(error, data=source.data)])
            return
        self._take_pieces(source, importer, importer.read(found, self._siblings))

    def _take_pieces(
        self, source: SourceFile, importer: Importer | None, pieces: Iterable[Imported | Refused]
    ) -> None:
        tally = self._tally(source.uri, importer)
        origin = Origin("imported", source.uri, source.sha256)
        for piece in pieces:
            if isinstance(piece, Refused):
                self._refuse(source, tally, piece, origin)
                continue
            try:
                self._add(piece.events, origin)
            except EventInvalidError as error:
                line = piece.events[0].source_position
                self._refuse(
                    source, tally, Refused(str(error), line, excerpt_of(piece.rollout_id.encode())), origin
                )
                continue
            tally.add(piece)
            self.rollout_count += 1
            if piece.handed_in:
                self._handed_in[piece.rollout_id] = (piece.handed_in, tally)
        self._unflushed_bytes += len(source.data)
        if self._unflushed_bytes >= FLUSH_BYTES:
            self._writer.start_flush()
            self._unflushed_bytes = 0

    def _refuse(self, source: SourceFile, tally: FileTally, piece: Refused, origin: Origin) -> None:
        tally.refuse(piece)
        rejected = EventRejected(
            source_name=source.name, line=piece.line, reason=piece.reason, excerpt=piece.excerpt
        )
        self._add([rejected], origin)

    def _add(self, events: list[Event], origin: Origin) -> None:
        receipt: Receipt = self._writer.add(events, origin)
        landed = self._landed
        self._landed = Landed(
            landed.new + receipt.new_count,
            landed.duplicate + receipt.duplicate_count,
            landed.conflict + receipt.conflict_count,
        )

    def _tally(self, uri: str, importer: Importer | None = None) -> FileTally:
        if uri not in self._tallies:
            carried = () if importer is None else importer.not_carried
            self._tallies[uri] = FileTally(uri, importer.format if importer else None, carried)
        return self._tallies[uri]
