"""Goal: a merge changes only where rows are stored, whatever is committed while it runs.

Method: handles of outdated versions of a table, as a suspended process has them.
"""

from __future__ import annotations

from pathlib import Path

from tests.lake.facts import reward, table_ids
from tests.lake.maintenance.test_maintain import KIND, dataset, grow
from tracelake.lake import Lake
from tracelake.lake.layout import table_path
from tracelake.lake.maintenance.limits import DEFAULT_LIMITS
from tracelake.lake.maintenance.maintain import maintain_if_due
from tracelake.lake.maintenance.merging import merge_fragments, mergeable_fragments
from tracelake.lake.tables.tags import tags_of


def test_a_large_fragment_is_not_rewritten_for_small_ones(fresh_lake: Lake) -> None:
    with fresh_lake.writer("large") as writer:
        writer.append([reward(index) for index in range(1000, 2000)])
    fresh_lake.project()
    [large] = dataset(fresh_lake).get_fragments()
    grow(fresh_lake, range(3))
    small = DEFAULT_LIMITS._replace(small_bytes=large.metadata.files[0].file_size_bytes // 4)
    assert merge_fragments(dataset(fresh_lake), small)
    first, _ = dataset(fresh_lake).get_fragments()
    assert first.metadata.files[0].path == large.metadata.files[0].path
    assert not merge_fragments(dataset(fresh_lake), DEFAULT_LIMITS._replace(fragment_bytes_max=1))


def test_unmergeable_fragments_do_not_trigger_a_merge(fresh_lake: Lake) -> None:
    for start in range(0, 3000, 1000):
        with fresh_lake.writer("large") as writer:
            writer.append([reward(index) for index in range(start, start + 1000)])
        fresh_lake.project()
    larges = dataset(fresh_lake).get_fragments()
    size = max(each.metadata.files[0].file_size_bytes for each in larges)
    narrow = DEFAULT_LIMITS._replace(fragments_max=3, small_bytes=1, fragment_bytes_max=int(1.5 * size))
    grow(fresh_lake, range(5000, 5003))
    assert len(mergeable_fragments(dataset(fresh_lake).get_fragments(), narrow)) == 3
    maintain_if_due(dataset(fresh_lake), narrow)
    assert len(dataset(fresh_lake).get_fragments()) == 6
    grow(fresh_lake, range(5003, 5004))
    maintain_if_due(dataset(fresh_lake), narrow)
    assert [each.count_rows() for each in dataset(fresh_lake).get_fragments()] == [1000, 1000, 1000, 4]


def test_a_merge_is_committed_onto_later_commits(fresh_lake: Lake) -> None:
    grow(fresh_lake, range(4))
    outdated = dataset(fresh_lake)
    grow(fresh_lake, range(4, 6), "other")
    ids = table_ids(fresh_lake, KIND)
    assert merge_fragments(outdated)
    assert sorted(each.count_rows() for each in dataset(fresh_lake).get_fragments()) == [1, 1, 4]
    assert table_ids(fresh_lake, KIND) == ids
    assert fresh_lake.project([KIND]) == {KIND: 0}


def test_only_one_of_two_merges_of_the_same_files_is_committed(fresh_lake: Lake) -> None:
    grow(fresh_lake, range(4))
    outdated = dataset(fresh_lake)
    assert merge_fragments(dataset(fresh_lake))
    ids, leases = table_ids(fresh_lake, KIND), tags_of(outdated)
    assert not merge_fragments(outdated)
    assert len(dataset(fresh_lake).get_fragments()) == 1
    assert table_ids(fresh_lake, KIND) == ids
    assert tags_of(outdated) == leases


def test_repeated_merges_leave_manifests_small(fresh_lake: Lake) -> None:
    sizes: list[int] = []
    for start in range(0, 24, 6):
        grow(fresh_lake, range(start, start + 6))
        merge_fragments(dataset(fresh_lake))
        newest = min(Path(fresh_lake.store.location(table_path(KIND)), "_versions").glob("*.manifest"))
        sizes.append(newest.stat().st_size)
    # A manifest repeats its transaction, which names the merged fragments; the table itself does not grow.
    assert max(sizes[1:]) - min(sizes[1:]) < 400
