"""Large new files past the system's cache of pages, where the file system lets them.

**What is landed once and synced at once needs no cached copy**: pages for it cost more processor time than
writing it, and an append that is synced meanwhile waits for those that are not on the disk yet.
**Nothing depends on it**: what cannot be written so is written as ever. Syncing is the caller's.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os

from tracelake.lake.stores.sync import write_all

DIRECT_FROM_BYTES = 2**20
PIECE_BYTES = 2**20
# What the system asks of addresses, lengths and places in the file: 4 KiB is enough for any disk.
BLOCK_BYTES = 4096
_DIRECT = getattr(os, "O_DIRECT", 0)
_spare: list[mmap.mmap] = []
"""Aligned memory that was used before: fresh memory would cost what is saved."""


def write_large(descriptor: int, data: bytes | memoryview) -> None:
    """All of the data, at the beginning of a file that was just created."""
    view = memoryview(data)
    place = 0
    if len(view) >= DIRECT_FROM_BYTES and _set_direct(descriptor, wanted=True):
        try:
            place = _written_directly(descriptor, view)
        finally:
            _set_direct(descriptor, wanted=False)
    write_all(descriptor, view[place:])


def _written_directly(descriptor: int, view: memoryview) -> int:
    """How much of it: whole blocks, as far as the file system takes them."""
    try:
        memory = _spare.pop()
    except IndexError:
        memory = mmap.mmap(-1, PIECE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    whole = len(view) - len(view) % BLOCK_BYTES
    place = 0
    try:
        with memoryview(memory) as aligned:
            while place < whole and place % BLOCK_BYTES == 0:
                part = view[place : min(place + PIECE_BYTES, whole)]
                aligned[: len(part)] = part
                place += os.write(descriptor, aligned[: len(part)])
    except OSError as error:
        # A file system may take the flag and not the write.
        if error.errno != errno.EINVAL:
            raise
    finally:
        _spare.append(memory)
    return place


def _set_direct(descriptor: int, *, wanted: bool) -> bool:
    """Whether the file is written past the cache now."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _DIRECT if wanted else flags & ~_DIRECT)
    except OSError:
        return False
    return wanted and _DIRECT != 0
