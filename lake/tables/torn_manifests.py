"""Manifests that a power cut or a full disk left torn, and their quarantine.

**A torn newest manifest is moved aside, never deleted.** The version before it is the newest again, and an
event table then projects the missing rows. A torn older version stays where it is, and opening it fails.
**A table is checked once per process**, when the process first opens it: a power cut ends every process, so a
table cannot tear under a running one. `_checked` holds these tables, for all lakes of the process.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Generator
from contextvars import ContextVar
from pathlib import Path

import lance

from tracelake.lake.layout import QUARANTINE, TABLES
from tracelake.lake.stores.sync import make_folder, sync_folder
from tracelake.lake.tables.fsync import DATA, MANIFEST_NAMES_END, MANIFEST_SUFFIX, VERSIONS, local_folder
from tracelake.lake.tables.lance_errors import blames_environment, panics_as_errors
from tracelake.schemas.errors import CorruptFileError

MANIFEST_MAGIC = b"LANC"
TABLE_SUFFIX = ".lance"

_log = logging.getLogger("tracelake")
_checked: set[str] = set()
_disabled: ContextVar[bool] = ContextVar("quarantine_disabled", default=False)


def torn_newest_manifest(uri: str) -> Path | None:
    """The newest manifest of a local table if it is torn, or if a data file that it names is."""
    folder = local_folder(uri)
    if folder is None or not (folder / VERSIONS).is_dir():
        return None
    with contextlib.suppress(FileNotFoundError):
        # Plain names instead of paths: every commit lists them, one per version.
        names = [name for name in os.listdir(folder / VERSIONS) if name.endswith(MANIFEST_SUFFIX)]
        newest = folder / VERSIONS / min(names, default="")
        return None if not names or _is_intact(folder, newest) else newest
    # Another process removed that manifest: look again.
    return torn_newest_manifest(uri)


def quarantine_torn_manifests(uri: str) -> bool:
    """Move torn manifests aside until the newest one is intact; True if any was torn.

    Raises CorruptFileError if this process may not move it.
    """
    found = False
    while not _disabled.get() and (torn := torn_newest_manifest(uri)) is not None:
        try:
            target = move_to_quarantine(torn)
        except FileNotFoundError:
            # Another process has just moved it.
            continue
        except OSError as error:
            raise CorruptFileError(
                f"the newest version of table {uri} is torn",
                got=str(error),
                expected="permission to move it aside",
                cure="Run `tracelake build` as the owner of the lake.",
            ) from error
        _log.warning("moved a torn version of %s to %s", uri, target)
        found = True
    return found


def quarantine_torn_once(uri: str) -> None:
    """`quarantine_torn_manifests`, the first time that this process opens the table."""
    if uri not in _checked and not _disabled.get():
        quarantine_torn_manifests(uri)
        _checked.add(uri)


def quarantine_torn_tables(lake_uri: str) -> None:
    """`quarantine_torn_once` for every table of a lake, derived tables too: an audit would report one that
    nobody opens."""
    root = local_folder(lake_uri)
    if root is None or lake_uri in _checked or _disabled.get():
        return
    for table in sorted((root / TABLES).glob(f"*{TABLE_SUFFIX}")):
        quarantine_torn_once(str(table))
    _checked.add(lake_uri)


@contextlib.contextmanager
def quarantine_disabled() -> Generator[None]:
    """Nothing is moved in this context: an audit only reads."""
    token = _disabled.set(True)
    try:
        yield
    finally:
        _disabled.reset(token)


def raise_if_torn(uri: str) -> None:
    """Quarantine a commit that a full disk cut short, and raise OSError: Lance does not report it."""
    if quarantine_torn_manifests(uri):
        raise OSError(errno.EIO, "a commit was not written whole; is the disk full?", uri)


def forget_checked_tables() -> None:
    """Check every table again, as a new process does."""
    _checked.clear()


def move_to_quarantine(path: Path) -> Path:
    """Move a manifest, or a table's whole folder, into tables/quarantine; returns its new path."""
    table = next(folder for folder in (path, *path.parents) if folder.suffix == TABLE_SUFFIX)
    name = "-".join(path.relative_to(table.parent).parts)
    target = table.parent / QUARANTINE / f"{name}.{time.time_ns()}"
    make_folder(target.parent)
    os.rename(path, target)
    sync_folder(path.parent)
    sync_folder(target.parent)
    return target


def _is_intact(folder: Path, manifest: Path) -> bool:
    data = manifest.read_bytes()
    if len(data) < 16 or data[-4:] != MANIFEST_MAGIC:
        return False
    version = MANIFEST_NAMES_END - int(manifest.name.removesuffix(MANIFEST_SUFFIX))
    try:
        with panics_as_errors(str(manifest)):
            dataset = lance.dataset(str(folder), version=version)
            files = [file for fragment in dataset.get_fragments() for file in fragment.metadata.files]
    except (CorruptFileError, ValueError, OSError, RuntimeError) as error:
        # A cleanup may have removed the manifest while it was being read.
        return blames_environment(error) or not manifest.exists()
    complete = all(_has_size(folder / DATA / file.path, file.file_size_bytes) for file in files)
    return complete or not manifest.exists()


def _has_size(path: Path, size: int | None) -> bool:
    try:
        return size in (None, path.stat().st_size)
    except FileNotFoundError:
        return False
