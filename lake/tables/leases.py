"""Leases: a reader's hold on one version of a table that no pin names.

**A lease is a tag whose name says until when**, so that taking one is a single write. Cleanup keeps what a
tag names.
**It ends with its reader, or by itself**: maintenance removes the leases whose time is over.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Generator
from datetime import UTC, datetime, timedelta

from lance import LanceDataset

from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.commits import newest
from tracelake.lake.tables.derived import open_dataset
from tracelake.lake.tables.lance_errors import RACES_MAX, contended
from tracelake.lake.tables.tags import protect, tags_of
from tracelake.schemas.errors import TableMissingError

PREFIX = "lease-"
READER_LEASE = timedelta(days=1)


@contextlib.contextmanager
def leased(
    store: ObjectStore, table: str, version: int | None = None, *, lasts: timedelta = READER_LEASE
) -> Generator[int]:
    """Holds a version, the newest by default, and gives its number. Raises TableMissingError."""
    dataset = open_dataset(store, table, version)
    if version is None:
        version, tag = take_lease_of_newest(dataset, lasts)
    else:
        tag = take_lease(dataset, version, lasts)
    try:
        yield version
    finally:
        end_lease(dataset, tag)


def take_lease_of_newest(dataset: LanceDataset, lasts: timedelta) -> tuple[int, str]:
    """Gives version and tag. Whoever is held up after opening a table in a storm of commits holds what it is
    then. Raises CommitContendedError."""
    for _ in range(RACES_MAX):
        with contextlib.suppress(TableMissingError):
            return dataset.version, take_lease(dataset, dataset.version, lasts)
        dataset = newest(dataset)
    raise contended(f"holding {dataset.uri.rsplit('/', 1)[-1]}")


def take_lease(dataset: LanceDataset, version: int, lasts: timedelta) -> str:
    """Gives the tag. Raises TableMissingError if cleanup was quicker."""
    until = int((datetime.now(UTC) + lasts).timestamp())
    tag = f"{PREFIX}{until}-{uuid.uuid4().hex[:12]}"
    if not protect(dataset, tag, version):
        raise TableMissingError(
            f"version {version} of {dataset.uri.rsplit('/', 1)[-1]} cannot be held",
            got="a version that is not there",
            expected="a version that cleanup has kept",
            cure="Open the newest version.",
        )
    return tag


def end_lease(dataset: LanceDataset, tag: str) -> None:
    """Done if it has ended already."""
    with contextlib.suppress(ValueError, OSError):
        dataset.tags.delete(tag)


def end_outdated(dataset: LanceDataset) -> int:
    """How many leases' time was over."""
    now = datetime.now(UTC).timestamp()
    outdated = [tag for tag in tags_of(dataset) if (until := _until(tag)) is not None and until < now]
    for tag in outdated:
        end_lease(dataset, tag)
    return len(outdated)


def _until(tag: str) -> int | None:
    """Null for a tag that is no lease."""
    until = tag.removeprefix(PREFIX).partition("-")[0]
    return int(until) if tag.startswith(PREFIX) and until.isdecimal() else None
