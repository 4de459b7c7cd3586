"""From paths to files: local or remote, single, folder or glob.

**A file named by itself is always read**; in a folder or behind a glob only names that could be a trace are.
**The order is fixed**, and each file is found once, even if several paths or links lead to it.
**Nothing outside a given folder is read** unless the user asks for it: a link that leads out is listed.
Pipes, sockets and devices are listed and never opened.
**No secret is printed**: addresses are public ones, without user, password, query and fragment.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from glob import has_magic
from typing import Any, NamedTuple

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from tracelake.lake.secrets.public_text import public_uri, redact_text
from tracelake.producers.importers.importer import well_formed
from tracelake.schemas.errors import SourceFormatError, SourceMissingError, TracelakeError

_TRACE_NAME = re.compile(
    r"\.(json|jsonl|ndjson|traj|eval|parquet|gz|zst|xz|bz2|tar|tgz|tzst|txz|tbz2?|zip)$", re.IGNORECASE
)
_SPECIAL = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device"}
_SPECIAL[stat.S_IFBLK] = "a device"


class FoundFile(NamedTuple):
    """A file that an import may read."""

    filesystem: Any
    """An fsspec filesystem."""
    path: str
    """Where it is opened: of a local file the path without links."""
    uri: str
    """Public, as the user would name it."""
    named: bool
    """Named by itself, not found in a folder or by a glob."""
    may_be_trace: bool

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, LocalFileSystem)

    def size_bytes(self) -> int | None:
        """Null if the store does not say. Raises OSError."""
        return os.path.getsize(self.path) if self.is_local else self.filesystem.size(self.path)


class UnreadFile(NamedTuple):
    """What an import found and does not read."""

    uri: str
    error: SourceFormatError


class FileSearch(NamedTuple):
    """The files that the paths lead to, what is not read, and an error for each path without a file."""

    files: list[FoundFile]
    unread: list[UnreadFile]
    missing: list[tuple[str, TracelakeError]]
    """By the path's public form."""


def has_trace_name(path: str) -> bool:
    """Whether a file in a folder or an archive is considered at all."""
    return _TRACE_NAME.search(path) is not None


def find_files(paths: Iterable[str | os.PathLike[str]], *, follow_links: bool = False) -> FileSearch:
    """Raises SourceMissingError if no path leads to a file."""
    found: dict[str, FoundFile] = {}
    unread: dict[str, UnreadFile] = {}
    missing: list[tuple[str, TracelakeError]] = []
    for given in paths:
        path = os.fspath(given)
        shown = public_uri(well_formed(path))
        nothing = True
        try:
            for each in _found_at(path, follow_links):
                nothing = False
                if isinstance(each, UnreadFile):
                    unread.setdefault(each.uri, each)
                    continue
                # Of several names of one file, the one that the user gave counts, else that of a trace.
                key = each.path if each.is_local else each.uri
                known = found.get(key)
                if known is None or (each.named, each.may_be_trace) > (known.named, known.may_be_trace):
                    found[key] = each
        except (OSError, ValueError, ImportError) as error:
            missing.append((shown, _cannot_look(shown, error)))
            continue
        if nothing:
            error = SourceMissingError("nothing to import here", got=shown, expected="at least one file")
            missing.append((shown, error))
    if missing and not found and not unread:
        raise missing[0][1]
    files = sorted(found.values(), key=lambda file: file.uri)
    return FileSearch(files, sorted(unread.values()), missing)


def _cannot_look(shown: str, error: Exception) -> SourceMissingError:
    # The text of an OSError repeats the path, which may contain a key.
    reason = error.strerror if isinstance(error, OSError) and error.strerror else redact_text(str(error))
    cure = "Give an existing file, folder, glob or fsspec address."
    return SourceMissingError("cannot look here", got=f"{shown}: {reason}", cure=cure)


def _found_at(path: str, follow_links: bool) -> Iterator[FoundFile | UnreadFile]:
    # A local name may look like a glob or an address: an existing file comes first.
    filesystem: Any = LocalFileSystem() if os.path.lexists(path) else url_to_fs(path)[0]
    inner = str(filesystem._strip_protocol(path))
    if isinstance(filesystem, LocalFileSystem):
        yield from _found_locally(filesystem, inner, follow_links)
    elif filesystem.isfile(inner):
        yield _remote_file(filesystem, inner, named=True)
    elif filesystem.isdir(inner):
        yield from (_remote_file(filesystem, name, named=False) for name in filesystem.find(inner))
    elif has_magic(inner):
        names = [name for name in filesystem.glob(inner) if filesystem.isfile(name)]
        yield from (_remote_file(filesystem, name, named=False) for name in names)
    else:
        raise FileNotFoundError("no such file or folder")


def _remote_file(filesystem: Any, path: str, *, named: bool) -> FoundFile:
    uri = public_uri(well_formed(filesystem.unstrip_protocol(path)))
    return FoundFile(filesystem, path, uri, named, named or has_trace_name(path))


def _found_locally(
    filesystem: LocalFileSystem, path: str, follow_links: bool
) -> Iterator[FoundFile | UnreadFile]:
    if os.path.isdir(path):
        walk = _LocalWalk(filesystem, path, follow_links)
        yield from walk.folder(path)
    elif os.path.lexists(path):
        # Named by the user: a link is followed, wherever it leads.
        yield from _LocalWalk(filesystem, path, True).file(path, named=True)
    elif has_magic(path):
        walk = _LocalWalk(filesystem, _folder_before_magic(path), follow_links)
        for name in filesystem.glob(path):
            if not os.path.isdir(str(name)):
                yield from walk.file(str(name), named=False)
    else:
        raise FileNotFoundError("no such file or folder")


class _LocalWalk:
    """Finds files under one folder, each folder once."""

    def __init__(self, filesystem: LocalFileSystem, root: str, follow_links: bool) -> None:
        self._filesystem = filesystem
        self._root = os.path.realpath(root)
        self._follow_links = follow_links
        self._seen: set[str] = set()

    def folder(self, path: str) -> Iterator[FoundFile | UnreadFile]:
        """Raises OSError only for the folder that was given; what cannot be listed below it is unread."""
        pending = [path]
        while pending:
            current = pending.pop()
            real = os.path.realpath(current)
            if real in self._seen:
                continue
            self._seen.add(real)
            try:
                entries = sorted(os.scandir(current), key=lambda entry: entry.name)
            except OSError as error:
                if current == path:
                    raise
                yield _unread(current, "a folder that cannot be listed", error.strerror or "", "")
                continue
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif not entry.is_symlink() and entry.is_file(follow_symlinks=False):
                    yield self._found(entry.path, os.path.join(real, entry.name), named=False)
                elif entry.is_symlink() and os.path.isdir(entry.path):
                    # One that stays within the folder leads to what this walk finds anyway.
                    if self._is_inside(entry.path):
                        continue
                    if self._follow_links:
                        pending.append(entry.path)
                    else:
                        yield _link_out(entry.path)
                else:
                    yield from self.file(entry.path, named=False)

    def file(self, path: str, *, named: bool) -> Iterator[FoundFile | UnreadFile]:
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            yield _unread(path, "a link that leads to no file", error.strerror or "", "Restore its target.")
            return
        if not (self._is_inside(path) or self._follow_links):
            yield _link_out(path)
        elif stat.S_ISREG(mode):
            yield self._found(path, os.path.realpath(path), named=named)
        else:
            kind = _SPECIAL.get(stat.S_IFMT(mode), "no file")
            yield _unread(path, kind, "", "Import files; write what it delivers to one first.")

    def _is_inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return real == self._root or real.startswith(os.path.join(self._root, ""))

    def _found(self, path: str, real: str, *, named: bool) -> FoundFile:
        may_be_trace = named or has_trace_name(path)
        return FoundFile(self._filesystem, real, public_uri(well_formed(path)), named, may_be_trace)


def _folder_before_magic(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if has_magic(part):
            break
        parts.append(part)
    return "/".join(parts) or "/"


def _link_out(path: str) -> UnreadFile:
    cure = "Give `--follow-links` to read what it leads to."
    return _unread(path, "a link out of the given folder", "", cure)


def _unread(path: str, what: str, got: str, cure: str) -> UnreadFile:
    error = SourceFormatError(what, got=got or None, expected="a file in the given folder", cure=cure or None)
    return UnreadFile(public_uri(well_formed(path)), error)
