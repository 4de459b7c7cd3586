"""From paths to files and their bytes: local or remote, single, folder or glob.

Flow: `find_files` searches all paths → `load` reads one file after the other.

**A file named by itself is always read**; in a folder or behind a glob only names that could be a trace are.
**The order is fixed**, and each file is found once, even if several paths lead to it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from glob import has_magic
from os.path import splitext
from typing import Any, NamedTuple

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from tracelake.producers.importers.importer import well_formed
from tracelake.schemas.errors import SourceFormatError, SourceMissingError, TracelakeError

TRACE_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".traj"})
SOURCE_BYTES_MAX = 2**30
READ_AHEAD = 4


class FoundFile(NamedTuple):
    """A file that an import may read."""

    filesystem: Any
    """An fsspec filesystem."""
    path: str
    uri: str
    named: bool
    """Named by itself, not found in a folder or by a glob."""

    @property
    def may_be_trace(self) -> bool:
        return self.named or splitext(self.path)[1].lower() in TRACE_SUFFIXES

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, LocalFileSystem)

    def size_bytes(self) -> int | None:
        """Null if the store does not say. Raises OSError."""
        return os.path.getsize(self.path) if self.is_local else self.filesystem.size(self.path)

    def content(self) -> bytes:
        """Raises OSError, or what the store raises."""
        if self.is_local:
            with open(self.path, "rb", buffering=0) as file:
                return file.read()
        return bytes(self.filesystem.cat_file(self.path))


class FileSearch(NamedTuple):
    """The files that the paths lead to, and an error for each path that leads to none."""

    files: list[FoundFile]
    missing: list[tuple[str, TracelakeError]]


class LoadedFile(NamedTuple):
    """A file with its bytes, or with the error of reading it."""

    file: FoundFile
    data: bytes | None
    error: Exception | None


def find_files(paths: Iterable[str | os.PathLike[str]]) -> FileSearch:
    """Raises SourceMissingError if no path leads to a file."""
    by_uri: dict[str, FoundFile] = {}
    missing: list[tuple[str, TracelakeError]] = []
    for given in paths:
        path = os.fspath(given)
        try:
            files = _files_of(path)
        except (OSError, ValueError, ImportError) as error:
            cure = "Give an existing file, folder, glob or fsspec address."
            missing.append((path, SourceMissingError("cannot look here", got=f"{path}: {error}", cure=cure)))
            continue
        if not files:
            nothing = SourceMissingError("nothing to import here", got=path, expected="at least one file")
            missing.append((path, nothing))
        for file in files:
            known = by_uri.get(file.uri)
            if known is None or (file.named and not known.named):
                by_uri[file.uri] = file
    if missing and not by_uri:
        raise missing[0][1]
    return FileSearch(sorted(by_uri.values(), key=lambda file: file.uri), missing)


def _files_of(path: str) -> list[FoundFile]:
    # A local name may look like a glob or an address: an existing file comes first.
    filesystem: Any = LocalFileSystem() if os.path.exists(path) else url_to_fs(path)[0]
    inner = str(filesystem._strip_protocol(path))
    if filesystem.isfile(inner):
        return [_found(filesystem, inner, named=True)]
    if filesystem.isdir(inner):
        local = isinstance(filesystem, LocalFileSystem)
        names = _walk_local(inner) if local else filesystem.find(inner)
    elif has_magic(inner):
        names = [name for name in filesystem.glob(inner) if filesystem.isfile(name)]
    else:
        raise FileNotFoundError("no such file or folder")
    return [_found(filesystem, name, named=False) for name in names]


def _walk_local(folder: str) -> Iterator[str]:
    """Files of a local folder; fsspec's own walk reads the attributes of each file."""
    for parent, _, names in os.walk(folder):
        yield from (f"{parent}/{name}" for name in names)


def _found(filesystem: Any, path: str, *, named: bool) -> FoundFile:
    local = isinstance(filesystem, LocalFileSystem)
    return FoundFile(
        filesystem, path, well_formed(path if local else filesystem.unstrip_protocol(path)), named
    )


def load(files: Iterable[FoundFile]) -> Iterator[LoadedFile]:
    """Files with their bytes, in order; a thread reads the next few remote ones ahead."""
    reader: ThreadPoolExecutor | None = None
    ahead: deque[Future[LoadedFile]] = deque()
    try:
        for file in files:
            if file.is_local:
                yield from _results(ahead, left_count=0)
                yield _load_one(file)
                continue
            reader = reader or ThreadPoolExecutor(max_workers=1, thread_name_prefix="read")
            ahead.append(reader.submit(_load_one, file))
            yield from _results(ahead, left_count=READ_AHEAD)
        yield from _results(ahead, left_count=0)
    finally:
        if reader is not None:
            reader.shutdown(cancel_futures=True)


def _results(ahead: deque[Future[LoadedFile]], *, left_count: int) -> Iterator[LoadedFile]:
    while len(ahead) > left_count:
        yield ahead.popleft().result()


def _load_one(file: FoundFile) -> LoadedFile:
    try:
        size = file.size_bytes()
        if size is not None and size > SOURCE_BYTES_MAX:
            raise SourceFormatError(
                "a file too large to read whole",
                got=f"{size} bytes",
                expected=f"{SOURCE_BYTES_MAX} at most",
                cure="Split it into files of single rollouts or fewer lines.",
            )
        return LoadedFile(file, file.content(), None)
    except (OSError, ValueError) as error:
        return LoadedFile(file, None, error)
