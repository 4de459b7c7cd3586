"""Seal the segments of crashed writers.

**Idempotent**: the same segment makes the same files, and a file that has landed is skipped.
**A living writer is left alone**: it has the lock of its folder.
**Torn and damaged bytes are set aside and logged**: bytes behind the last whole frame were never
acknowledged. A segment with a damaged frame is set aside whole, and an audit fails because of it: an event of
it had been acknowledged.
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
from tracelake.lake.writing.spool.spool import SEGMENT_SUFFIX, remove_folder, segment_number, try_lock
from tracelake.schemas.errors import CorruptFileError
from tracelake.schemas.events.columns import arrow_schema

TORN_FOLDER = "torn"
DAMAGED_SUFFIX = ".damaged"
_log = logging.getLogger("tracelake")


class Recovery(NamedTuple):
    """What was found in the spool."""

    segment_count: int = 0
    event_count: int = 0
    torn_byte_count: int = 0


def recover(store: ObjectStore) -> Recovery:
    """Land the events that crashed writers left in the spool. Raises CorruptFileError, OSError."""
    folder = store.spool_folder
    total = Recovery()
    if folder is None or not folder.is_dir():
        return total
    for epoch in sorted(path for path in folder.iterdir() if _is_spool_folder(path)):
        try:
            lock = try_lock(epoch)
        except FileNotFoundError:
            # Its writer has just closed.
            continue
        if lock is None:
            continue
        with lock:
            for path in sorted(epoch.glob(f"*{SEGMENT_SUFFIX}")):
                found = _recover_segment(store, path)
                total = Recovery(*(sum(pair) for pair in zip(total, found, strict=True)))
            remove_folder(epoch)
            sync_folder(folder)
    return total


def _recover_segment(store: ObjectStore, path: Path) -> Recovery:
    try:
        read = read_segment(path.read_bytes(), segment_number(path))
    except FileNotFoundError:
        # A writer's sealing process outlives it until its segment has landed.
        return Recovery()
    if read.damaged_count:
        _set_aside(path, f"{path.name}{DAMAGED_SUFFIX}", 0)
        _log.error(
            "%s has %d damaged places; acknowledged events there did not land", path.name, read.damaged_count
        )
    elif read.torn_byte_count:
        aside = _set_aside(path, path.name, read.whole_byte_count)
        _log.warning("moved %d torn bytes, never acknowledged, to %s", read.torn_byte_count, aside)
    tables = [] if read.head is None else spooled_events_to_tables(read.head, read.events, arrow_schema)
    for table in tables:
        file = landed_file(table)
        if not _has_landed(store, file):
            land(store, file)
    # Not synced: a segment that a power cut brings back is recovered again, and its files have landed.
    path.unlink(missing_ok=True)
    _log.info("recovered %d events of %s/%s", len(read.events), path.parent.name, path.name)
    return Recovery(1, len(read.events), read.torn_byte_count)


def _set_aside(path: Path, name: str, start: int) -> Path:
    """Copy the file from `start` on to the folder of torn segments. The copy gets its name once it is whole:
    an interrupted recovery makes it again."""
    folder = path.parent.parent.parent / TORN_FOLDER
    make_folder(folder)
    aside = folder / f"{path.parent.name}-{name}"
    partial = aside.with_name(f".{aside.name}")
    partial.write_bytes(path.read_bytes()[start:])
    partial.replace(aside)
    sync_folder(folder)
    return aside


def _has_landed(store: ObjectStore, file: LandedFile) -> bool:
    """Whether the file's rows have landed: under its name, or as another version of a library encodes them.

    Raises CorruptFileError if other rows landed under its numbers.
    """
    name = parse_landed_path(file.path)
    for path in store.list(f"{kind_prefix(name.kind)}/{name.writer_epoch}", ".parquet"):
        if parse_landed_path(path).first_seq != name.first_seq:
            continue
        if path == file.path or _landed_ids(store, path) == _ids(file):
            return True
        raise CorruptFileError(
            "other events have landed under the numbers of a segment",
            got=path,
            expected=file.path,
            cure="Leave the lake's folder as it is and report this.",
        )
    return False


def _landed_ids(store: ObjectStore, path: str) -> list[str]:
    return read_landed(store, path, ["event_id"])["event_id"].to_pylist()


def _ids(file: LandedFile) -> list[str]:
    return pq.read_table(pa.BufferReader(file.data), columns=["event_id"])["event_id"].to_pylist()


def _is_spool_folder(path: Path) -> bool:
    """A folder that begins with a dot is not locked yet."""
    return path.is_dir() and not path.name.startswith(".")
