"""Commits of Lance made durable on a local disk; nothing is done for other places.

**Data before the manifest that names it, the manifest before anyone is told.** Lance syncs nothing: the data
files of a commit are synced before it is made, its manifest and transaction after.
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
"""A manifest's name is this less its version, so that the newest is listed first."""
CLOCK_SLACK_S = 2.0


def local_folder(uri: str) -> Path | None:
    """The folder of a table on a local disk; null for any other place."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return Path(uri)
    return Path(rest) if scheme == "file" else None


def sync_data(dataset_uri: str, fragments: Iterable[Any]) -> None:
    """Make data files durable that no manifest names yet. Raises OSError for one that is not whole."""
    folder = local_folder(dataset_uri)
    files = [file for fragment in fragments for file in fragment.files]
    if folder is None or not files:
        return
    for file in files:
        path = folder / DATA / file.path
        _sync_file(path)
        # Lance loses the error of a file's last write, and gives the file its name all the same.
        if file.file_size_bytes not in (None, path.stat().st_size):
            raise OSError(errno.EIO, "a data file was not written whole; is the disk full?", str(path))
    sync_folder(folder / DATA)


def sync_commit(dataset: LanceDataset, transaction_uuid: str) -> None:
    """Make a commit durable whose data files are."""
    folder = local_folder(dataset.uri)
    if folder is None:
        return
    transactions = folder / TRANSACTIONS
    name = f"{dataset.version - 1}-{transaction_uuid}.txn"
    # Lance's own way of naming; where it has another one, what bears the identifier is looked for.
    found = [name] if (transactions / name).exists() else os.listdir(transactions)
    for name in found:
        if transaction_uuid in name:
            _sync_file(transactions / name)
    _sync_file(manifest_path(folder, dataset.version))
    sync_folder(transactions)
    sync_folder(folder / VERSIONS)


def sync_recent(uri: str, began: float) -> None:
    """Make everything durable that was written to a table since `began`, seconds since 1970."""
    folder = local_folder(uri)
    if folder is None or not folder.is_dir():
        return
    folders = [Path(root) for root, _, _ in os.walk(folder)]
    _sync_new(folders, began)
    for each in (folder.parent, folder.parent.parent):
        with contextlib.suppress(FileNotFoundError):
            sync_folder(each)


def sync_recent_commits(uri: str, began: float) -> None:
    """As `sync_recent`, of commits whose data files are durable: they may be thousands."""
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
    """The clock that file times are compared with."""
    return time.time()


def manifest_path(folder: Path, version: int) -> Path:
    return folder / VERSIONS / f"{MANIFEST_NAMES_END - version:020d}{MANIFEST_SUFFIX}"


def _sync_new(folders: Iterable[Path], began: float) -> None:
    """Files of these folders, and the folders."""
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
