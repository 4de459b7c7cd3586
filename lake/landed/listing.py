"""Which files have landed: listings for projectors that ask again and again.

**On a local disk a folder that did not change is not read again**: landed files are never rewritten, and a
new one moves its folder's time. A folder that changed just now is not trusted: its time may not have moved
since.
**A projector passes over what it has taken to its end**: a writer that has closed lands no more.
**Other stores are listed whole.**
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from tracelake.lake.landed.reading import without_holes
from tracelake.lake.layout import EVENTS, LandedName, kind_prefix, ledger_path, parse_landed_path, seq_text
from tracelake.lake.stores.local_store import LocalStore
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.events.kinds import CLASS_OF_KIND

SUFFIX = ".parquet"
SETTLED_AFTER_NS = 2 * 10**9
PATHS_REMEMBERED = 2**18
EPOCHS_LISTED_SINGLY_MAX = 16


class _Folder(NamedTuple):
    """An epoch's folder as it was when it was read."""

    changed_ns: int
    paths: tuple[str, ...]


_folders: dict[str, _Folder] = {}
_ended: dict[str, dict[str, int]] = {}
"""By a kind's folder: closed epochs, with the number at which their last file begins."""


def landed_by_kind(store: ObjectStore, kinds: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Landed files of the kinds named, or of those that have any."""
    if kinds is not None:
        return {kind: landed_of(store, kind) for kind in kinds}
    files: dict[str, list[str]] = {}
    for path in store.list(EVENTS, SUFFIX):
        files.setdefault(path.removeprefix(f"{EVENTS}/kind=").partition("/")[0], []).append(path)
    return {kind: files[kind] for kind in CLASS_OF_KIND if kind in files}


def landed_of(store: ObjectStore, kind: str) -> list[str]:
    """Sorted."""
    prefix = kind_prefix(kind)
    # A store that only passes calls on may have reasons of its own to show less.
    if not isinstance(store, LocalStore):
        return store.list(prefix, SUFFIX)
    return [path for folder in _epochs(Path(store.location(prefix))) for path in _read(folder, prefix)]


def files_past(files: Sequence[str], cursor: dict[str, int]) -> list[str]:
    """Files that begin behind the last sequence number taken from their epoch."""
    past: list[str] = []
    for path in files:
        name = landed_name(path)
        if name.first_seq > cursor.get(name.writer_epoch, -1):
            past.append(path)
    return past


def to_project(
    store: ObjectStore, kinds: Sequence[str] | None
) -> dict[str, list[str]] | dict[str, list[str] | None]:
    """Kinds, with their files; null where a projector that knows how far it is asks for less."""
    if not isinstance(store, LocalStore):
        # One listing for all kinds costs what it costs for one.
        return landed_by_kind(store, kinds)
    folders = {kind: store.location(kind_prefix(kind)) for kind in kinds or CLASS_OF_KIND}
    landed = {kind: os.path.isdir(folder) for kind, folder in folders.items()}
    return {kind: None if landed[kind] else [] for kind in landed if kinds is not None or landed[kind]}


def are_more_than(store: ObjectStore, kind: str, count: int) -> bool:
    """Whether more files of the kind have landed."""
    if isinstance(store, LocalStore) and len(list(_epochs(Path(store.location(kind_prefix(kind)))))) > count:
        return True
    return len(landed_of(store, kind)) > count


def landed_past(store: ObjectStore, kind: str, cursor: dict[str, int]) -> list[str]:
    """As `files_past` of all landed files."""
    if not isinstance(store, LocalStore):
        return files_past(landed_of(store, kind), cursor)
    prefix = kind_prefix(kind)
    root = store.location(prefix)
    past: list[str] = []
    for epoch in _unfinished(root, cursor):
        taken = cursor.get(epoch)
        # Asked before the folder is read: what a closed writer landed is all there.
        closed = taken is not None and store.exists(ledger_path(epoch))
        names = _names(f"{root}/{epoch}")
        past += _past(f"{prefix}/{epoch}", names, taken)
        if closed and names:
            _ended.setdefault(root, {})[epoch] = landed_name(f"{prefix}/{epoch}/{max(names)}").first_seq
    return past


def files_ahead(store: ObjectStore, kind: str, past: Sequence[str], cursor: dict[str, int]) -> list[str]:
    """Files less those before which one of their epoch misses, sorted: a second listing tells, where numbers
    do not."""
    of_epoch: dict[str, list[str]] = {}
    for path in past:
        of_epoch.setdefault(landed_name(path).writer_epoch, []).append(path)
    plain = [epoch for epoch, paths in of_epoch.items() if _is_next(paths, cursor.get(epoch))]
    unsure = sorted(of_epoch.keys() - set(plain))
    shown = [path for epoch in unsure for path in of_epoch[epoch]]
    again = _listed(store, kind, unsure, cursor)
    return sorted([*(of_epoch[epoch][0] for epoch in plain), *without_holes(shown, again)])


@lru_cache(maxsize=PATHS_REMEMBERED)
def landed_name(path: str) -> LandedName:
    return parse_landed_path(path)


def _unfinished(root: str, cursor: dict[str, int]) -> list[str]:
    """Epochs of a kind that are not known to be taken to their end, sorted."""
    try:
        epochs = os.listdir(root)
    except FileNotFoundError:
        return []
    ended = _ended.get(root, {})
    # A table that lost its newest versions stands before what it had taken once.
    return sorted(epoch for epoch in epochs if epoch not in ended or cursor.get(epoch, -1) < ended[epoch])


def _names(folder: str) -> list[str]:
    """Of the landed files in an epoch's folder, in no order."""
    try:
        return [name for name in os.listdir(folder) if name.endswith(SUFFIX) and name[0] != "."]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _listed(store: ObjectStore, kind: str, epochs: Sequence[str], cursor: dict[str, int]) -> list[str]:
    """Files past the cursor, of these epochs at least."""
    prefix = kind_prefix(kind)
    folders = [f"{prefix}/{epoch}" for epoch in epochs]
    if isinstance(store, LocalStore):
        return [
            path
            for epoch, folder in zip(epochs, folders, strict=True)
            for path in _past(folder, _names(store.location(folder)), cursor.get(epoch))
        ]
    if len(epochs) > EPOCHS_LISTED_SINGLY_MAX:
        folders = [prefix]
    return files_past([path for folder in folders for path in store.list(folder, SUFFIX)], cursor)


def _past(folder: str, names: list[str], taken: int | None) -> list[str]:
    """Paths of files that begin behind a number. Names begin with theirs, in digits of one width: no name
    is taken apart to see that it is behind."""
    floor = "" if taken is None else seq_text(taken + 1)
    return [f"{folder}/{name}" for name in sorted(name for name in names if name >= floor)]


def _is_next(paths: list[str], taken: int | None) -> bool:
    """Nothing can lie between what was taken and the one file."""
    return len(paths) == 1 and landed_name(paths[0]).first_seq == (-1 if taken is None else taken) + 1


def _epochs(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    yield from (entry for entry in entries if entry.is_dir(follow_symlinks=False))


def _read(entry: os.DirEntry[str], prefix: str) -> tuple[str, ...]:
    known = _folders.get(entry.path)
    changed_ns = os.stat(entry.path).st_mtime_ns
    if known is not None and known.changed_ns == changed_ns:
        return known.paths
    before = f"{prefix}/{entry.name}/"
    found = _Folder(changed_ns, tuple(before + name for name in sorted(_names(entry.path))))
    if time.time_ns() - changed_ns > SETTLED_AFTER_NS:
        _folders[entry.path] = found
    return found.paths
