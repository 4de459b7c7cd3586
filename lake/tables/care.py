"""What Lance leaves to its users: a head that a power cut tore, panics, rows written anew in one commit.

Beside lake/tables/commits.py the only file that calls pylance itself.

**A torn head is put aside, never deleted**, and the version before it is the head again: an event table then
projects the rest anew. A version that is not the head is left as it is, and opening it fails.
**Rust panics are no `Exception`**: `typed_panics` makes one of them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import time
from collections.abc import Generator, Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
from lance import LanceDataset, LanceOperation, Transaction

from tracelake.lake.layout import QUARANTINE, TABLES
from tracelake.lake.stores.sync import make_folder, sync_folder
from tracelake.lake.tables.fsync import (
    DATA,
    MANIFEST_NAMES_END,
    MANIFEST_SUFFIX,
    VERSIONS,
    local_folder,
    sync_commit,
    sync_data,
)
from tracelake.schemas.errors import CommitContendedError, CorruptFileError

MANIFEST_MAGIC = b"LANC"
TABLE_SUFFIX = ".lance"

# What the machine or a newer format refuses says nothing of the file: it is left where it is.
NOT_OF_THE_FILE = ("os error", "errno", "permission", "too many open", "supported", "feature", "upgrade")

_log = logging.getLogger("tracelake")
_looked_at: set[str] = set()
_left_as_is: ContextVar[bool] = ContextVar("left_as_is", default=False)


@contextlib.contextmanager
def typed_panics(what: str) -> Generator[None]:
    """Raises CorruptFileError instead of a panic of the Rust libraries."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise CorruptFileError(
            f"{what} cannot be read",
            got=str(error),
            expected="files that Lance wrote",
            cure="Run `tracelake rebuild`.",
        ) from error


def without_row_ages(result: Any) -> Any:
    """A merge that does not say which commit brought which of its rows.

    Lance keeps that in every manifest for each commit that was ever merged, so that manifests grow for ever.
    Of merged rows `_row_created_at_version` says 1.
    """
    fields = json.loads(result.json())
    for fragment in fields["new_fragments"]:
        fragment |= dict.fromkeys(("created_at_version_meta", "last_updated_at_version_meta"))
    return type(result).from_json(json.dumps(fields))


def as_of(result: Any, version: int) -> Any:
    """A merge as if it had been made of this version, in which all of its files must be."""
    return type(result).from_json(json.dumps({**json.loads(result.json()), "read_version": version}))


def restated(dataset: LanceDataset) -> LanceDataset:
    """The table as a version that brought nothing: its manifest names a fragment once, where one that brought
    rows names it three times. What is to be held for long is held as such a one. Raises OSError if another
    commit is in the way, or the disk is full."""
    transaction = Transaction(dataset.version, LanceOperation.UpdateConfig())
    committed = LanceDataset.commit(dataset, transaction)
    sync_commit(committed, transaction.uuid)
    refuse_torn(dataset.uri)
    return committed


def overwrite_rows(
    dataset: LanceDataset, schema: pa.Schema, batches: Iterable[pa.Table], notes: dict[str, Any]
) -> LanceDataset:
    """One commit that replaces all rows and the table's notes. Raises CommitContendedError if another commit
    came first: nothing has changed then."""
    fragments: list[Any] = []
    for rows in batches:
        written = lance.fragment.write_fragments(rows.cast(schema), dataset, mode="overwrite")
        fragments.extend(written)
        sync_data(dataset.uri, written)
    metadata = {**(schema.metadata or {}), **{key: json.dumps(note) for key, note in notes.items()}}
    operation = LanceOperation.Overwrite(schema.with_metadata(metadata), fragments)
    transaction = Transaction(dataset.version, operation)
    try:
        committed = LanceDataset.commit(dataset, transaction, max_retries=0)
    except OSError as error:
        raise CommitContendedError(
            f"table {dataset.uri} was written to meanwhile",
            got=str(error).partition("\n")[0],
            expected="no other projector",
            cure="Stop the projectors, then try again.",
        ) from error
    sync_commit(committed, transaction.uuid)
    return committed


def torn_head(uri: str) -> Path | None:
    """The newest manifest of a local table if it, or a data file that it names, is not what was written."""
    folder = local_folder(uri)
    if folder is None or not (folder / VERSIONS).is_dir():
        return None
    with contextlib.suppress(FileNotFoundError):
        # Names and no paths: there is one for each version that is kept, and this is asked at each commit.
        names = [name for name in os.listdir(folder / VERSIONS) if name.endswith(MANIFEST_SUFFIX)]
        newest = folder / VERSIONS / min(names, default="")
        return None if not names or _is_sound(folder, newest) else newest
    # Cleaned away, or put aside by another process: another manifest is the newest.
    return torn_head(uri)


def heal(uri: str) -> bool:
    """Put torn heads aside until the newest manifest is sound; true if there was one.

    Raises CorruptFileError if this process may not move it.
    """
    healed = False
    while not _left_as_is.get() and (torn := torn_head(uri)) is not None:
        try:
            to = put_aside(torn)
        except FileNotFoundError:
            # Another process has just moved it.
            continue
        except OSError as error:
            raise CorruptFileError(
                f"the newest version of table {uri} is torn",
                got=str(error),
                expected="leave to put it aside",
                cure="Run `tracelake build` as the owner of the lake.",
            ) from error
        _log.warning("a torn version of %s was put aside as %s", uri, to)
        healed = True
    return healed


@contextlib.contextmanager
def left_as_is() -> Generator[None]:
    """Nothing is put aside meanwhile by this thread: an audit only reads."""
    token = _left_as_is.set(True)
    try:
        yield
    finally:
        _left_as_is.reset(token)


def refuse_torn(uri: str) -> None:
    """Put aside what a full disk left of the newest commit, and raise OSError then: Lance does not tell."""
    if heal(uri):
        raise OSError(errno.EIO, "a commit was not written whole; is the disk full?", uri)


def heal_once(uri: str) -> None:
    """`heal`, the first time that this process meets the table: a power cut ends processes."""
    if uri not in _looked_at and not _left_as_is.get():
        heal(uri)
        _looked_at.add(uri)


def heal_tables(lake_uri: str) -> None:
    """`heal_once` for every table of a lake: a derived one may not be opened for long, but it is audited."""
    root = local_folder(lake_uri)
    if root is None or lake_uri in _looked_at or _left_as_is.get():
        return
    for table in sorted((root / TABLES).glob(f"*{TABLE_SUFFIX}")):
        heal_once(str(table))
    _looked_at.add(lake_uri)


def forget_tables() -> None:
    """As after a power cut, which no process survives."""
    _looked_at.clear()


def put_aside(path: Path) -> Path:
    """Move a manifest, or a table's folder, into `quarantine` beside the tables; gives its new place."""
    table = next(folder for folder in (path, *path.parents) if folder.suffix == TABLE_SUFFIX)
    name = "-".join(path.relative_to(table.parent).parts)
    place = table.parent / QUARANTINE / f"{name}.{time.time_ns()}"
    make_folder(place.parent)
    os.rename(path, place)
    sync_folder(path.parent)
    sync_folder(place.parent)
    return place


def _is_sound(folder: Path, manifest: Path) -> bool:
    data = manifest.read_bytes()
    if len(data) < 16 or data[-4:] != MANIFEST_MAGIC:
        return False
    version = MANIFEST_NAMES_END - int(manifest.name.removesuffix(MANIFEST_SUFFIX))
    try:
        with typed_panics(str(manifest)):
            dataset = lance.dataset(str(folder), version=version)
            files = [file for fragment in dataset.get_fragments() for file in fragment.metadata.files]
    except (CorruptFileError, ValueError, OSError, RuntimeError) as error:
        if any(word in str(error).lower() for word in NOT_OF_THE_FILE):
            return True
        # This one may have been cleaned away while it was looked at.
        return not manifest.exists()
    whole = all(_is_whole(folder / DATA / file.path, file.file_size_bytes) for file in files)
    return whole or not manifest.exists()


def _is_whole(path: Path, size: int | None) -> bool:
    try:
        return size in (None, path.stat().st_size)
    except FileNotFoundError:
        return False
