"""Goal: every landed event is in its table exactly once, however many projectors run and wherever they stop.

Method: projectors race in processes; stores and callbacks play incomplete listings, foreign commits and
crashes between two writes.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from tests.lake.facts import digests, landed_ids, of_three_kinds, reward, table_ids
from tests.lake.store_wrappers import IncompleteListingStore
from tracelake.lake import Lake
from tracelake.lake.landed.reading import read_landed
from tracelake.lake.layout import EVENTS, kind_prefix, table_path
from tracelake.lake.projection.project import project_kind, table_schema
from tracelake.lake.stores.local_store import LocalStore
from tracelake.lake.tables.commits import CURSOR, append_with_cursor, create_table, open_table, schema_note
from tracelake.schemas.events.event import Event, event_identity
from tracelake.schemas.events.kinds import CLASS_OF_KIND
from tracelake.schemas.events.lake_events import ConflictFound

KIND = "reward_assigned"


def no_conflict(conflicts: Sequence[Event]) -> None:
    assert not conflicts


def write(lake: Lake, events: Sequence[Event], run_id: str = "run") -> None:
    with lake.writer(run_id) as writer:
        writer.append(events)


def write_small_files(uri: str, first: int) -> None:
    """Six landed files of one kind, half of their events those of the other writer."""
    with Lake.open(uri).writer(f"writer-{first}") as writer:
        for start in range(first, first + 60, 10):
            writer.append([reward(index) for index in range(start, start + 10)])


def project_until_done(uri: str, expected: int) -> None:
    lake = Lake.open(uri)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        lake.project()
        if KIND in lake.tables() and lake.state(KIND).row_count >= expected:
            return
        time.sleep(0.01)
    raise AssertionError("the events did not all arrive")


def test_racing_projectors_and_writers_add_each_event_once(fresh_lake: Lake) -> None:
    spawn = multiprocessing.get_context("spawn")
    tasks = [spawn.Process(target=write_small_files, args=(fresh_lake.uri, first)) for first in (0, 30)]
    tasks += [spawn.Process(target=project_until_done, args=(fresh_lake.uri, 90)) for _ in range(3)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join(timeout=120)
    assert [task.exitcode for task in tasks] == [0] * 5
    ids = table_ids(fresh_lake, KIND)
    assert ids == sorted({event_identity(reward(index)).event_id for index in range(90)})
    assert fresh_lake.project() == {KIND: 0}
    assert fresh_lake.verify(deep=True).ok


def test_a_second_projection_adds_no_row_and_no_version(fresh_lake: Lake) -> None:
    write(fresh_lake, of_three_kinds(range(3)))
    assert fresh_lake.project() == {"turn_completed": 3, "reward_assigned": 3, "rollout_ended": 3}
    versions = {name: fresh_lake.state(name).version for name in fresh_lake.tables()}
    assert set(fresh_lake.project().values()) == {0}
    assert {name: fresh_lake.state(name).version for name in fresh_lake.tables()} == versions


def test_only_the_named_kinds_are_projected(fresh_lake: Lake) -> None:
    write(fresh_lake, of_three_kinds(range(2)))
    assert fresh_lake.project([KIND]) == {KIND: 2}
    assert fresh_lake.tables() == [KIND]
    assert fresh_lake.project(["hint_given"]) == {"hint_given": 0}


def test_many_small_projections_equal_one_large_one(fresh_lake: Lake, tmp_path: Path) -> None:
    whole = Lake.create(str(tmp_path / "whole"))
    for start in range(0, 12, 3):
        write(fresh_lake, of_three_kinds(range(start, start + 3)))
        write(whole, of_three_kinds(range(start, start + 3)))
        fresh_lake.project()
    whole.project()
    assert digests(fresh_lake) == digests(whole)


def test_independent_writers_produce_each_event_once_and_one_conflict(
    fresh_lake: Lake,
) -> None:
    one, other = fresh_lake.writer("one"), fresh_lake.writer("other")
    one.append([reward(9)])
    other.append([reward(9)])
    one.append([reward(0, 1.0), reward(1)])
    assert other.append([reward(0, 0.0), reward(1)]).conflict_count == 0
    one.close()
    other.close()
    assert fresh_lake.project() == {KIND: 4, "conflict_found": 1}
    [conflict] = fresh_lake.scan("conflict_found").collect().to_dicts()
    first, later = event_identity(reward(0, 1.0)), event_identity(reward(0, 0.0))
    assert (conflict["first_event_id"], conflict["other_event_id"]) == (first.event_id, later.event_id)
    assert (conflict["conflict_kind"], conflict["conflict_key_hash"], conflict["rollout_id"]) == (
        KIND,
        first.key_hash,
        "r0",
    )
    assert fresh_lake.project() == {KIND: 0, "conflict_found": 0}
    assert len(landed_ids(fresh_lake.store, "conflict_found")) == 1
    assert fresh_lake.verify(deep=True).ok


def test_a_conflict_found_by_the_writer_is_not_landed_again_by_the_projector(fresh_lake: Lake) -> None:
    # The epoch that was opened first writes last, so that names and times disagree.
    early = fresh_lake.writer("early")
    write(fresh_lake, [reward(0, 1.0)])
    early.append([reward(0, 0.0)])
    early.close()
    assert fresh_lake.project() == {KIND: 2, "conflict_found": 1}
    assert len(landed_ids(fresh_lake.store, "conflict_found")) == 1
    [conflict] = fresh_lake.scan("conflict_found").collect().to_dicts()
    assert conflict["first_event_id"] == event_identity(reward(0, 1.0)).event_id


@pytest.mark.parametrize("is_landed", [False, True], ids=["before landing", "after landing"])
def test_a_projector_that_crashes_before_its_commit_loses_no_conflict(
    fresh_lake: Lake, is_landed: bool
) -> None:
    writers = [fresh_lake.writer(name) for name in ("one", "other")]
    for score, writer in enumerate(writers):
        writer.add([])
        writer.append([reward(0, float(score))])
        writer.close()

    def crash(conflicts: list[ConflictFound]) -> None:
        if is_landed:
            write(fresh_lake, conflicts)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project_kind(fresh_lake.store, KIND, crash)
    fresh_lake.project()
    assert len(table_ids(fresh_lake, KIND)) == 2
    assert len(table_ids(fresh_lake, "conflict_found")) == 1


def test_a_file_that_a_listing_missed_is_not_skipped(fresh_lake: Lake, tmp_path: Path) -> None:
    with fresh_lake.writer("run") as writer:
        for index in range(3):
            writer.append([reward(index)])
            writer.flush()
    store = LocalStore(tmp_path / "lake")
    first, second, _ = store.list(kind_prefix(KIND))
    for missed in ({first}, {second}, {first, second}):
        lake = Lake(IncompleteListingStore(store, missed))
        project_kind(lake.store, KIND, no_conflict)
    assert len(table_ids(fresh_lake, KIND)) == 3


def test_a_commit_that_lost_its_race_changes_nothing(fresh_lake: Lake) -> None:
    write(fresh_lake, [reward(0)])
    fresh_lake.project()
    location = fresh_lake.store.location(table_path(KIND))
    stale = open_table(location)
    assert stale is not None
    write(fresh_lake, [reward(1)])
    fresh_lake.project()
    before = digests(fresh_lake)
    rows = stale.to_table()
    assert append_with_cursor(stale, rows, {"stale": 99}) is None
    assert append_with_cursor(stale, rows.slice(0, 0), {"stale": 99}) is None
    assert digests(fresh_lake) == before
    now = open_table(location)
    assert now is not None
    assert "stale" not in (schema_note(now, CURSOR) or {})


def test_the_cursor_survives_compaction_and_a_foreign_append(fresh_lake: Lake) -> None:
    for index in range(5):
        write(fresh_lake, [reward(index)])
        fresh_lake.project()
    location = fresh_lake.store.location(table_path(KIND))
    before = schema_note(lance.dataset(location), CURSOR)
    assert len(before or {}) == 5
    lance.dataset(location).optimize.compact_files()
    lance.write_dataset(lance.dataset(location).to_table().slice(0, 0), location, mode="append")
    assert schema_note(lance.dataset(location), CURSOR) == before
    assert fresh_lake.project() == {KIND: 0}
    write(fresh_lake, [reward(5)])
    assert fresh_lake.project() == {KIND: 1}
    assert len(table_ids(fresh_lake, KIND)) == 6


def test_a_lost_table_is_projected_again(fresh_lake: Lake, tmp_path: Path) -> None:
    write(fresh_lake, [reward(index) for index in range(4)])
    fresh_lake.project()
    before = digests(fresh_lake)
    (tmp_path / "lake" / table_path(KIND)).rename(tmp_path / "lost")
    assert fresh_lake.project() == {KIND: 4}
    assert digests(fresh_lake) == before


def test_a_table_that_another_process_has_just_created_is_used(fresh_lake: Lake) -> None:
    location = fresh_lake.store.location(table_path(KIND))
    create_table(location, table_schema(KIND))
    create_table(location, table_schema(KIND))
    write(fresh_lake, [reward(0)])
    assert fresh_lake.project() == {KIND: 1}


def test_files_of_an_interrupted_creation_are_no_obstacle(fresh_lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "lake" / table_path(KIND)
    for name in ("_transactions/0-half.txn", "data/half.lance"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"half")
    write(fresh_lake, [reward(0)])
    assert fresh_lake.tables() == []
    assert fresh_lake.project() == {KIND: 1}


def test_a_large_backlog_is_committed_in_batches(fresh_lake: Lake) -> None:
    for run in ("one", "other"):
        with fresh_lake.writer(run) as writer:
            for index in range(3):
                writer.append([reward(index + 10 * len(run)), reward(9)])
                writer.flush()
    assert project_kind(fresh_lake.store, KIND, no_conflict, batch_bytes=1) == 7
    assert fresh_lake.state(KIND).version == 1 + 6
    assert len(set(table_ids(fresh_lake, KIND))) == 7
    assert fresh_lake.project() == {KIND: 0}
    assert fresh_lake.verify(deep=True).ok


def test_a_table_of_an_older_version_gets_new_columns_and_keeps_its_pins(fresh_lake: Lake) -> None:
    added = ("weight", "details_json")
    older = pa.schema([field for field in table_schema(KIND) if field.name not in added])
    dataset = create_table(fresh_lake.store.location(table_path(KIND)), older)
    write(fresh_lake, [reward(0)])
    landed = read_landed(fresh_lake.store, fresh_lake.store.list(EVENTS)[0])
    epoch = landed["writer_epoch"][0].as_py()
    assert append_with_cursor(dataset, landed.drop_columns(list(added)), {epoch: 0}) is not None
    fresh_lake.pin("old", [KIND])
    assert fresh_lake.verify(deep=True).ok

    write(fresh_lake, [reward(1).model_copy(update={"weight": 0.5, "details_json": "{}"})])
    assert fresh_lake.project() == {KIND: 1}
    rows = fresh_lake.scan(KIND).sort("rollout_id").select(added).collect().rows()
    assert rows == [(None, None), (0.5, "{}")]
    assert fresh_lake.open_pin("old@1").scan(KIND).collect().height == 1
    assert fresh_lake.verify(deep=True).ok


@pytest.mark.parametrize("kind", CLASS_OF_KIND)
def test_lance_accepts_the_schema_of_every_kind(fresh_lake: Lake, kind: str) -> None:
    dataset = create_table(fresh_lake.store.location(table_path(kind)), table_schema(kind))
    assert dataset.schema.names == table_schema(kind).names
    assert dataset.schema.types == table_schema(kind).types
    assert [field.nullable for field in dataset.schema] == [field.nullable for field in table_schema(kind)]


def test_a_damaged_landed_file_stops_the_projection_and_changes_nothing(
    fresh_lake: Lake, tmp_path: Path
) -> None:
    write(fresh_lake, [reward(0)])
    fresh_lake.project()
    write(fresh_lake, [reward(1)])
    path = max((tmp_path / "lake").rglob("*.parquet"), key=lambda found: found.stat().st_mtime_ns)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AssertionError, match="damaged"):
        fresh_lake.project()
    assert len(table_ids(fresh_lake, KIND)) == 1
    assert len(fresh_lake.store.list(EVENTS)) == 2
