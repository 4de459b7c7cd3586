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

from lake import Lake
from producers.importers.beside import Beside, Part, halves
from producers.importers.finding import Found, search
from producers.importers.formats import AUTO, candidates
from producers.importers.import_run import ImportRun, Progress
from producers.importers.report import ImportReport, RefusedPiece
from producers.importers.source import Importer


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
    run_id = f"import-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    mine, others = halves(sought.found)
    with (
        _no_collection(),
        Beside(partial(_part, lake, run_id, sought.found, others, chosen), others) as beside,
        lake.writer(run_id) as writer,
    ):
        run = ImportRun(writer, sought.found, chosen)
        run.take_all(mine, on_progress)
        writer.flush()
        for part in beside.result():
            run.absorb(part)
        run.take_verdicts()
        writer.flush()
    return run.report([RefusedPiece(path=path, reason=str(error)) for path, error in sought.missing])


def _part(
    lake: Lake, run_id: str, found: list[Found], files: list[Found], chosen: tuple[Importer, ...]
) -> Part:
    """Half of an import, landed by a writer of its own."""
    with lake.writer(run_id) as writer:
        run = ImportRun(writer, found, chosen)
        run.take_all(files)
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
