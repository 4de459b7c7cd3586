"""Merging a table's small fragments while others commit to it.

**Only the newest fragments are merged**, going back while each one is small or no larger than those after it
together: a row is rewritten a number of times that grows with the logarithm of the table.
**No reader loses a file that it has open**: before a merge, a version that names the old fragments is leased.
Every version since the previous merge uses a subset of its files.
**A merge survives other commits**: rows of event tables never change, so merged rows are right in every later
version that still has the old files.
"""

from __future__ import annotations

import json
from typing import Any

from lance import LanceDataset
from lance.optimize import Compaction

from tracelake.lake.maintenance.limits import DEFAULT_LIMITS, MaintenanceLimits
from tracelake.lake.tables.commits import commit_empty_version, reopen_newest
from tracelake.lake.tables.fingerprints import fingerprints_of
from tracelake.lake.tables.fsync import now, sync_data, sync_recent_commits
from tracelake.lake.tables.lance_errors import RACES_MAX, panics_as_errors, should_retry
from tracelake.lake.tables.tags import end_lease, take_lease


def mergeable_fragments(fragments: list[Any], limits: MaintenanceLimits = DEFAULT_LIMITS) -> list[Any]:
    """The newest fragments, going back while each is small or no larger than all after it."""
    run: list[Any] = []
    total = 0
    for fragment in reversed(fragments):
        size = _stored_bytes(fragment)
        if total + size > limits.fragment_bytes_max or (run and size > max(total, limits.small_bytes)):
            break
        run.append(fragment)
        total += size
    return run


def merge_fragments(dataset: LanceDataset, limits: MaintenanceLimits = DEFAULT_LIMITS) -> bool:
    """Merge the newest fragments. False if there are fewer than two, or if another merge came first."""
    fragments = dataset.get_fragments()
    run = mergeable_fragments(fragments, limits)
    if len(run) < 2:
        return False
    rows = sum(fragment.metadata.physical_rows for fragment in run)
    row_bytes = max(1, sum(map(_stored_bytes, run)) // max(1, rows))
    ids = {fragment.fragment_id for fragment in run}
    options: Any = {
        "target_rows_per_fragment": rows + 1,
        "batch_size": max(64, min(8192, limits.batch_bytes // row_bytes)),
        "num_threads": 1,
        "excluded_fragment_ids": [each.fragment_id for each in fragments if each.fragment_id not in ids],
    }
    lease = take_lease(dataset, commit_empty_version(dataset).version, limits.superseded_age)
    try:
        with panics_as_errors(dataset.uri):
            merged = _compact(dataset, options)
    except BaseException:
        end_lease(dataset, lease)
        raise
    if not merged:
        end_lease(dataset, lease)
    return merged


def _compact(dataset: LanceDataset, options: Any) -> bool:
    began = now()
    tasks = Compaction.plan(dataset, options).tasks
    results = [_without_row_versions(task.execute(dataset)) for task in tasks]
    for result in results:
        sync_data(dataset.uri, result.new_fragments)
    old_files, new_files = (
        {file.path for result in results for each in getattr(result, side) for file in each.files}
        for side in ("original_fragments", "new_fragments")
    )
    if not results or not _commit(dataset, results, old_files, new_files):
        return False
    sync_recent_commits(dataset.uri, began)
    fingerprints_of(dataset).replace_files(old_files, new_files)
    return True


def _commit(dataset: LanceDataset, results: list[Any], old_files: set[str], new_files: set[str]) -> bool:
    """Commit the merge onto the table as it is now. False if another merge has replaced the old files."""
    for _ in range(RACES_MAX):
        dataset = reopen_newest(dataset)
        files = {file.path for each in dataset.get_fragments() for file in each.metadata.files}
        if new_files <= files:
            # The previous attempt was committed; a reset connection hid that.
            return True
        if not old_files <= files:
            return False
        try:
            Compaction.commit(dataset, [_based_on(result, dataset.version) for result in results])
            return True
        except (ValueError, OSError, RuntimeError) as error:
            if not should_retry(dataset.uri, error):
                raise
    return False


def _without_row_versions(result: Any) -> Any:
    """Drop the record of which commit added which row.

    Lance writes it to every manifest, for each commit that was ever merged, so manifests would grow for ever.
    `_row_created_at_version` is 1 for merged rows.
    """
    fields = json.loads(result.json())
    for fragment in fields["new_fragments"]:
        fragment |= dict.fromkeys(("created_at_version_meta", "last_updated_at_version_meta"))
    return type(result).from_json(json.dumps(fields))


def _based_on(result: Any, version: int) -> Any:
    """The merge as if it had been computed from this version, which must have all of its old files."""
    return type(result).from_json(json.dumps({**json.loads(result.json()), "read_version": version}))


def _stored_bytes(fragment: Any) -> int:
    return sum(file.file_size_bytes or 0 for file in fragment.metadata.files)
