"""Tags of Lance tables: they keep versions from cleanup. Pins tag versions for ever, leases for a time.

**A tag is written once**: it never moves to another version.
**A lease is a tag whose name contains its expiry time**, so taking one is a single write.
**A lease ends with its reader, or by itself**: maintenance removes expired leases.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

from lance import LanceDataset

from tracelake.lake.stores.request_errors import raise_if_unavailable
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.commits import reopen_newest
from tracelake.lake.tables.derived import open_dataset
from tracelake.lake.tables.fsync import sync_tag
from tracelake.lake.tables.lance_errors import (
    RACES_MAX,
    contended,
    is_gone,
    is_tag_conflict,
    retry_on_conflict,
)
from tracelake.schemas.errors import TableMissingError

LEASE_PREFIX = "lease-"
LEASE_DURATION = timedelta(days=1)


def tags_of(dataset: LanceDataset) -> dict[str, Any]:
    """Tags with their versions. Lance lists names, then reads each one; if a tag is removed in between, the
    list is read again."""
    return retry_on_conflict("listing the tags of a table", lambda: dict(dataset.tags.list()), is_gone)


def create_tag(dataset: LanceDataset, tag: str, version: int) -> bool:
    """Protect a version from cleanup. False if the tag names another version, or the version is gone. Raises
    StoreUnavailableError, CommitContendedError."""
    for _ in range(RACES_MAX):
        try:
            dataset.tags.create(tag, version)
        except (ValueError, OSError) as error:
            existing = tags_of(dataset).get(tag, {}).get("version")
            if existing is not None or is_gone(error):
                return existing == version
            if not is_tag_conflict(error):
                raise_if_unavailable(dataset.uri, error)
                raise
        else:
            sync_tag(dataset, tag)
            return True
    raise contended(f"tagging {dataset.uri.rsplit('/', 1)[-1]}")


@contextlib.contextmanager
def leased(
    store: ObjectStore, table: str, version: int | None = None, *, duration: timedelta = LEASE_DURATION
) -> Generator[int]:
    """Lease a version, the newest by default, and yield its number. Raises TableMissingError."""
    dataset = open_dataset(store, table, version)
    if version is None:
        version, tag = lease_newest(dataset, duration)
    else:
        tag = take_lease(dataset, version, duration)
    try:
        yield version
    finally:
        end_lease(dataset, tag)


def lease_newest(dataset: LanceDataset, duration: timedelta) -> tuple[int, str]:
    """Lease the open version, or the newest one if cleanup has already removed it: commits may come faster
    than a slow process leases. Returns version and tag. Raises CommitContendedError."""
    for _ in range(RACES_MAX):
        with contextlib.suppress(TableMissingError):
            return dataset.version, take_lease(dataset, dataset.version, duration)
        dataset = reopen_newest(dataset)
    raise contended(f"leasing {dataset.uri.rsplit('/', 1)[-1]}")


def take_lease(dataset: LanceDataset, version: int, duration: timedelta) -> str:
    """Returns the tag. Raises TableMissingError if cleanup has removed the version."""
    expiry = int((datetime.now(UTC) + duration).timestamp())
    tag = f"{LEASE_PREFIX}{expiry}-{uuid.uuid4().hex[:12]}"
    if not create_tag(dataset, tag, version):
        raise TableMissingError(
            f"version {version} of {dataset.uri.rsplit('/', 1)[-1]} cannot be leased",
            got="a version that does not exist",
            expected="a version that cleanup has not removed",
            cure="Open the newest version.",
        )
    return tag


def end_lease(dataset: LanceDataset, tag: str) -> None:
    """Does nothing if the lease has ended already."""
    with contextlib.suppress(ValueError, OSError):
        dataset.tags.delete(tag)


def end_expired_leases(dataset: LanceDataset) -> int:
    """Returns the number of leases that had expired."""
    now = datetime.now(UTC).timestamp()
    expired = [tag for tag in tags_of(dataset) if (expiry := _expiry(tag)) is not None and expiry < now]
    for tag in expired:
        end_lease(dataset, tag)
    return len(expired)


def _expiry(tag: str) -> int | None:
    """Seconds since 1970; None for a tag that is not a lease."""
    expiry = tag.removeprefix(LEASE_PREFIX).partition("-")[0]
    return int(expiry) if tag.startswith(LEASE_PREFIX) and expiry.isdecimal() else None
