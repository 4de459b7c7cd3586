"""Tables kept in shape: few files, few old versions, whatever is pinned or held untouched.

**A commit costs what the table's fragments number**, so small ones are merged (`merging.py`) when
they have become many.
**No reader loses a file that it opened**: old versions without a tag lose their manifest alone.
**Manifests never outgrow rows**: each names all fragments, so that of a table in a storm of commits only the
newest versions can be opened by number, and those that a tag holds.
**Tags are kept, and what was never committed is left to Lance's own floor of seven days.**
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from lance import LanceDataset
from pydantic import BaseModel, ConfigDict

from tracelake.lake.layout import pin_tag
from tracelake.lake.maintenance.merging import merge_fragments, mergeable
from tracelake.lake.maintenance.upkeep import UPKEEP, Upkeep
from tracelake.lake.pins.manifests import manifest_paths, read_manifest
from tracelake.lake.stores.store import ObjectStore
from tracelake.lake.tables.derived import open_dataset, table_names
from tracelake.lake.tables.lance_errors import is_gone, outrun
from tracelake.lake.tables.leases import end_outdated
from tracelake.lake.tables.tags import protect, tags_of
from tracelake.schemas.errors import CheckFailedError, TracelakeError
from tracelake.schemas.events.kinds import CLASS_OF_KIND
from tracelake.schemas.pin import Pin

_log = logging.getLogger("tracelake")


class TableUpkeep(BaseModel):
    """What maintenance did to one table."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    table: str
    fragment_counts: tuple[int, int]
    """Before and after."""
    version_counts: tuple[int, int]
    """Before and after."""
    data_byte_counts: tuple[int, int]
    """Before and after; files of kept versions count."""
    metadata_byte_counts: tuple[int, int]
    """Before and after: everything that is not rows."""
    ended_lease_count: int
    """Leases whose time was over."""
    restored_tag_count: int
    """Pinned versions that had lost their tag."""
    problem: str | None = None
    """Why the table was left as it is; null if it was not."""


def tend(dataset: LanceDataset, upkeep: Upkeep = UPKEEP) -> None:
    """Put an event table in order if it is time. What goes wrong is logged: the rows are committed anyway."""
    if len(mergeable(dataset.get_fragments(), upkeep)) <= upkeep.fragments_max:
        return
    try:
        if merge_fragments(dataset, upkeep):
            end_outdated(dataset)
            keep_newest(dataset, upkeep.versions_kept)
    except (TracelakeError, OSError, ValueError, RuntimeError) as error:
        _log.warning("upkeep of %s was put off: %s", dataset.uri, error)


def maintain(
    store: ObjectStore, tables: list[str] | None = None, upkeep: Upkeep = UPKEEP
) -> list[TableUpkeep]:
    """Put tables in order now, all of them or those named. Raises TableMissingError."""
    pins = _readable_pins(store)
    return [_maintained(store, name, pins, upkeep) for name in tables or table_names(store)]


def remove_versions(dataset: LanceDataset, age: timedelta) -> None:
    """Versions of at least this age, without a tag and not the newest, and files that only they name."""
    _clean_up(dataset, older_than=age)


def keep_newest(dataset: LanceDataset, count: int) -> None:
    """As `remove_versions`, all but the newest ones."""
    _clean_up(dataset, retain_versions=count)


def _clean_up(dataset: LanceDataset, **which: Any) -> None:
    # A lease that ends while the tags are read is looked for in vain, as is what another cleanup takes.
    outrun(
        f"cleaning up {dataset.uri}",
        lambda: dataset.cleanup_old_versions(error_if_tagged_old_versions=False, **which),
        is_gone,
    )


def _maintained(store: ObjectStore, name: str, pins: list[Pin], upkeep: Upkeep) -> TableUpkeep:
    dataset = open_dataset(store, name)
    before = _measured(dataset)
    ended = restored = 0
    problem: str | None = None
    try:
        restored = _restored_tags(dataset, name, pins)
        if name in CLASS_OF_KIND:
            merge_fragments(dataset, upkeep)
        ended = end_outdated(dataset)
        age = upkeep.version_age if name in CLASS_OF_KIND else upkeep.derived_version_age
        remove_versions(open_dataset(store, name), age)
    except (TracelakeError, OSError, ValueError, RuntimeError) as error:
        problem = str(error)
    after = _measured(open_dataset(store, name))
    counts = dict(
        zip(
            ("fragment_counts", "version_counts", "data_byte_counts", "metadata_byte_counts"),
            zip(before, after, strict=True),
            strict=True,
        )
    )
    return TableUpkeep(
        table=name, ended_lease_count=ended, restored_tag_count=restored, problem=problem, **counts
    )


def _measured(dataset: LanceDataset) -> tuple[int, int, int, int]:
    """Fragments, versions, bytes of rows, other bytes."""
    files = dataset.all_files().read_all().to_pylist()
    data = sum(each["size_bytes"] for each in files if each["path"].startswith("data/"))
    versions = sum(each["path"].endswith(".manifest") for each in files)
    return len(dataset.get_fragments()), versions, data, sum(each["size_bytes"] for each in files) - data


def _restored_tags(dataset: LanceDataset, name: str, pins: list[Pin]) -> int:
    """Pins whose tag was lost: a version that a pin names is never cleaned away."""
    tags = tags_of(dataset)
    lost = [pin for pin in pins if name in pin.tables and pin_tag(pin.name, pin.number) not in tags]
    return sum(protect(dataset, pin_tag(pin.name, pin.number), pin.tables[name].version) for pin in lost)


def _readable_pins(store: ObjectStore) -> list[Pin]:
    pins: list[Pin] = []
    for path in manifest_paths(store):
        try:
            pins.append(read_manifest(store, path))
        except CheckFailedError as error:
            _log.warning("a pin was passed over: %s", error)
    return pins
