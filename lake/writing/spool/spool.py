"""The local spool: acknowledged events on disk, until they have landed.

    spool/EPOCH/lock              held by the writer while it lives
    spool/EPOCH/000000.segment    frames (tracelake.lake.writing.spool.segment)
    spool/EPOCH/000000.spare      a segment that has landed, to be written over by a later one

**Durable when `commit` returns**: the frames were written and the file synced; its name was synced before.
**A file is used again**: where bytes are written over, a sync leaves the file system nothing to book, and
takes half of the time. A file has its new name, durably, before a byte of it changes.
**One sync for all that wait**: whoever comes first writes and syncs what the others have pushed meanwhile.
**An error of writing or syncing ends the spool**: what a failed sync left is not known, and syncing again
would not tell. What was acknowledged before is in the segment, and is recovered from it.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tracelake.lake.stores.sync import make_folder, sync_data, sync_folder, write_parts
from tracelake.lake.writing.columns import Packed
from tracelake.lake.writing.spool.segment import END, Frame, SegmentHead, head_frame, mark_of, marked
from tracelake.schemas.errors import SpoolError

LOCK = "lock"
SUFFIX = ".segment"
SPARE = ".spare"
SPARES_MAX = 2


class ClosedSegment(NamedTuple):
    """A segment that takes no more."""

    path: Path
    event_count: int
    byte_count: int
    """Of the segment; its file may be longer."""


class Spool:
    """The segments of one writer; threads may share it."""

    def __init__(self, root: Path, epoch: str, run_id: str) -> None:
        self.folder = root / epoch
        self._epoch, self._run_id = epoch, run_id
        self._push_lock = threading.Lock()
        self._commit_lock = threading.Lock()
        self._pushed: list[Frame] = []
        self._pushed_count = self._synced_count = 0
        self._segment: BinaryIO | None = None
        self._mark = b""
        self._segment_number = self._segment_event_count = 0
        self._segment_bytes = 0
        self._error: OSError | None = None
        self._lock_file = _made_and_locked(self.folder)

    @property
    def segment_bytes(self) -> int:
        """Of the open segment, as far as it was written; 0 if there is none."""
        return self._segment_bytes

    def push(self, frames: list[Frame]) -> int:
        """Take events; returns the ticket to commit. Nothing is on disk yet."""
        with self._push_lock:
            self._pushed.extend(frames)
            self._pushed_count += len(frames)
            return self._pushed_count

    def commit(self, ticket: int, first_seq: int) -> None:
        """Returns when everything up to the ticket is durable; a segment that has to be opened for it begins
        with the number. Raises SpoolError."""
        with self._commit_lock:
            self._check()
            if self._synced_count < ticket:
                self._guarded(first_seq)

    def close_segment(self, first_seq: int) -> ClosedSegment | None:
        """Make everything pushed durable and take no more into this segment; null if there is none."""
        with self._commit_lock:
            self._check()
            if self._pushed:
                self._guarded(first_seq)
            if self._segment is None:
                return None
            self._segment.close()
            self._segment = None
            path = self._path(self._segment_number)
            closed = ClosedSegment(path, self._segment_event_count, self._segment_bytes)
            self._segment_number += 1
            self._segment_event_count = self._segment_bytes = 0
            return closed

    def release(self, *, empty: bool) -> None:
        """Let go of the folder; `empty` says that no segment is left in it."""
        try:
            if self._segment is not None:
                self._segment.close()
            if empty and self._error is None:
                remove_folder(self.folder)
        finally:
            self._segment = None
            self._lock_file.close()

    def _guarded(self, first_seq: int) -> None:
        try:
            self._write_and_sync(first_seq)
        except OSError as error:
            self._error = error
            self._check()

    def _write_and_sync(self, first_seq: int) -> None:
        with self._push_lock:
            frames, self._pushed = self._pushed, []
            told = self._pushed_count
        parts: list[Packed] = []
        if self._segment is None:
            head = SegmentHead(self._epoch, self._run_id, first_seq, self._segment_number)
            self._segment, self._mark = self._opened(), mark_of(head)
            parts.extend(head_frame(head))
        parts += marked(self._mark, frames)
        end = write_parts(self._segment.fileno(), [*parts, END], self._segment_bytes)
        sync_data(self._segment.fileno())
        self._segment_bytes = end - len(END)
        self._segment_event_count += len(frames)
        self._synced_count = told

    def _opened(self) -> BinaryIO:
        path = self._path(self._segment_number)
        spare = next(iter(sorted(self.folder.glob(f"*{SPARE}"))), None)
        if spare is not None:
            spare.rename(path)
        descriptor = os.open(path, os.O_WRONLY | (os.O_CREAT | os.O_EXCL if spare is None else 0), 0o644)
        # Unbuffered: what `write` took, the system has.
        segment = os.fdopen(descriptor, "wb", buffering=0)
        sync_folder(self.folder)
        return segment

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}{SUFFIX}"

    def _check(self) -> None:
        if self._error is not None:
            raise SpoolError(
                "events could not be made durable",
                got=str(self._error),
                cure="Free or repair the disk, then open another writer; append what was not acknowledged.",
            ) from self._error


def _made_and_locked(folder: Path) -> BinaryIO:
    """A new spool folder. It gets its name when it is locked: no recovery may take it for a dead writer's."""
    make_folder(folder.parent)
    unnamed = folder.with_name(f".{folder.name}")
    unnamed.mkdir()
    lock = locked(unnamed)
    if lock is None:
        raise SpoolError("the spool is held by another writer", got=folder.name)
    unnamed.rename(folder)
    sync_folder(folder.parent)
    return lock


def retire_segment(path: Path) -> None:
    """One that has landed, of a living writer: its file is kept for a later one."""
    # Neither is synced: a segment that a power cut brings back is recovered, and has landed.
    if len(list(path.parent.glob(f"*{SPARE}"))) < SPARES_MAX:
        path.rename(path.with_suffix(SPARE))
    else:
        path.unlink()


def segment_number(path: Path) -> int:
    return int(path.stem)


def remove_folder(folder: Path) -> None:
    """A folder without segments, by whoever holds its lock."""
    for spare in folder.glob(f"*{SPARE}"):
        spare.unlink(missing_ok=True)
    (folder / LOCK).unlink(missing_ok=True)
    with suppress(OSError):
        # A recovery that looks into it right now leaves its own lock file behind, and removes both.
        folder.rmdir()


def locked(folder: Path) -> BinaryIO | None:
    """The lock of a spool folder, taken; null if a living writer holds it. Closing the file lets go of it."""
    lock = os.fdopen(os.open(folder / LOCK, os.O_WRONLY | os.O_CREAT, 0o644), "wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock
