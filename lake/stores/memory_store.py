"""A store for tests: files in the memory of this process, one space per name.

**Whoever opens a name meets the same files**, as long as the process lives. A forked child has a copy.
**Tables lie in a temporary folder**, because Lance's own memory store is not shared by two openings.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path

from tracelake.lake.stores.local_store import LocalStore
from tracelake.lake.stores.location import Location


class _Space:
    """What lies under one name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.folder = Path(tempfile.mkdtemp(prefix="tracelake-memory-"))
        weakref.finalize(self, _remove, self.folder, os.getpid())


def _remove(folder: Path, maker: int) -> None:
    """A forked child that ends leaves the folder to its parent."""
    if os.getpid() == maker:
        shutil.rmtree(folder, ignore_errors=True)


_spaces: dict[str, _Space] = {}
_spaces_lock = threading.Lock()


class MemoryStore:
    """The space of a name."""

    def __init__(self, name: str) -> None:
        self._name = name
        with _spaces_lock:
            if name not in _spaces:
                _spaces[name] = _Space()
            self._space = _spaces[name]
        self._tables = LocalStore(self._space.folder)

    @property
    def uri(self) -> str:
        return f"memory://{self._name}"

    @property
    def spool_folder(self) -> Path | None:
        return None

    def put_new(self, path: str, data: bytes | memoryview) -> bool:
        with self._space.lock:
            if path in self._space.files:
                return False
            self._space.files[path] = bytes(data)
            return True

    def read(self, path: str) -> bytes:
        data = self._space.files.get(path)
        if data is not None:
            return data
        return self._tables.read(path)

    def exists(self, path: str) -> bool:
        return path in self._space.files or self._tables.exists(path)

    def list(self, prefix: str, suffix: str = "") -> list[str]:
        with self._space.lock:
            held = list(self._space.files)
        ours = [path for path in held if _lies_in(path, prefix) and path.endswith(suffix)]
        return sorted([*ours, *self._tables.list(prefix, suffix)])

    def delete(self, path: str) -> None:
        with self._space.lock:
            self._space.files.pop(path, None)
        self._tables.delete(path)

    def location(self, path: str) -> Location:
        return self._tables.location(path)


def _lies_in(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")
