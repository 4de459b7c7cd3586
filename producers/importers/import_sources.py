"""Imports traces of other tools into a lake.

Flow: paths → files → each file's format by its content → events of each rollout → the writer → the report.

**A bad piece never costs its neighbours**: it is listed, told to the lake as `EventRejected`, and the rest
goes on.
**The same import again changes nothing**: every event is a duplicate.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from tracelake.lake import Lake
from tracelake.lake.stores.store import is_local
from tracelake.producers.importers.finding import Found, Search, search
from tracelake.producers.importers.format_registry import AUTO, candidates
from tracelake.producers.importers.import_run import ImportRun
from tracelake.producers.importers.parallel_import import Beside, FileQueue, Part, is_worth_sharing
from tracelake.producers.importers.report import ImportReport, RefusedPiece
from tracelake.producers.importers.source import Importer


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
    """Import files, folders and globs, local or behind any fsspec address.

    Raises SourceFormatError for a format that does not exist and SourceMissingError if no path leads to a
    file; all that is wrong with single files is in the report."""
    chosen = candidates(format)
    sought = sources_of(paths)
    run_id = f"import-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    traces = [file for file in sought.found if file.may_be_trace]
    # The clients of other stores have threads, which a fork would lose.
    queue = FileQueue(traces) if is_local(lake.store) and is_worth_sharing(traces) else None
    part = None if queue is None else partial(_part, lake, run_id, sought.found, queue, chosen)
    with _no_collection(), Beside(part) as beside, lake.writer(run_id) as writer:
        run = ImportRun(writer, sought.found, chosen)
        for index, uri in enumerate(run.take_each(queue or traces), start=1):
            if on_progress:
                done_count = index if queue is None else queue.taken_count()
                on_progress(Progress(uri, done_count, len(traces), run.rollout_count))
        writer.flush()
        for part in beside.result():
            run.absorb(part)
        run.take_verdicts()
        writer.flush()
    run.skip(file for file in sought.found if not file.may_be_trace)
    return run.report([RefusedPiece(path=path, reason=str(error)) for path, error in sought.missing])


def sources_of(paths: Iterable[str | os.PathLike[str]]) -> Search:
    """Raises SourceMissingError if no path leads to a file."""
    sought = search(paths)
    if not sought.found and sought.missing:
        raise sought.missing[0][1]
    return sought


def _part(
    lake: Lake, run_id: str, found: list[Found], queue: FileQueue, chosen: tuple[Importer, ...]
) -> Part:
    """What another process took from the queue, landed by a writer of its own."""
    with lake.writer(run_id) as writer:
        run = ImportRun(writer, found, chosen)
        for _ in run.take_each(queue):
            pass
        writer.flush()
        return run.part()


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
