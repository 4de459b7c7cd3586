"""Fsync of Lance commits on a local disk; object stores need none.

**Data before the manifest that names it, the manifest before the commit is reported.** Lance syncs nothing:
the data files of a commit are synced before the commit, its manifest and transaction after it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lance import LanceDataset

from tracelake.lake.stores.sync import sync_folder

VERSIONS, TRANSACTIONS, DATA, TAGS = "_versions", "_transactions", "data", "_refs/tags"
MANIFEST_SUFFIX = ".manifest"
MANIFEST_NAMES_END = 2**64 - 1
"""A manifest is named by this number minus its version, so that the newest is listed first."""
CLOCK_SLACK_S = 2.0


def local_folder(uri: str) -> Path | None:
    """The folder of a table on a local disk; None for an object store."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Path(uri)
    return Path(rest) if scheme == "file" else None


def sync_data(dataset_uri: str, fragments: Iterable[Any]) -> None:
    """Sync data files that no manifest names yet. Raises OSError for an incomplete one."""
    folder = local_folder(dataset_uri)
    files = [file for fragment in fragments for file in fragment.files]
    if folder is None or not files:
        return
    for file in files:
        path = folder / DATA / file.path
        _sync_file(path)
        # Lance ignores an error of a file's last write.
        if file.file_size_bytes not in (None, path.stat().st_size):
            raise OSError(errno.EIO, "a data file was not written whole; is the disk full?", str(path))
    sync_folder(folder / DATA)


def sync_commit(dataset: LanceDataset, transaction_uuid: str) -> None:
    """Sync a commit whose data files are synced already."""
    folder = local_folder(dataset.uri)
    if folder is None:
        return
    transactions = folder / TRANSACTIONS
    name = f"{dataset.version - 1}-{transaction_uuid}.txn"
    # Lance's naming scheme today; under another scheme, search for the identifier.
    found = [name] if (transactions / name).exists() else os.listdir(transactions)
    for name in found:
        if transaction_uuid in name:
            _sync_file(transactions / name)
    _sync_file(manifest_path(folder, dataset.version))
    sync_folder(transactions)
    sync_folder(folder / VERSIONS)


def sync_recent(uri: str, began: float) -> None:
    """Sync everything that was written to a table since `began`, seconds since 1970."""
    folder = local_folder(uri)
    if folder is None or not folder.is_dir():
        return
    folders = [Path(root) for root, _, _ in os.walk(folder)]
    _sync_new(folders, began)
    for each in (folder.parent, folder.parent.parent):
        with contextlib.suppress(FileNotFoundError):
            sync_folder(each)


def sync_recent_commits(uri: str, began: float) -> None:
    """`sync_recent` without the data files: there may be thousands, and they are synced already."""
    folder = local_folder(uri)
    if folder is not None:
        _sync_new([folder / TRANSACTIONS, folder / VERSIONS], began)


def sync_tag(dataset: LanceDataset, tag: str) -> None:
    folder = local_folder(dataset.uri)
    if folder is not None:
        _sync_file(folder / TAGS / f"{tag}.json")
        for each in (folder / TAGS, (folder / TAGS).parent, folder):
            sync_folder(each)


def now() -> float:
    """The clock that sets file times."""
    return time.time()


def manifest_path(folder: Path, version: int) -> Path:
    return folder / VERSIONS / f"{MANIFEST_NAMES_END - version:020d}{MANIFEST_SUFFIX}"


def _sync_new(folders: Iterable[Path], began: float) -> None:
    """Sync new files of these folders, and the folders."""
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(folder):
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file() and entry.stat().st_mtime >= began - CLOCK_SLACK_S:
                        _sync_file(Path(entry.path))
            sync_folder(folder)


def _sync_file(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
