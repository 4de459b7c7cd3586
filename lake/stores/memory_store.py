"""A store for tests: files in the memory of this process, one space per name.

**A name always opens the same files** within the process. A forked child has a copy.
**Tables are in a temporary folder**: two openings of Lance's own memory store do not share its contents.
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
    """The files of one name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.folder = Path(tempfile.mkdtemp(prefix="tracelake-memory-"))
        weakref.finalize(self, _remove, self.folder, os.getpid())


def _remove(folder: Path, creator_pid: int) -> None:
    """Not in a forked child: the folder is its parent's."""
    if os.getpid() == creator_pid:
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
            paths = list(self._space.files)
        files = [path for path in paths if _is_below(path, prefix) and path.endswith(suffix)]
        return sorted([*files, *self._tables.list(prefix, suffix)])

    def delete(self, path: str) -> None:
        with self._space.lock:
            self._space.files.pop(path, None)
        self._tables.delete(path)

    def location(self, path: str) -> Location:
        return self._tables.location(path)


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")
