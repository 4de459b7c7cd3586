"""The segments of one writer on the local disk.

    spool/EPOCH/lock              locked by the writer while it lives
    spool/EPOCH/000000.segment    frames (tracelake.lake.writing.spool.segment)
    spool/EPOCH/000000.spare      a segment that has landed, to be overwritten by a later one

**Durable when `commit` returns**: the frames were written and the file synced; its name was synced before.
**Files are reused**: when existing bytes are overwritten, a sync has no file length or blocks to record, and
takes half the time. A file has its new name, durably, before any byte of it changes.
**Waiting threads share a sync**: the first one writes and syncs what the others have pushed meanwhile.
**An error of writing or syncing ends the spool**: after a failed sync the state of the disk is unknown, and
another sync would not reveal it. Events acknowledged before are in the segment and are recovered from it.
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
from tracelake.lake.writing.spool.segment import (
    END,
    Frame,
    SegmentHead,
    head_frame,
    mark_frames,
    segment_mark,
)
from tracelake.schemas.errors import SpoolError

LOCK_NAME = "lock"
SEGMENT_SUFFIX = ".segment"
SPARE_SUFFIX = ".spare"
SPARES_MAX = 2


class ClosedSegment(NamedTuple):
    """A segment that takes no more events."""

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
        self._lock_file = _create_locked_folder(self.folder)

    @property
    def segment_bytes(self) -> int:
        """Bytes written to the open segment; 0 if there is none."""
        return self._segment_bytes

    def push(self, frames: list[Frame]) -> int:
        """Take events into memory; returns the ticket to commit."""
        with self._push_lock:
            self._pushed.extend(frames)
            self._pushed_count += len(frames)
            return self._pushed_count

    def commit(self, ticket: int, first_seq: int) -> None:
        """Returns when all events up to the ticket are durable. If it opens a segment, the segment's first
        event gets the number `first_seq`. Raises SpoolError."""
        with self._commit_lock:
            self._raise_error()
            if self._synced_count < ticket:
                self._write_and_sync(first_seq)

    def close_segment(self, first_seq: int) -> ClosedSegment | None:
        """Make all pushed events durable and close the open segment; null if there is none."""
        with self._commit_lock:
            self._raise_error()
            if self._pushed:
                self._write_and_sync(first_seq)
            if self._segment is None:
                return None
            self._segment.close()
            self._segment = None
            path = self._segment_path(self._segment_number)
            closed = ClosedSegment(path, self._segment_event_count, self._segment_bytes)
            self._segment_number += 1
            self._segment_event_count = self._segment_bytes = 0
            return closed

    def release(self, *, empty: bool) -> None:
        """Unlock the folder, and remove it if no segment is left in it (`empty`)."""
        try:
            if self._segment is not None:
                self._segment.close()
            if empty and self._error is None:
                remove_folder(self.folder)
        finally:
            self._segment = None
            self._lock_file.close()

    def _write_and_sync(self, first_seq: int) -> None:
        """Write all pushed frames to the open segment. Raises SpoolError, also from every later call."""
        try:
            self._write_pushed(first_seq)
        except OSError as error:
            self._error = error
            self._raise_error()

    def _write_pushed(self, first_seq: int) -> None:
        with self._push_lock:
            frames, self._pushed = self._pushed, []
            pushed_count = self._pushed_count
        parts: list[Packed] = []
        if self._segment is None:
            head = SegmentHead(self._epoch, self._run_id, first_seq, self._segment_number)
            self._segment, self._mark = self._open_segment(), segment_mark(head)
            parts.extend(head_frame(head))
        parts += mark_frames(self._mark, frames)
        end = write_parts(self._segment.fileno(), [*parts, END], self._segment_bytes)
        sync_data(self._segment.fileno())
        self._segment_bytes = end - len(END)
        self._segment_event_count += len(frames)
        self._synced_count = pushed_count

    def _open_segment(self) -> BinaryIO:
        """A spare under its new name, or a new file; the name is durable."""
        path = self._segment_path(self._segment_number)
        spare = next(iter(sorted(self.folder.glob(f"*{SPARE_SUFFIX}"))), None)
        if spare is not None:
            spare.rename(path)
        descriptor = os.open(path, os.O_WRONLY | (os.O_CREAT | os.O_EXCL if spare is None else 0), 0o644)
        # Unbuffered: each write reaches the operating system.
        segment = os.fdopen(descriptor, "wb", buffering=0)
        sync_folder(self.folder)
        return segment

    def _segment_path(self, number: int) -> Path:
        return self.folder / f"{number:06d}{SEGMENT_SUFFIX}"

    def _raise_error(self) -> None:
        if self._error is not None:
            raise SpoolError(
                "events could not be made durable",
                got=str(self._error),
                cure="Free or repair the disk, then open another writer; append what was not acknowledged.",
            ) from self._error


def retire_segment(path: Path) -> None:
    """Turn a segment of a living writer that has landed into a spare, or delete it."""
    # Not synced: a segment that a power cut brings back is recovered, and its events have landed.
    if len(list(path.parent.glob(f"*{SPARE_SUFFIX}"))) < SPARES_MAX:
        path.rename(path.with_suffix(SPARE_SUFFIX))
    else:
        path.unlink()


def segment_number(path: Path) -> int:
    return int(path.stem)


def remove_folder(folder: Path) -> None:
    """Remove a folder without segments; the caller has its lock."""
    for spare in folder.glob(f"*{SPARE_SUFFIX}"):
        spare.unlink(missing_ok=True)
    (folder / LOCK_NAME).unlink(missing_ok=True)
    with suppress(OSError):
        # Fails if a recovery has just created its own lock file there; that recovery removes both.
        folder.rmdir()


def try_lock(folder: Path) -> BinaryIO | None:
    """Lock a spool folder; null if a living writer has the lock. Closing the file unlocks the folder."""
    lock = os.fdopen(os.open(folder / LOCK_NAME, os.O_WRONLY | os.O_CREAT, 0o644), "wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _create_locked_folder(folder: Path) -> BinaryIO:
    """Create a spool folder. It gets its name once it is locked, so that no recovery takes it for a crashed
    writer's."""
    make_folder(folder.parent)
    unnamed = folder.with_name(f".{folder.name}")
    unnamed.mkdir()
    lock = try_lock(unnamed)
    if lock is None:
        raise SpoolError("another writer has locked the spool folder", got=folder.name)
    unnamed.rename(folder)
    sync_folder(folder.parent)
    return lock
