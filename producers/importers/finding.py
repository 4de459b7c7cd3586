"""From paths to files: local or remote, single, folder or glob.

**A named file is always taken up**, whatever its name; in a folder or behind a glob only what could be a
trace is read.
**The order is fixed** and each file comes once, however many paths lead to it.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from glob import has_magic
from os.path import splitext
from typing import Any, NamedTuple

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from tracelake.producers.importers.source import SourceFile, source_file, well_formed
from tracelake.schemas.errors import SourceFormatError, SourceMissingError, TracelakeError

TRACE_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson", ".traj"})
METADATA = "metadata.json"
SOURCE_BYTES_MAX = 2**30
READ_AHEAD = 4


class Found(NamedTuple):
    """A file to import."""

    filesystem: Any
    """An fsspec filesystem."""
    path: str
    uri: str
    named: bool
    """Named by itself, and not found in a folder or by a glob."""

    @property
    def suffix(self) -> str:
        return splitext(self.path)[1].lower()

    @property
    def may_be_trace(self) -> bool:
        return self.named or self.suffix in TRACE_SUFFIXES


class Search(NamedTuple):
    """What the paths led to, and the errors of those that led to nothing."""

    found: list[Found]
    missing: list[tuple[str, TracelakeError]]


class Loaded(NamedTuple):
    """A file with its bytes, or with the error of reading it."""

    found: Found
    source: SourceFile | None
    error: Exception | None


def search(paths: Iterable[str | os.PathLike[str]]) -> Search:
    by_uri: dict[str, Found] = {}
    missing: list[tuple[str, TracelakeError]] = []
    for given in paths:
        path = os.fspath(given)
        try:
            files = _files(path)
        except (OSError, ValueError, ImportError) as error:
            cure = "Give an existing file, folder, glob or fsspec address."
            missing.append((path, SourceMissingError("cannot look here", got=f"{path}: {error}", cure=cure)))
            continue
        if not files:
            missing.append((path, _nothing(path)))
        for file in files:
            known = by_uri.get(file.uri)
            if known is None or (file.named and not known.named):
                by_uri[file.uri] = file
    return Search(sorted(by_uri.values(), key=lambda file: file.uri), missing)


def load(files: Iterable[Found]) -> Iterator[Loaded]:
    """Files with their bytes, in order; where one is remote, the next few are read beside the caller."""
    reader: ThreadPoolExecutor | None = None
    ahead: deque[Future[Loaded]] = deque()
    try:
        for file in files:
            if isinstance(file.filesystem, LocalFileSystem):
                yield from _arrived(ahead, 0)
                yield _load(file)
                continue
            reader = reader or ThreadPoolExecutor(max_workers=1, thread_name_prefix="read")
            ahead.append(reader.submit(_load, file))
            yield from _arrived(ahead, READ_AHEAD)
        yield from _arrived(ahead, 0)
    finally:
        if reader is not None:
            reader.shutdown(cancel_futures=True)


def _arrived(ahead: deque[Future[Loaded]], left_count: int) -> Iterator[Loaded]:
    while len(ahead) > left_count:
        yield ahead.popleft().result()


class FoundSiblings:
    """Finds a run's `metadata.json`: in the same folder, else in the one folder of the import that has the
    same name and parent, where an archive keeps each file under a folder of its own."""

    def __init__(self, files: Iterable[Found]) -> None:
        self.used: set[str] = set()
        self._by_folder: dict[str, Found] = {}
        self._by_run: dict[str, list[Found]] = {}
        for file in files:
            if file.path.rsplit("/", 1)[-1] == METADATA:
                self._by_folder[_folder(file.uri)] = file
                self._by_run.setdefault(_run(file.uri), []).append(file)
        self._filesystem_of: dict[str, Found] = {_folder(file.uri): file for file in files}

    def metadata(self, source: SourceFile) -> bytes | None:
        folder = _folder(source.uri)
        beside = self._by_folder.get(folder)
        same_run = self._by_run.get(_run(source.uri), [])
        if beside is None and len(same_run) == 1:
            beside = same_run[0]
        if beside is not None:
            self.used.add(beside.uri)
            return _content(beside.filesystem, beside.path)
        return self.read(folder, METADATA)

    def read(self, folder_uri: str, name: str) -> bytes | None:
        """A file of a folder that the import has a file in; null if there is none."""
        neighbour = self._filesystem_of.get(folder_uri)
        if neighbour is None:
            return None
        path = f"{neighbour.path.rsplit('/', 1)[0]}/{name}" if "/" in neighbour.path else name
        try:
            return _content(neighbour.filesystem, path)
        except OSError:
            return None


def _files(path: str) -> list[Found]:
    # A local name may look like a glob or an address; what exists is what it is.
    known = os.path.exists(path)
    filesystem: Any = LocalFileSystem() if known else url_to_fs(path)[0]
    inner = str(filesystem._strip_protocol(path))
    if filesystem.isfile(inner):
        return [_found(filesystem, inner, named=True)]
    if filesystem.isdir(inner):
        names = _walked(inner) if isinstance(filesystem, LocalFileSystem) else filesystem.find(inner)
    elif has_magic(inner):
        names = [name for name in filesystem.glob(inner) if filesystem.isfile(name)]
    else:
        raise FileNotFoundError("no such file or folder")
    return [_found(filesystem, name, named=False) for name in names]


def _walked(folder: str) -> Iterator[str]:
    """Files of a local folder; fsspec's own walk asks for the facts of each."""
    for place, _, names in os.walk(folder):
        yield from (f"{place}/{name}" for name in names)


def _found(filesystem: Any, path: str, *, named: bool) -> Found:
    local = isinstance(filesystem, LocalFileSystem)
    return Found(filesystem, path, well_formed(path if local else filesystem.unstrip_protocol(path)), named)


def _load(file: Found) -> Loaded:
    try:
        local = isinstance(file.filesystem, LocalFileSystem)
        size = os.path.getsize(file.path) if local else file.filesystem.size(file.path)
        if size is not None and size > SOURCE_BYTES_MAX:
            cure = "Split it into files of single rollouts or fewer lines."
            raise SourceFormatError(
                "a file too large to read whole",
                got=f"{size} bytes",
                expected=f"{SOURCE_BYTES_MAX} at most",
                cure=cure,
            )
        data = _content(file.filesystem, file.path)
        return Loaded(file, source_file(file.uri, data, hashlib.sha256(data).hexdigest()), None)
    except (OSError, ValueError) as error:
        return Loaded(file, None, error)


def _content(filesystem: Any, path: str) -> bytes:
    if isinstance(filesystem, LocalFileSystem):
        with open(path, "rb", buffering=0) as file:
            return file.read()
    return bytes(filesystem.cat_file(path))


def _nothing(path: str) -> SourceMissingError:
    return SourceMissingError("nothing to import here", got=path, expected="at least one file")


def _folder(uri: str) -> str:
    return uri.rsplit("/", 1)[0] if "/" in uri else ""


def _run(uri: str) -> str:
    return "/".join(uri.split("/")[-3:-1])
