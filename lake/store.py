"""Bytes under a root: create-only, durable, listable. The seam where object stores go.

**`put_new` is create-if-absent**: exactly one of any number of racing callers wins, the others are told.
**It returns once durable**: the file is fsynced before it gets its name, and its folder after.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from schemas.errors import BadInputError, LakeMissingError


class ObjectStore(Protocol):
    """What a lake asks of the place that it lies in. Paths are relative, with '/'."""

    @property
    def uri(self) -> str: ...

    def put_new(self, path: str, data: bytes) -> bool:
        """False if something is there already; nothing is changed then."""
        ...

    def read(self, path: str) -> bytes:
        """Raises LakeMissingError."""
        ...

    def exists(self, path: str) -> bool: ...

    def list(self, prefix: str, suffix: str = "") -> list[str]:
        """Paths of all files below a folder, sorted; empty if there is no such folder."""
        ...

    def location(self, path: str) -> str:
        """The address under which Lance opens the path."""
        ...


class LocalStore:
    """A folder on a local file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def uri(self) -> str:
        return str(self._root)

    def put_new(self, path: str, data: bytes) -> bool:
        final = self._root / path
        _make_folder(final.parent)
        temporary = final.with_name(f".{final.name[:40]}.{uuid.uuid4().hex}.tmp")
        try:
            _write_durably(temporary, data)
            os.link(temporary, final)
        except FileExistsError:
            # Whoever relies on what is there must not lose it: the winner may not have synced the folder yet.
            _sync_folder(final.parent)
            return False
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(final.parent)
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
        return sorted(self._walk(self._root / prefix, suffix))

    def location(self, path: str) -> str:
        return str(self._root / path)

    def _walk(self, folder: Path, suffix: str) -> Iterator[str]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            # Never there, or cleaned away while its parent was listed.
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path), suffix)
            elif entry.name.endswith(suffix) and not entry.name.startswith("."):
                yield str(Path(entry.path).relative_to(self._root))


def open_store(uri: str) -> ObjectStore:
    """Raises BadInputError for a place that no store reaches."""
    scheme, separator, rest = uri.partition("://")
    if separator and scheme != "file":
        raise BadInputError(
            "no store for this address",
            got=f"{scheme}://…",
            expected="a folder, or file://",
            cure="Use a local folder.",
        )
    path = Path(rest if separator else uri).expanduser()
    return LocalStore(path if path.is_absolute() else Path.cwd() / path)


def _write_durably(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    """Folders are entries of their parents: each new one is synced where it is named."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)
