"""Write large new files past the page cache, where the file system allows it.

**A landed file needs no cached copy**: it is synced at once and not read soon. Its pages would cost more
processor time than writing it, and an append that syncs at that time would wait for them.
**Nothing depends on it**: where it is refused, the file is written normally. The caller syncs.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os

from tracelake.lake.stores.sync import write_all

DIRECT_FROM_BYTES = 2**20
PIECE_BYTES = 2**20
# Direct writes need aligned addresses, lengths and offsets; 4 KiB is enough for any disk.
BLOCK_BYTES = 4096
_DIRECT = getattr(os, "O_DIRECT", 0)
_free_buffers: list[mmap.mmap] = []
"""Aligned memory for reuse: fresh memory would cost the time that is saved."""


def write_large(descriptor: int, data: bytes | memoryview) -> None:
    """Write all data to the beginning of a new file."""
    view = memoryview(data)
    written = 0
    if len(view) >= DIRECT_FROM_BYTES and _set_direct(descriptor, wanted=True):
        try:
            written = _write_directly(descriptor, view)
        finally:
            _set_direct(descriptor, wanted=False)
    write_all(descriptor, view[written:])


def _write_directly(descriptor: int, view: memoryview) -> int:
    """Write whole blocks until the file system refuses one; returns how many bytes were written."""
    try:
        memory = _free_buffers.pop()
    except IndexError:
        memory = mmap.mmap(-1, PIECE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    whole = len(view) - len(view) % BLOCK_BYTES
    written = 0
    try:
        with memoryview(memory) as aligned:
            while written < whole and written % BLOCK_BYTES == 0:
                piece = view[written : min(written + PIECE_BYTES, whole)]
                aligned[: len(piece)] = piece
                written += os.write(descriptor, aligned[: len(piece)])
    except OSError as error:
        # A file system may accept the flag and refuse the write.
        if error.errno != errno.EINVAL:
            raise
    finally:
        _free_buffers.append(memory)
    return written


def _set_direct(descriptor: int, *, wanted: bool) -> bool:
    """Returns whether the file is now written past the cache."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _DIRECT if wanted else flags & ~_DIRECT)
    except OSError:
        return False
    return wanted and _DIRECT != 0
