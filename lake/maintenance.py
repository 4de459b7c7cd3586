"""Tables kept in shape: few files, few old versions, whatever is pinned or held untouched.

**A commit costs what the table's fragments number**, so small ones are merged when they have become many.
Only the newest are, as long as each next one is small or no larger than those merged so far: how often a
row is rewritten grows with the logarithm of the table.
**No reader loses a file that it opened**: before fragments are merged, the version that names them is
tagged as a lease; every version since the last merge is a part of it. Old versions without a tag lose their
manifest alone.
**Manifests never outgrow rows**: each names all fragments, so that of a table in a storm of commits only the
newest versions can be opened by number, and those that a tag holds.
**Tags are kept, and what was never committed is left to Lance's own floor of seven days.**
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, NamedTuple

from lance import LanceDataset
from lance.optimize import Compaction
from pydantic import BaseModel, ConfigDict

from lake.derived import open_dataset, table_names
from lake.layout import pin_tag
from lake.leases import end_lease, end_outdated, take_lease
from lake.manifests import manifest_paths, read_manifest
from lake.seen import seen_rows
from lake.stores.store import ObjectStore
from lake.table_care import restated, typed_panics, without_row_ages
from lake.table_races import outrun
from lake.table_sync import now, sync_data, sync_recent_commits
from lake.table_tags import protect, tags_of
from schemas.errors import CheckFailedError, TracelakeError
from schemas.events import CLASS_OF_KIND
from schemas.pin import Pin

_log = logging.getLogger("tracelake")


class Upkeep(NamedTuple):
    """When a table is put in order, and what is kept."""

    fragments_max: int = 32
    """More fragments that are not full yet are merged."""
    small_bytes: int = 2**16
    """A fragment of this size or less is merged with any."""
    fragment_bytes_max: int = 256 * 2**20
    """A fragment of this size is full."""
    batch_bytes: int = 8 * 2**20
    """Stored bytes that a merge holds at once, about."""
    versions_kept: int = 32
    """An event table's newest versions can be opened by number, however fast commits come."""
    version_age: timedelta = timedelta(minutes=1)
    """`maintain` leaves versions of an event table alone that are younger."""
    superseded_age: timedelta = timedelta(hours=1)
    """A reader that opened a version before a merge finds its files for this long at least."""
    derived_version_age: timedelta = timedelta(days=7)
    """As `version_age`, of a derived table."""


UPKEEP = Upkeep()


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
    if (
        sum(_size(each) < upkeep.fragment_bytes_max for each in dataset.get_fragments())
        <= upkeep.fragments_max
    ):
        return
    try:
        merge_fragments(dataset, upkeep)
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


def merge_fragments(dataset: LanceDataset, upkeep: Upkeep = UPKEEP) -> bool:
    """Merge the newest fragments; false if there are no two, or another commit came in between."""
    fragments = dataset.get_fragments()
    run = _run(fragments, upkeep)
    if len(run) < 2:
        return False
    rows = sum(fragment.metadata.physical_rows for fragment in run)
    row_bytes = max(1, sum(map(_size, run)) // max(1, rows))
    ids = {fragment.fragment_id for fragment in run}
    options: Any = {
        "target_rows_per_fragment": rows + 1,
        "batch_size": max(64, min(8192, upkeep.batch_bytes // row_bytes)),
        "num_threads": 1,
        "excluded_fragment_ids": [each.fragment_id for each in fragments if each.fragment_id not in ids],
    }
    hold = take_lease(dataset, restated(dataset).version, upkeep.superseded_age)
    try:
        with typed_panics(dataset.uri):
            done = _merged(dataset, options)
    except BaseException:
        end_lease(dataset, hold)
        raise
    if not done:
        end_lease(dataset, hold)
    return done


def remove_versions(dataset: LanceDataset, age: timedelta) -> None:
    """Versions of at least this age, without a tag and not the newest, and files that only they name."""
    _clean_up(dataset, older_than=age)


def keep_newest(dataset: LanceDataset, count: int) -> None:
    """As `remove_versions`, all but the newest ones."""
    _clean_up(dataset, retain_versions=count)


def _clean_up(dataset: LanceDataset, **which: Any) -> None:
    outrun(
        f"cleaning up {dataset.uri}",
        lambda: dataset.cleanup_old_versions(error_if_tagged_old_versions=False, **which),
    )


def _merged(dataset: LanceDataset, options: Any) -> bool:
    began = now()
    tasks = Compaction.plan(dataset, options).tasks
    results = [without_row_ages(task.execute(dataset)) for task in tasks]
    for result in results:
        sync_data(dataset.uri, result.new_fragments)
    if not results:
        return False
    Compaction.commit(dataset, results)
    sync_recent_commits(dataset.uri, began)
    before, after = (
        {file.path for result in results for each in getattr(result, side) for file in each.files}
        for side in ("original_fragments", "new_fragments")
    )
    seen_rows(dataset).compacted(before, after)
    return True


def _run(fragments: list[Any], upkeep: Upkeep) -> list[Any]:
    """The newest fragments, as far back as each is no larger than all after it."""
    run: list[Any] = []
    total = 0
    for fragment in reversed(fragments):
        size = _size(fragment)
        if total + size > upkeep.fragment_bytes_max or (run and size > max(total, upkeep.small_bytes)):
            break
        run.append(fragment)
        total += size
    return run


def _size(fragment: Any) -> int:
    return sum(file.file_size_bytes or 0 for file in fragment.metadata.files)


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
