"""Small fragments of a table merged into one, whatever is committed meanwhile.

**Only the newest are**, as long as each next one is small or no larger than those merged so far: how often a
row is rewritten grows with the logarithm of the table.
**No reader loses a file that it opened**: before fragments are merged, a version that names them is tagged as
a lease; every version since the last merge is a part of it.
**A merge outlives other commits**: what it merged is as right in the table as it is then.
"""

from __future__ import annotations

from typing import Any

from lance import LanceDataset
from lance.optimize import Compaction

from tracelake.lake.maintenance.upkeep import UPKEEP, Upkeep
from tracelake.lake.stores.location import was_reset
from tracelake.lake.tables.care import as_of, restated, typed_panics, without_row_ages
from tracelake.lake.tables.commits import newest
from tracelake.lake.tables.fsync import now, sync_data, sync_recent_commits
from tracelake.lake.tables.lance_errors import RACES_MAX, lost_race
from tracelake.lake.tables.leases import end_lease, take_lease
from tracelake.lake.tables.seen import seen_rows


def mergeable(fragments: list[Any], upkeep: Upkeep = UPKEEP) -> list[Any]:
    """The newest fragments, as far back as each is no larger than all after it."""
    run: list[Any] = []
    total = 0
    for fragment in reversed(fragments):
        size = _stored_bytes(fragment)
        if total + size > upkeep.fragment_bytes_max or (run and size > max(total, upkeep.small_bytes)):
            break
        run.append(fragment)
        total += size
    return run


def merge_fragments(dataset: LanceDataset, upkeep: Upkeep = UPKEEP) -> bool:
    """Merge the newest fragments; false if there are no two, or another merge came in between."""
    fragments = dataset.get_fragments()
    run = mergeable(fragments, upkeep)
    if len(run) < 2:
        return False
    rows = sum(fragment.metadata.physical_rows for fragment in run)
    row_bytes = max(1, sum(map(_stored_bytes, run)) // max(1, rows))
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


def _merged(dataset: LanceDataset, options: Any) -> bool:
    began = now()
    tasks = Compaction.plan(dataset, options).tasks
    results = [without_row_ages(task.execute(dataset)) for task in tasks]
    for result in results:
        sync_data(dataset.uri, result.new_fragments)
    before, after = (
        {file.path for result in results for each in getattr(result, side) for file in each.files}
        for side in ("original_fragments", "new_fragments")
    )
    if not results or not _committed(dataset, results, before, after):
        return False
    sync_recent_commits(dataset.uri, began)
    seen_rows(dataset).compacted(before, after)
    return True


def _committed(dataset: LanceDataset, results: list[Any], before: set[str], after: set[str]) -> bool:
    """Rows that are merged stay right whatever was added since: the merge is one of the table as it is now.
    False once another merge took the files."""
    for _ in range(RACES_MAX):
        dataset = newest(dataset)
        files = {file.path for each in dataset.get_fragments() for file in each.metadata.files}
        # A connection that was reset did not tell that the commit stands.
        if after <= files or not before <= files:
            return after <= files
        try:
            Compaction.commit(dataset, [as_of(result, dataset.version) for result in results])
            return True
        except (ValueError, OSError, RuntimeError) as error:
            if not lost_race(error) and not was_reset(error):
                raise
    return False


def _stored_bytes(fragment: Any) -> int:
    return sum(file.file_size_bytes or 0 for file in fragment.metadata.files)
