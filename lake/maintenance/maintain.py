"""Maintenance of tables: few files, few old versions; pinned and leased versions stay.

Flow: `maintain_if_due` after a commit, or `maintain` on request → merge small fragments (`merging.py`) → end
expired leases → remove old versions without a tag.

**A commit costs in proportion to the table's fragments**, so many small ones are merged.
**No reader loses a file that it has open**: an old version without a tag loses only its manifest at first.
**Manifests never outgrow rows**: every manifest names all fragments, so after fast commits only the newest
versions and the tagged ones can still be opened.
**Uncommitted files are left to Lance**, which removes them after seven days.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from lance import LanceDataset
from pydantic import BaseModel, ConfigDict

from tracelake.lake.layout import pin_tag
from tracelake.lake.maintenance.limits import DEFAULT_LIMITS, MaintenanceLimits
from tracelake.lake.maintenance.merging import merge_fragments, mergeable_fragments
from tracelake.lake.pins.manifests import manifest_paths, read_manifest
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.derived import open_dataset, table_names
from tracelake.lake.tables.lance_errors import is_gone, retry_on_conflict
from tracelake.lake.tables.tags import create_tag, end_expired_leases, tags_of
from tracelake.schemas.errors import CheckFailedError, TracelakeError
from tracelake.schemas.events.kinds import CLASS_OF_KIND
from tracelake.schemas.pin import Pin

_log = logging.getLogger("tracelake")


class TableMaintenance(BaseModel):
    """The effect of maintenance on one table."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    table: str
    fragment_counts: tuple[int, int]
    """Before and after."""
    version_counts: tuple[int, int]
    """Before and after."""
    data_byte_counts: tuple[int, int]
    """Before and after; files of older versions that stay are included."""
    metadata_byte_counts: tuple[int, int]
    """Before and after: all files that contain no rows."""
    ended_lease_count: int
    """Expired leases."""
    restored_tag_count: int
    """Pinned versions that had lost their tag."""
    problem: str | None = None
    """The error that stopped maintenance of the table; null if there was none."""


def maintain_if_due(dataset: LanceDataset, limits: MaintenanceLimits = DEFAULT_LIMITS) -> None:
    """Maintain an event table if it has too many small fragments. Errors are logged only, because the
    caller's rows are committed already."""
    if len(mergeable_fragments(dataset.get_fragments(), limits)) <= limits.fragments_max:
        return
    try:
        if merge_fragments(dataset, limits):
            end_expired_leases(dataset)
            keep_newest_versions(dataset, limits.newest_versions_min)
    except (TracelakeError, OSError, ValueError, RuntimeError) as error:
        _log.warning("maintenance of %s was postponed: %s", dataset.uri, error)


def maintain(
    store: ObjectStore, tables: list[str] | None = None, limits: MaintenanceLimits = DEFAULT_LIMITS
) -> list[TableMaintenance]:
    """Maintain all tables, or those named, now. Raises TableMissingError."""
    pins = _readable_pins(store)
    return [_maintain_table(store, name, pins, limits) for name in tables or table_names(store)]


def remove_old_versions(dataset: LanceDataset, age: timedelta) -> None:
    """Remove versions of at least this age, and files that only they name; not the newest version, and none
    with a tag."""
    _clean_up(dataset, older_than=age)


def keep_newest_versions(dataset: LanceDataset, count: int) -> None:
    """`remove_old_versions` for all but the newest ones."""
    _clean_up(dataset, retain_versions=count)


def _clean_up(dataset: LanceDataset, **which: Any) -> None:
    # A lease that ends, or another cleanup, may remove files while this one reads them.
    retry_on_conflict(
        f"cleaning up {dataset.uri}",
        lambda: dataset.cleanup_old_versions(error_if_tagged_old_versions=False, **which),
        is_gone,
    )


def _maintain_table(
    store: ObjectStore, name: str, pins: list[Pin], limits: MaintenanceLimits
) -> TableMaintenance:
    dataset = open_dataset(store, name)
    before = _sizes(dataset)
    ended_leases = restored_tags = 0
    problem: str | None = None
    try:
        restored_tags = _restore_tags(dataset, name, pins)
        if name in CLASS_OF_KIND:
            merge_fragments(dataset, limits)
        ended_leases = end_expired_leases(dataset)
        age = limits.version_age if name in CLASS_OF_KIND else limits.derived_version_age
        remove_old_versions(open_dataset(store, name), age)
    except (TracelakeError, OSError, ValueError, RuntimeError) as error:
        problem = str(error)
    after = _sizes(open_dataset(store, name))
    fragments, versions, data, metadata = zip(before, after, strict=True)
    return TableMaintenance(
        table=name,
        fragment_counts=fragments,
        version_counts=versions,
        data_byte_counts=data,
        metadata_byte_counts=metadata,
        ended_lease_count=ended_leases,
        restored_tag_count=restored_tags,
        problem=problem,
    )


def _sizes(dataset: LanceDataset) -> tuple[int, int, int, int]:
    """Fragments, versions, bytes of rows, other bytes."""
    files = dataset.all_files().read_all().to_pylist()
    data = sum(each["size_bytes"] for each in files if each["path"].startswith("data/"))
    versions = sum(each["path"].endswith(".manifest") for each in files)
    return len(dataset.get_fragments()), versions, data, sum(each["size_bytes"] for each in files) - data


def _restore_tags(dataset: LanceDataset, name: str, pins: list[Pin]) -> int:
    """Tag pinned versions again that have lost their tag, before cleanup can remove them."""
    tags = tags_of(dataset)
    untagged = [pin for pin in pins if name in pin.tables and pin_tag(pin.name, pin.number) not in tags]
    return sum(
        create_tag(dataset, pin_tag(pin.name, pin.number), pin.tables[name].version) for pin in untagged
    )


def _readable_pins(store: ObjectStore) -> list[Pin]:
    pins: list[Pin] = []
    for path in manifest_paths(store):
        try:
            pins.append(read_manifest(store, path))
        except CheckFailedError as error:
            _log.warning("skipped an unreadable pin: %s", error)
    return pins
