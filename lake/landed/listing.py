"""Which files have landed, for projectors that ask again and again.

Flow: `files_to_project` finds the kinds → `landed_past` lists the files behind a cursor → `without_gaps`
drops files that landed after one that the listing missed.

**A local disk is listed per epoch**, and epochs that closed and were read to their end are skipped. Which
ones these are is remembered for the process, not per lake object: epoch names are unique and a closed epoch
never grows, so an entry is never wrong. With 3,000 closed writers this saves 4 ms of a commit of 16 ms.
**Object stores are listed as a whole**: one request returns a thousand files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

from tracelake.lake.layout import EVENTS, LandedName, kind_prefix, ledger_path, parse_landed_path, seq_text
from tracelake.lake.stores.local_store import LocalStore
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.events.kinds import CLASS_OF_KIND

SUFFIX = ".parquet"
PARSED_NAMES_MAX = 2**18
EPOCHS_LISTED_SINGLY_MAX = 16

_finished_epochs: dict[str, dict[str, int]] = {}
"""By a kind's folder: closed epochs, with the first sequence number of their last file."""


def files_to_project(store: ObjectStore, kinds: Sequence[str] | None) -> dict[str, list[str] | None]:
    """The kinds named, or those that have landed, with their files; None where `landed_past` lists them for
    less, once the cursor is known."""
    if isinstance(store, LocalStore):
        if kinds is None:
            kinds = [kind for kind in CLASS_OF_KIND if os.path.isdir(store.location(kind_prefix(kind)))]
        return dict.fromkeys(kinds)
    if kinds is not None:
        return {kind: landed_files_of(store, kind) for kind in kinds}
    # One listing for all kinds costs as much as for one.
    files: dict[str, list[str]] = {}
    for path in store.list(EVENTS, SUFFIX):
        files.setdefault(path.removeprefix(f"{EVENTS}/kind=").partition("/")[0], []).append(path)
    return {kind: files[kind] for kind in CLASS_OF_KIND if kind in files}


def landed_files_of(store: ObjectStore, kind: str) -> list[str]:
    """Sorted. Foreign files outside of the epochs' folders are left out."""
    prefix = kind_prefix(kind)
    depth = prefix.count("/") + 2
    return [path for path in store.list(prefix, SUFFIX) if path.count("/") == depth]


def has_more_files(store: ObjectStore, kind: str, count: int) -> bool:
    """True if more than `count` files of the kind have landed; may count empty folders of epochs too."""
    if isinstance(store, LocalStore) and len(_folder_names(store.location(kind_prefix(kind)))) > count:
        return True
    return len(landed_files_of(store, kind)) > count


def files_past(files: Sequence[str], cursor: dict[str, int]) -> list[str]:
    """Files that begin behind the cursor of their epoch."""
    past: list[str] = []
    for path in files:
        name = parsed_name(path)
        if name.first_seq > cursor.get(name.writer_epoch, -1):
            past.append(path)
    return past


def landed_past(store: ObjectStore, kind: str, cursor: dict[str, int]) -> list[str]:
    """`files_past` of all landed files of a kind."""
    if not isinstance(store, LocalStore):
        return files_past(landed_files_of(store, kind), cursor)
    prefix = kind_prefix(kind)
    root = store.location(prefix)
    finished = _finished_epochs.setdefault(root, {})
    past: list[str] = []
    for epoch in sorted(_folder_names(root)):
        last_taken = cursor.get(epoch)
        # A table that lost its newest versions has a cursor behind what it once had taken.
        if epoch in finished and last_taken is not None and last_taken >= finished[epoch]:
            continue
        # Checked before the folder is listed: a closed writer lands nothing more.
        is_closed = last_taken is not None and store.exists(ledger_path(epoch))
        names = _file_names(f"{root}/{epoch}")
        past += _paths_past(f"{prefix}/{epoch}", names, last_taken)
        if is_closed and names:
            finished[epoch] = parsed_name(f"{prefix}/{epoch}/{max(names)}").first_seq
    return past


def without_gaps(store: ObjectStore, kind: str, past: Sequence[str], cursor: dict[str, int]) -> list[str]:
    """The listed files behind which no file of their epoch can be missing, sorted.

    The file that continues an epoch's numbers is safe by its name; for other epochs a second listing decides.
    """
    of_epoch: dict[str, list[str]] = {}
    for path in past:
        of_epoch.setdefault(parsed_name(path).writer_epoch, []).append(path)
    safe = [epoch for epoch, paths in of_epoch.items() if _continues(paths, cursor.get(epoch))]
    unsure = sorted(of_epoch.keys() - set(safe))
    first_listing = [path for epoch in unsure for path in of_epoch[epoch]]
    second_listing = _list_again(store, kind, unsure, cursor)
    return sorted(
        [*(of_epoch[epoch][0] for epoch in safe), *drop_files_after_gaps(first_listing, second_listing)]
    )


@lru_cache(maxsize=PARSED_NAMES_MAX)
def parsed_name(path: str) -> LandedName:
    return parse_landed_path(path)


def _folder_names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _file_names(folder: str) -> list[str]:
    """Names of the landed files in an epoch's folder, unsorted."""
    try:
        return [name for name in os.listdir(folder) if name.endswith(SUFFIX) and name[0] != "."]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _list_again(store: ObjectStore, kind: str, epochs: Sequence[str], cursor: dict[str, int]) -> list[str]:
    """Files past the cursor, of these epochs at least."""
    prefix = kind_prefix(kind)
    folders = [f"{prefix}/{epoch}" for epoch in epochs]
    if isinstance(store, LocalStore):
        return [
            path
            for epoch, folder in zip(epochs, folders, strict=True)
            for path in _paths_past(folder, _file_names(store.location(folder)), cursor.get(epoch))
        ]
    if len(epochs) > EPOCHS_LISTED_SINGLY_MAX:
        folders = [prefix]
    return files_past([path for folder in folders for path in store.list(folder, SUFFIX)], cursor)


def _paths_past(folder: str, names: list[str], last_taken: int | None) -> list[str]:
    """Paths of files that begin behind a sequence number. Names start with their number in a fixed width, so
    comparing text is enough."""
    floor = "" if last_taken is None else seq_text(last_taken + 1)
    return [f"{folder}/{name}" for name in sorted(name for name in names if name >= floor)]


def _continues(paths: list[str], last_taken: int | None) -> bool:
    """True for a single file whose numbers follow what was taken: nothing can be missing in between."""
    return len(paths) == 1 and parsed_name(paths[0]).first_seq == (
        0 if last_taken is None else last_taken + 1
    )


def drop_files_after_gaps(first_listing: Sequence[str], second_listing: Sequence[str]) -> list[str]:
    """The files of the second listing up to the newest file of each epoch in the first one.

    A listing that runs while files land may contain a later file and miss an earlier one. A second listing,
    started after the first one ended, contains all files that landed before any file of the first one.
    """
    newest: dict[str, int] = {}
    for name in map(parse_landed_path, first_listing):
        newest[name.writer_epoch] = max(name.first_seq, newest.get(name.writer_epoch, -1))
    names = [(path, parse_landed_path(path)) for path in second_listing]
    return [path for path, name in names if name.first_seq <= newest.get(name.writer_epoch, -1)]
