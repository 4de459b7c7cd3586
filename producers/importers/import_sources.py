"""Imports traces of other tools into a lake.

Flow: paths → files → for each file: bytes → JSON → format → rollouts → events in the writer → rewards from
verifier reports → the import's report.

**A bad piece never costs its neighbours**: the report lists it, an `EventRejected` event records it, and the
import continues.
**The same import again changes nothing**: every event is a duplicate.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from tracelake.lake import Lake
from tracelake.lake.stores.store import is_local
from tracelake.lake.writing.deduplicate import Origin
from tracelake.lake.writing.writer import Writer
from tracelake.producers.importers.companions import CompanionFiles
from tracelake.producers.importers.find_files import FoundFile, LoadedFile, find_files, load
from tracelake.producers.importers.format_registry import AUTO, FORMATS, importer_for
from tracelake.producers.importers.importer import (
    SHAPE_ERRORS,
    ImportedRollout,
    Importer,
    ParsedSource,
    Refusal,
    SourceFile,
    Submission,
    excerpt_of,
    refusal_of,
)
from tracelake.producers.importers.parallel_import import (
    FileQueue,
    ForkedWorker,
    NewFactIds,
    is_worth_forking,
)
from tracelake.producers.importers.report import (
    EventCounts,
    FileTally,
    ImportReport,
    RefusedPiece,
    import_report,
)
from tracelake.producers.importers.source import parse_source, rows, source_file
from tracelake.producers.importers.swebench_reports import (
    PATCH,
    REPORT_FORMAT,
    InstanceReport,
    instance_reports_in,
    rewards_from,
)
from tracelake.schemas.errors import EventInvalidError, SourceFormatError, explain
from tracelake.schemas.events.event import Event
from tracelake.schemas.events.lake_events import EventRejected

# Small enough that one batch lands while the next is read.
FLUSH_BYTES = 16 * 2**20
NOT_A_TRACE_NAME = "not the name of a trace"
NOT_A_TRACE = "no known trace format"
READ_WITH_A_TRACE = "read together with a trace"


class Progress(NamedTuple):
    """Where an import is, after each file that this process has read."""

    path: str
    done_count: int
    """Files read, or being read, by all processes."""
    total_count: int
    rollout_count: int


def import_sources(
    lake: Lake,
    paths: Iterable[str | os.PathLike[str]],
    *,
    format: str = AUTO,
    on_progress: Callable[[Progress], None] | None = None,
) -> ImportReport:
    """Import files, folders and globs, local or at any fsspec address.

    Raises SourceFormatError for an unknown format and SourceMissingError if no path leads to a file; the
    report lists everything that is wrong with single files."""
    if format not in (AUTO, *FORMATS):
        raise SourceFormatError(
            "no such trace format", got=format, expected=", ".join((AUTO, *FORMATS)), cure="Name one of them."
        )
    search = find_files(paths)
    traces = [file for file in search.files if file.may_be_trace]
    run_id = f"import-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    queue = worker = None
    # The clients of other stores have threads, which a fork would lose.
    if is_worth_forking(traces) and is_local(lake.store):
        queue = FileQueue(traces)
        worker = ForkedWorker(partial(_import_in_worker, lake, run_id, search.files, queue, format))
    with _garbage_collection_off(), worker or nullcontext(), lake.writer(run_id) as writer:
        importing = FileImporter(writer, search.files, format)
        for index, loaded in enumerate(load(queue or traces), start=1):
            importing.import_file(loaded)
            if on_progress:
                done_count = queue.taken_count() if queue else index
                rollout_count = importing.share.rollout_count
                on_progress(Progress(loaded.file.uri, done_count, len(traces), rollout_count))
        writer.flush()
        if worker:
            importing.add_worker_share(*worker.result())
        importing.add_reported_rewards()
        writer.flush()
    share = importing.share
    for file in search.files:
        if not file.may_be_trace:
            share.skipped[file.uri] = NOT_A_TRACE_NAME
    for uri in share.companions_used & share.skipped.keys():
        share.skipped[uri] = READ_WITH_A_TRACE
    tallies = sorted(share.tallies.values(), key=lambda tally: tally.path)
    missing = [RefusedPiece(path=path, reason=str(error)) for path, error in search.missing]
    return import_report(tallies, missing, share.skipped, share.events, share.notes)


def _import_in_worker(
    lake: Lake, run_id: str, found: list[FoundFile], queue: FileQueue, format: str
) -> tuple[ImportShare, NewFactIds]:
    """What a second process does: it imports files from the queue through its own writer."""
    with lake.writer(run_id) as writer:
        importing = FileImporter(writer, found, format)
        for loaded in load(queue):
            importing.import_file(loaded)
        writer.flush()
        return importing.share, NewFactIds.of(writer.first_seen_ids())


@dataclass
class ImportShare:
    """What one process imported: plain data, which another process can receive."""

    tallies: dict[str, FileTally] = field(default_factory=dict)
    """By the file's address."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by the file's address."""
    submissions: dict[str, Submission] = field(default_factory=dict)
    """By rollout."""
    instance_reports: list[InstanceReport] = field(default_factory=list)
    companions_used: set[str] = field(default_factory=set)
    events: EventCounts = field(default_factory=EventCounts)
    rollout_count: int = 0
    notes: list[str] = field(default_factory=list)


class FileImporter:
    """Imports files through one writer, and adds up what it did in `share`."""

    def __init__(self, writer: Writer, found: list[FoundFile], format: str) -> None:
        self.share = ImportShare()
        self._writer = writer
        self._format = format
        self._companions = CompanionFiles(found)
        self.share.companions_used = self._companions.used
        self._unflushed_bytes = 0

    def import_file(self, loaded: LoadedFile) -> None:
        """One file: bytes → JSON → format → rollouts → events in the writer."""
        file = loaded.file
        if loaded.data is None:
            self._tally_of(file.uri, None).refuse(Refusal(str(loaded.error)))
            return
        source = source_file(file.uri, loaded.data)
        if source.is_lfs_pointer:
            self._add_pieces(source, None, lfs_pointer_refusals(source))
            return
        try:
            parsed = parse_source(source)
        except SourceFormatError as error:
            self._add_pieces(source, None, [refusal_of(error, data=source.data)])
            return
        try:
            importer = importer_for(parsed, self._format)
        except SourceFormatError as error:
            self._import_unclaimed(file, parsed, error)
            return
        self._add_pieces(source, importer, importer.read(parsed, self._companions))

    def _import_unclaimed(self, file: FoundFile, parsed: ParsedSource, unclaimed: SourceFormatError) -> None:
        """A file that no format claims: it may be a verifier's report."""
        source = parsed.source
        try:
            reports = instance_reports_in(parsed)
        except SHAPE_ERRORS as error:
            self._add_pieces(source, None, [refusal_of(error, data=source.data, format=REPORT_FORMAT)])
            return
        if reports:
            self.share.instance_reports += reports
            self.share.skipped[file.uri] = READ_WITH_A_TRACE
        elif not file.named:
            self.share.skipped[file.uri] = NOT_A_TRACE
        else:
            self._add_pieces(source, None, [refusal_of(unclaimed, data=source.data)])

    def _add_pieces(
        self, source: SourceFile, importer: Importer | None, pieces: Iterable[ImportedRollout | Refusal]
    ) -> None:
        tally = self._tally_of(source.uri, importer)
        origin = Origin("imported", source.uri, source.sha256)
        for piece in pieces:
            refusal = piece if isinstance(piece, Refusal) else None
            if isinstance(piece, ImportedRollout):
                try:
                    self._add_events(piece.events, origin)
                except EventInvalidError as error:
                    line = piece.events[0].source_position
                    refusal = Refusal(str(error), line, excerpt_of(piece.rollout_id.encode()))
                else:
                    tally.add(piece)
                    self.share.rollout_count += 1
                    if piece.submission:
                        self.share.submissions[piece.rollout_id] = piece.submission
            if refusal:
                tally.refuse(refusal)
                rejected = EventRejected(
                    source_name=source.name,
                    line=refusal.line,
                    reason=refusal.reason,
                    excerpt=refusal.excerpt,
                )
                self._add_events([rejected], origin)
        self._unflushed_bytes += len(source.data)
        if self._unflushed_bytes >= FLUSH_BYTES:
            self._writer.start_flush()
            self._unflushed_bytes = 0

    def _add_events(self, events: Iterable[Event], origin: Origin) -> None:
        receipt = self._writer.add(events, origin)
        counts = self.share.events
        self.share.events = EventCounts(
            counts.new + receipt.new_count,
            counts.duplicate + receipt.duplicate_count,
            counts.conflict + receipt.conflict_count,
        )

    def _tally_of(self, uri: str, importer: Importer | None) -> FileTally:
        tallies = self.share.tallies
        if uri not in tallies:
            tallies[uri] = (
                FileTally(uri, importer.format, importer.not_carried) if importer else FileTally(uri)
            )
        return tallies[uri]

    def add_worker_share(self, other: ImportShare, new_fact_ids: NewFactIds) -> None:
        """Add the share of another process. A fact that both wrote landed twice, but tables contain it
        once."""
        share = self.share
        duplicate_count, conflict_count = new_fact_ids.shared_with(self._writer.first_seen_ids())
        share.events = EventCounts(
            share.events.new + other.events.new - duplicate_count - conflict_count,
            share.events.duplicate + other.events.duplicate + duplicate_count,
            share.events.conflict + other.events.conflict + conflict_count,
        )
        share.tallies |= other.tallies
        share.skipped |= other.skipped
        share.submissions |= other.submissions
        share.instance_reports += other.instance_reports
        share.companions_used |= other.companions_used
        share.rollout_count += other.rollout_count

    def add_reported_rewards(self) -> None:
        """Rewards for rollouts whose submission a verifier report in the same import grades."""
        share = self.share
        submissions = share.submissions.values()
        read_patch = partial(self._companions.read, name=PATCH)
        graded: set[str] = set()
        for event, uri, digest in rewards_from(share.instance_reports, submissions, read_patch):
            self._add_events([event], Origin("imported", uri, digest))
            # Only the first of several evaluations counts in the report's sum.
            score = 0.0 if event.rollout_id in graded else event.score or 0.0
            share.tallies[share.submissions[event.rollout_id].source_uri].add_rewards(score, 1)
            graded.add(event.rollout_id)
        ungraded_count = len(submissions) - len(graded)
        if share.instance_reports and ungraded_count:
            share.notes.append(
                f"{ungraded_count} rollouts have no verifier report that is certainly theirs: no reward"
            )


def lfs_pointer_refusals(source: SourceFile) -> Iterator[Refusal]:
    """One for each line of the pointer, because each may stand for a record of the missing file."""
    reason = explain(
        "a git-lfs pointer instead of the file",
        expected="the data itself",
        cure="Run `git lfs pull` at its origin.",
    )
    for row in rows(source.data):
        yield Refusal(reason, row.line, excerpt_of(row.data))


@contextmanager
def _garbage_collection_off() -> Iterator[None]:
    """An import creates no cyclic objects, so collection would only cost time: it walks over the millions of
    live objects of the parsed files again and again. Reference counting still frees what is no longer
    used."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
