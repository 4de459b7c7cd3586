"""What a writer left behind when it died: its segments are sealed and landed, as it would have done.

**Again changes nothing**: the same segment makes the same files, and a file that has landed is passed over.
**A living writer is left alone**: it holds the lock of its folder.
**What was cut is kept and told**: bytes behind the last whole frame were never acknowledged; they are put
aside. A segment with a damaged frame is kept whole, and an audit fails for it: an event of it had been
acknowledged.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tracelake.lake.landed.reading import read_landed
from tracelake.lake.landed.writing import LandedFile, land, landed_file
from tracelake.lake.layout import kind_prefix, parse_landed_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.stores.sync import make_folder, sync_folder
from tracelake.lake.writing.spool.sealing import spooled_events_to_tables
from tracelake.lake.writing.spool.segment import read_segment
from tracelake.lake.writing.spool.spool import SUFFIX, locked, remove_folder, segment_number
from tracelake.schemas.errors import CorruptFileError
from tracelake.schemas.events.columns import arrow_schema

TORN = "torn"
DAMAGED = ".damaged"
_log = logging.getLogger("tracelake")


class Recovery(NamedTuple):
    """What was found in the spool."""

    segment_count: int = 0
    event_count: int = 0
    torn_byte_count: int = 0


def recover(store: ObjectStore) -> Recovery:
    """Lands what dead writers left. Raises OSError if it cannot land, CorruptFileError."""
    folder = store.spool_folder
    total = Recovery()
    if folder is None or not folder.is_dir():
        return total
    for epoch in sorted(path for path in folder.iterdir() if _is_writers(path)):
        try:
            lock = locked(epoch)
        except FileNotFoundError:
            # Its writer has just closed.
            continue
        if lock is None:
            continue
        with lock:
            for path in sorted(epoch.glob(f"*{SUFFIX}")):
                found = _recovered(store, path)
                total = Recovery(*(sum(pair) for pair in zip(total, found, strict=True)))
            remove_folder(epoch)
            sync_folder(folder)
    return total


def _recovered(store: ObjectStore, path: Path) -> Recovery:
    try:
        read = read_segment(path.read_bytes(), segment_number(path))
    except FileNotFoundError:
        # The process that seals for a writer outlives it until its segment has landed.
        return Recovery()
    if read.damaged_count:
        _put_aside(path, f"{path.name}{DAMAGED}", 0)
        _log.error(
            "%d acknowledged events of %s were damaged before they landed", read.damaged_count, path.name
        )
    elif read.torn_byte_count:
        aside = _put_aside(path, path.name, read.whole_byte_count)
        _log.warning(
            "%d bytes that were never acknowledged were cut and kept in %s", read.torn_byte_count, aside
        )
    for table in [] if read.head is None else spooled_events_to_tables(read.head, read.events, arrow_schema):
        file = landed_file(table)
        if not _has_landed(store, file):
            land(store, file)
    # Not synced: one that a power cut brings back is recovered again, and has landed.
    path.unlink(missing_ok=True)
    _log.info("recovered %d events of %s/%s", len(read.events), path.parent.name, path.name)
    return Recovery(1, len(read.events), read.torn_byte_count)


def _put_aside(path: Path, name: str, start: int) -> Path:
    """Whole before it gets its name: a recovery that is cut off does it again."""
    folder = path.parent.parent.parent / TORN
    make_folder(folder)
    aside = folder / f"{path.parent.name}-{name}"
    partial = aside.with_name(f".{aside.name}")
    partial.write_bytes(path.read_bytes()[start:])
    partial.replace(aside)
    sync_folder(folder)
    return aside


def _has_landed(store: ObjectStore, file: LandedFile) -> bool:
    """Whether the rows of the file are there: under its name, or as another version of a library wrote them.

    Raises CorruptFileError if other rows are there under its numbers.
    """
    name = parse_landed_path(file.path)
    for path in store.list(f"{kind_prefix(name.kind)}/{name.writer_epoch}", ".parquet"):
        if parse_landed_path(path).first_seq != name.first_seq:
            continue
        if path == file.path or _ids(store, path) == _ids_of(file):
            return True
        raise CorruptFileError(
            "other events have landed under the numbers of a segment",
            got=path,
            expected=file.path,
            cure="Keep the lake's folder as it is and report this.",
        )
    return False


def _ids(store: ObjectStore, path: str) -> list[str]:
    return read_landed(store, path, ["event_id"])["event_id"].to_pylist()


def _ids_of(file: LandedFile) -> list[str]:
    return pq.read_table(pa.BufferReader(file.data), columns=["event_id"])["event_id"].to_pylist()


def _is_writers(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")
