"""Making names and bytes durable on a local disk.

**A file is durable under its name when both were synced**: its bytes, and the folder that names it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

PARTS_MAX = 1024
"""What one call of the system takes at most."""


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Folders are entries of their parents: each new one is synced where it is named."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_data(descriptor: int) -> None:
    """The file's bytes and its length."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_parts(descriptor: int, parts: Sequence[bytes | memoryview], start: int) -> int:
    """Parts one after the other, from a place in the file on, without joining them; returns where they
    end."""
    for first in range(0, len(parts), PARTS_MAX):
        some = parts[first : first + PARTS_MAX]
        end = start + sum(map(len, some))
        start += os.pwritev(descriptor, some, start)
        if start < end:
            rest = memoryview(b"".join(some))[start - end :]
            while rest:
                count = os.pwrite(descriptor, rest, start)
                rest, start = rest[count:], start + count
    return start
