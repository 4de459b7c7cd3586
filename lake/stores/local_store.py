"""A store in a folder of a local file system.

**Create-if-absent is a hard link**: the file is synced under a temporary name, then linked to its own.
**Durable when `put_new` returns**: the file is synced before it gets its name, and its folder after.
**The key of redaction is its owner's alone** (mode 0600); other files follow the umask.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from tracelake.lake.layout import REDACTION_KEY
from tracelake.lake.stores.direct_write import write_large
from tracelake.lake.stores.location import Location
from tracelake.lake.stores.sync import make_folder, sync_folder
from tracelake.schemas.errors import LakeMissingError


class LocalStore:
    """A folder on a local file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def uri(self) -> str:
        return str(self._root)

    @property
    def spool_folder(self) -> Path | None:
        return self._root / "spool"

    def put_new(self, path: str, data: bytes | memoryview) -> bool:
        final = self._root / path
        make_folder(final.parent)
        temporary = final.with_name(f".{final.name[:40]}.{uuid.uuid4().hex}.tmp")
        try:
            _write_durably(temporary, data, 0o600 if path == REDACTION_KEY else 0o644)
            os.link(temporary, final)
        except FileExistsError:
            # The caller relies on the existing file, and its creator may not have synced the folder yet.
            sync_folder(final.parent)
            return False
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(final.parent)
        return True

    def read(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError as error:
            raise LakeMissingError(
                "a file of the lake is missing", got=path, expected="a file that the lake wrote"
            ) from error

    def exists(self, path: str) -> bool:
        return (self._root / path).exists()

    def list(self, prefix: str, suffix: str = "") -> list[str]:
        start = len(str(self._root)) + 1
        return sorted(path[start:] for path in _walk(str(self._root / prefix), suffix))

    def delete(self, path: str) -> None:
        (self._root / path).unlink(missing_ok=True)

    def location(self, path: str) -> Location:
        return Location(str(self._root / path))


def _walk(folder: str, suffix: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        # It never existed, or cleanup removed it while its parent was listed.
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, suffix)
        elif entry.name.endswith(suffix) and not entry.name.startswith("."):
            yield entry.path


def _write_durably(path: Path, data: bytes | memoryview, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        write_large(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
