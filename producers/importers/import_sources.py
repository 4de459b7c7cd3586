"""Imports traces of other tools into a lake.

Flow: paths → files → for each file: bytes → sources → format → rollouts → events in the writer → rewards from
verifier reports → the import's report.

**A bad piece never costs its neighbours**, and the report names it.
**The same import again changes nothing**: every event is a duplicate. So a stopped import continues when it
is started again.
**A dry run does all of it, and writes nothing.**
"""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from tracelake.lake import Lake
from tracelake.lake.stores.store import is_local
from tracelake.producers.importers.dry_run import DryRunWriter, EventSink
from tracelake.producers.importers.file_importer import (
    READ_WITH_A_TRACE,
    FileImporter,
    ImportShare,
)
from tracelake.producers.importers.file_pieces import NOT_A_TRACE_NAME
from tracelake.producers.importers.find_files import FileSearch, find_files
from tracelake.producers.importers.format_registry import AUTO, formats
from tracelake.producers.importers.importer import ImportOptions
from tracelake.producers.importers.losses import Losses
from tracelake.producers.importers.open_files import OpenedFile, open_files
from tracelake.producers.importers.parallel_import import (
    FileQueue,
    ForkedWorker,
    NewFactIds,
    is_worth_forking,
)
from tracelake.producers.importers.report import (
    ConflictReport,
    FormatLosses,
    ImportReport,
    RefusedPiece,
    RolloutOutcomes,
    UnreadPath,
    totals,
)
from tracelake.schemas.errors import SourceFormatError

NO_OPTIONS = ImportOptions()


class Progress(NamedTuple):
    """Where an import is, after each rollout that this process has read."""

    path: str
    done_count: int
    """Files read by all processes."""
    total_count: int
    rollout_count: int
    """Read by this process."""
    done_bytes: int
    """Of all processes, files that are being read included."""
    total_bytes: int


class _Import(NamedTuple):
    """What both processes of an import know."""

    lake: Lake
    run_id: str
    search: FileSearch
    format: str
    options: ImportOptions
    dry_run: bool

    def writer(self) -> AbstractContextManager[EventSink]:
        if self.dry_run:
            return nullcontext(DryRunWriter(self.lake.store))
        return self.lake.writer(self.run_id)


def import_sources(
    lake: Lake,
    paths: Iterable[str | os.PathLike[str]],
    *,
    format: str = AUTO,
    options: ImportOptions = NO_OPTIONS,
    follow_links: bool = False,
    dry_run: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> ImportReport:
    """Import files, folders, globs and archives, local or at any fsspec address.

    `should_stop` is asked after each rollout; then what was read lands, and the report says how far the
    import came. Raises SourceFormatError for an unknown format and SourceMissingError if no path leads to a
    file; the report lists everything that is wrong with single files."""
    if format not in (AUTO, *formats()):
        raise SourceFormatError(
            "no such trace format",
            got=format,
            expected=", ".join((AUTO, *formats())),
            cure="Name one of them.",
        )
    search = find_files(paths, follow_links=follow_links)
    traces = [file for file in search.files if file.may_be_trace]
    run_id = f"import-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    importing = _Import(lake, run_id, search, format, options, dry_run)
    worker = None
    # The clients of other stores have threads, which a fork would lose.
    queue = FileQueue(traces, in_order=True)
    if is_worth_forking(traces) and is_local(lake.store):
        queue = FileQueue(traces)
        worker = ForkedWorker(partial(_import_in_worker, importing, queue))

    def stops() -> bool:
        if not queue.is_stopped and should_stop is not None and should_stop():
            queue.stop()
        return queue.is_stopped

    report_progress = None if on_progress is None else _progress_reporter(on_progress, queue)
    with _garbage_collection_off(), worker or nullcontext(), importing.writer() as writer:
        files = FileImporter(writer, search.files, format, options, stops, report_progress)
        for opened in open_files(queue):
            files.import_file(opened)
            if report_progress:
                report_progress(opened, files.share.rollout_count)
            if stops():
                break
        writer.flush()
        if worker:
            files.add_worker_share(*worker.result())
        if not queue.is_stopped:
            files.add_reported_rewards()
            writer.flush()
    conflicts = _conflicts(lake, files.share) if files.share.events.conflict and not dry_run else []
    return _report(search, files.share, conflicts, dry_run=dry_run, interrupted=queue.is_stopped)


def _import_in_worker(importing: _Import, queue: FileQueue) -> tuple[ImportShare, NewFactIds]:
    """What a second process does: it imports files from the queue through its own writer."""
    # The first process decides whether an interrupt stops the import.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with importing.writer() as writer:
        files = FileImporter(
            writer,
            importing.search.files,
            importing.format,
            importing.options,
            lambda: queue.is_stopped,
        )
        for opened in open_files(queue):
            files.import_file(opened)
            if queue.is_stopped:
                break
        writer.flush()
        return files.share, NewFactIds.of(writer.first_seen_ids())


def _progress_reporter(
    on_progress: Callable[[Progress], None], queue: FileQueue
) -> Callable[[OpenedFile, int], None]:
    def report(opened: OpenedFile, rollout_count: int) -> None:
        done_count, done_bytes = queue.taken()
        # A large file counts as far as it is read, a small one at once.
        position = 0 if opened.content is None else opened.content.position
        if position:
            done_bytes -= max(0, queue.size_of(opened.file) - position)
        on_progress(
            Progress(
                opened.file.uri, done_count, queue.file_count, rollout_count, done_bytes, queue.total_bytes
            )
        )

    return report


def _conflicts(lake: Lake, share: ImportShare) -> list[ConflictReport]:
    """The open conflicts of the rollouts that this import read."""
    return [
        ConflictReport.of(conflict)
        for conflict in lake.conflicts()
        if conflict.state == "open"
        and (conflict.rollout_id is None or conflict.rollout_id in share.outcome_by_rollout)
    ]


def _report(
    search: FileSearch,
    share: ImportShare,
    conflicts: list[ConflictReport],
    *,
    dry_run: bool,
    interrupted: bool,
) -> ImportReport:
    for file in search.files:
        if not file.may_be_trace:
            share.skipped[file.uri] = NOT_A_TRACE_NAME
    for uri in share.companions_used & share.skipped.keys():
        share.skipped[uri] = READ_WITH_A_TRACE
    tallies = sorted(share.tallies.values(), key=lambda tally: tally.path)
    reports = [tally.report() for tally in tallies]
    refused = [RefusedPiece(path=path, reason=str(error)) for path, error in search.missing]
    refused += [piece for tally in tallies for piece in tally.refused]
    unread = [UnreadPath(path=uri, reason=str(error)) for uri, error in search.unread]
    unread += [
        UnreadPath(path=uri, reason=share.not_claimed.get(uri, reason))
        for uri, reason in sorted(share.skipped.items())
        if reason != READ_WITH_A_TRACE
    ]
    outcomes = Counter(share.outcome_by_rollout.values())
    trace_count = sum(file.may_be_trace for file in search.files)
    return ImportReport(
        dry_run=dry_run,
        interrupted=interrupted,
        files_left=max(0, trace_count - share.file_count) if interrupted else 0,
        rollouts_by_outcome=RolloutOutcomes(
            new=outcomes["new"],
            known=outcomes["known"] + share.known_again_count,
            extended=outcomes["extended"],
            shorter=outcomes["shorter"],
            in_conflict=outcomes["in_conflict"],
        ),
        weak_identities=share.weak_count,
        new_events=share.events.new,
        duplicate_events=share.events.duplicate,
        conflicts=share.events.conflict,
        skipped=dict(sorted(Counter(share.skipped.values()).items())),
        notes=share.notes,
        losses={
            format: FormatLosses.of(not_carried, share.losses.get(format, Losses()))
            for format, not_carried in sorted(share.not_carried.items())
        },
        named_without_rollouts=_named_without_rollouts(search, share),
        conflict_list=conflicts,
        refused=refused,
        unread=unread,
        file_reports=reports,
        **totals(reports),  # pyright: ignore[reportArgumentType]
    )


def _named_without_rollouts(search: FileSearch, share: ImportShare) -> list[str]:
    """What the user named by itself and nothing came of; a report that grades rollouts counts as used."""
    named = {file.uri for file in search.files if file.named}
    refused = {tally.path for tally in share.tallies.values() if tally.refused and not tally.rollout_count}
    missing = {path for path, _ in search.missing}
    return sorted((named & refused) | missing)


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
