"""Durable bytes and file names on a local disk.

**A file is durable under its name when both are synced**: its bytes, and the folder with its name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

PARTS_MAX = 1024
"""The most that one system call takes."""


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, durably: the parent of each new folder is synced."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_data(descriptor: int) -> None:
    """Sync the file's bytes and its length."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_parts(descriptor: int, parts: Sequence[bytes | memoryview], start: int) -> int:
    """Write parts one after the other from offset `start`, without joining them; returns the end."""
    for first in range(0, len(parts), PARTS_MAX):
        batch = parts[first : first + PARTS_MAX]
        end = start + sum(map(len, batch))
        start += os.pwritev(descriptor, batch, start)
        if start < end:
            rest = memoryview(b"".join(batch))[start - end :]
            while rest:
                count = os.pwrite(descriptor, rest, start)
                rest, start = rest[count:], start + count
    return start
