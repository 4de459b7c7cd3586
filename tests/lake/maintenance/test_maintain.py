"""Goal: maintenance changes only where rows are stored, whatever reads, pins and projects at the same time.

Method: limits without minimum ages make every commit worth maintenance; readers have pins, leases and open
handles meanwhile; projectors and maintenance race in threads and processes.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from datetime import timedelta
from pathlib import Path

import lance
import pytest

from tests.lake.facts import digests, reward, table_ids
from tests.lake.store_wrappers import InterruptedReadStore
from tracelake.lake import Lake
from tracelake.lake.layout import pin_tag
from tracelake.lake.maintenance.limits import DEFAULT_LIMITS
from tracelake.lake.maintenance.maintain import maintain, maintain_if_due, remove_old_versions
from tracelake.lake.stores.local_store import LocalStore
from tracelake.lake.tables.derived import Derivation, open_dataset
from tracelake.lake.tables.fsync import manifest_path
from tracelake.lake.tables.tags import lease_newest, leased, tags_of, take_lease
from tracelake.schemas.errors import TableMissingError

KIND = "reward_assigned"
AT_ONCE = timedelta(0)
EAGER = DEFAULT_LIMITS._replace(fragments_max=3, version_age=AT_ONCE, superseded_age=AT_ONCE)
# Protects running projectors only.
BUSY = EAGER._replace(superseded_age=timedelta(minutes=5))


def grow(lake: Lake, indices: range, run_id: str = "run") -> None:
    """A commit for each index."""
    with lake.writer(run_id) as writer:
        for index in indices:
            writer.append([reward(index)])
            writer.flush()
            lake.project([KIND])


def dataset(lake: Lake) -> lance.LanceDataset:
    return open_dataset(lake.store, KIND)


def versions(lake: Lake) -> list[int]:
    return [each["version"] for each in dataset(lake).versions()]


def test_rows_pins_and_cursor_are_the_same_after_maintenance(fresh_lake: Lake) -> None:
    for start in range(0, 6, 2):
        grow(fresh_lake, range(start, start + 2))
        fresh_lake.pin("p", [KIND])
        before = digests(fresh_lake)
        maintain(fresh_lake.store, None, EAGER)
        assert digests(fresh_lake) == before
        assert len(dataset(fresh_lake).get_fragments()) == 1
        for number in range(1, start // 2 + 2):
            opened = fresh_lake.open_pin(f"p@{number}")
            assert opened.scan(KIND).collect().height == 2 * number
        assert fresh_lake.project([KIND]) == {KIND: 0}
    assert fresh_lake.verify(deep=True).problems == ()


def test_a_projection_merges_many_small_fragments(fresh_lake: Lake) -> None:
    grow(fresh_lake, range(DEFAULT_LIMITS.fragments_max + 1))
    assert len(dataset(fresh_lake).get_fragments()) == 1
    assert len(set(table_ids(fresh_lake, KIND))) == DEFAULT_LIMITS.fragments_max + 1
    newest = dataset(fresh_lake).version
    assert versions(fresh_lake) == list(range(newest - DEFAULT_LIMITS.newest_versions_min + 1, newest + 1))
    # The version leased for readers added no rows, and comes right after the last one that did.
    [lease] = tags_of(dataset(fresh_lake)).values()
    leased_size, append_size = (
        manifest_path(Path(dataset(fresh_lake).uri), version).stat().st_size
        for version in (lease["version"], lease["version"] - 1)
    )
    assert leased_size < 0.6 * append_size
    assert fresh_lake.verify(deep=True).ok


def test_few_fragments_are_left_alone(fresh_lake: Lake) -> None:
    grow(fresh_lake, range(3))
    maintain_if_due(dataset(fresh_lake), EAGER)
    assert len(dataset(fresh_lake).get_fragments()) == 3


def test_a_reader_that_opened_a_version_before_a_merge_finds_its_files(fresh_lake: Lake) -> None:
    grow(fresh_lake, range(5))
    reader = dataset(fresh_lake)
    maintain(fresh_lake.store, [KIND], DEFAULT_LIMITS._replace(version_age=AT_ONCE))
    assert len(versions(fresh_lake)) < 5
    assert reader.to_table().num_rows == 5
    # After that time only a lease or a pin would protect the files.
    grow(fresh_lake, range(5, 7))
    maintain(fresh_lake.store, [KIND], EAGER)
    end = time.time() + 2
    while time.time() < end and len(list(Path(reader.uri, "data").iterdir())) > 2:
        remove_old_versions(dataset(fresh_lake), AT_ONCE)
        time.sleep(0.05)
    assert dataset(fresh_lake).count_rows() == 7


def test_a_lease_protects_a_version_until_it_ends(fresh_lake: Lake) -> None:
    grow(fresh_lake, range(3))
    with fresh_lake.lease(KIND) as version:
        grow(fresh_lake, range(3, 6))
        maintain(fresh_lake.store, None, EAGER)
        assert fresh_lake.scan(KIND, at=version).collect().height == 3
    [done] = maintain(fresh_lake.store, None, EAGER)
    assert done.problem is None
    with pytest.raises(TableMissingError, match="no version"):
        fresh_lake.scan(KIND, at=version)


def test_a_lease_of_a_dead_reader_expires(fresh_lake: Lake) -> None:
    grow(fresh_lake, range(2))
    lease = leased(fresh_lake.store, KIND, duration=timedelta(seconds=-5))
    version = lease.__enter__()
    grow(fresh_lake, range(2, 4))
    [done] = maintain(fresh_lake.store, [KIND], EAGER)
    assert done.ended_lease_count >= 1
    assert version not in versions(fresh_lake)
    lease.__exit__(None, None, None)
    with pytest.raises(TableMissingError), leased(fresh_lake.store, KIND, version):
        pass


def test_a_reader_whose_version_was_removed_leases_the_newest(fresh_lake: Lake) -> None:
    grow(fresh_lake, range(2))
    outdated = dataset(fresh_lake)
    grow(fresh_lake, range(2, 5))
    for _ in range(2):
        maintain(fresh_lake.store, [KIND], EAGER)
    assert outdated.version not in versions(fresh_lake)
    version, tag = lease_newest(outdated, timedelta(minutes=1))
    assert version == dataset(fresh_lake).version
    assert tags_of(outdated)[tag]["version"] == version
    with pytest.raises(TableMissingError, match="cannot be leased"):
        take_lease(outdated, outdated.version, timedelta(minutes=1))


def test_a_pin_without_its_tag_is_tagged_again_before_cleanup(fresh_lake: Lake) -> None:
    grow(fresh_lake, range(2))
    pin = fresh_lake.pin("p", [KIND])
    dataset(fresh_lake).tags.delete(pin_tag("p", 1))
    grow(fresh_lake, range(2, 5))
    [done] = maintain(fresh_lake.store, None, EAGER)
    assert done.restored_tag_count == 1
    assert fresh_lake.open_pin("p@1").pin == pin


def test_derived_tables_keep_their_versions_for_a_week(fresh_lake: Lake) -> None:
    import polars as pl

    derivation = Derivation(key=("id",), code_version="1")
    first = fresh_lake.derive("pairs", pl.DataFrame({"id": [1]}), derivation)
    fresh_lake.derive("pairs", pl.DataFrame({"id": [1, 2]}), derivation)
    maintain(fresh_lake.store, None, EAGER)
    assert fresh_lake.scan("pairs", at=first.version).collect().height == 1
    maintain(fresh_lake.store, None, EAGER._replace(derived_version_age=AT_ONCE))
    with pytest.raises(TableMissingError):
        fresh_lake.scan("pairs", at=first.version)
    with pytest.raises(TableMissingError):
        maintain(fresh_lake.store, ["absent"])


def test_a_projector_whose_version_was_removed_starts_over(fresh_lake: Lake, tmp_path: Path) -> None:
    grow(fresh_lake, range(5))

    def maintain_and_commit() -> None:
        grow(fresh_lake, range(10, 14), "other")
        maintain(fresh_lake.store, [KIND], EAGER)
        maintain(fresh_lake.store, [KIND], EAGER)

    with fresh_lake.writer("late") as writer:
        writer.append([reward(20)])
    interrupted = InterruptedReadStore(LocalStore(tmp_path / "lake"), maintain_and_commit)
    Lake(interrupted).project([KIND])
    assert len(table_ids(fresh_lake, KIND)) == 5 + 4 + 1
    assert fresh_lake.verify(deep=True).problems == ()


def write_and_project(uri: str, first: int) -> None:
    lake = Lake.open(uri)
    with lake.writer(f"writer-{first}") as writer:
        for index in range(first, first + 12):
            # The other writer lands some of the same events.
            writer.append([reward(index), reward(index // 2)])
            writer.flush()
            lake.project([KIND])


def test_projectors_maintenance_and_pin_readers_race_without_loss_or_duplicates(fresh_lake: Lake) -> None:
    grow(fresh_lake, range(3), "before")
    fresh_lake.pin("p", [KIND])
    expected = sorted(fresh_lake.open_pin("p@1").scan(KIND).collect()["event_id"])
    spawn = multiprocessing.get_context("spawn")
    tasks = [spawn.Process(target=write_and_project, args=(fresh_lake.uri, first)) for first in (0, 100)]
    done = threading.Event()
    maintained: list[str | None] = []

    def maintain_repeatedly() -> None:
        while not done.is_set():
            maintained.extend(each.problem for each in maintain(fresh_lake.store, [KIND], BUSY))

    maintainer = threading.Thread(target=maintain_repeatedly)
    for task in tasks:
        task.start()
    maintainer.start()
    while any(task.is_alive() for task in tasks):
        assert sorted(fresh_lake.open_pin("p@1").scan(KIND).collect()["event_id"]) == expected
        tasks[0].join(timeout=0.2)
    done.set()
    maintainer.join()
    for task in tasks:
        task.join()
    assert [task.exitcode for task in tasks] == [0, 0]
    assert len(maintained) > 0
    fresh_lake.project()
    ids = table_ids(fresh_lake, KIND)
    assert len(ids) == len(set(ids))
    assert fresh_lake.verify(deep=True).problems == ()
