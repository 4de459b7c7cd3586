"""Goal: a writer knows every fact that the lake held, whether it learns it from files or from a table.

Method: lakes of many small files, projected to any extent; drawn facts, duplicates and conflicts.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import Lake
from lake.layout import table_path
from lake.writing.key_index import KeyIndex
from lake.writing.known import FILES_READ_MAX, KnownKeys
from schemas.event import event_identity
from tests.lake.facts import reward, turn

COUNT = FILES_READ_MAX + 6


@pytest.fixture
def many_files(fresh_lake: Lake) -> Lake:
    with fresh_lake.writer("many") as writer:
        for index in range(COUNT):
            writer.append([reward(index)])
            writer.flush()
    return fresh_lake


def known_of(lake: Lake) -> KnownKeys:
    known = KnownKeys(lake.store)
    known.meet("reward_assigned", [event_identity(reward(index)).key_hash for index in range(COUNT + 2)])
    return known


def assert_all_known(lake: Lake) -> None:
    with lake.writer("again") as writer:
        receipt = writer.append([reward(index) for index in range(COUNT + 2)])
        assert (receipt.new_count, receipt.duplicate_count, receipt.conflict_count) == (2, COUNT, 0)
        told = writer.told()
        assert list(told.values()) == [event_identity(reward(COUNT + each)).event_id for each in range(2)]


@pytest.mark.parametrize("projected", ["nothing", "all", "a part"])
def test_facts_are_known_from_the_table_and_from_files_beside_it(many_files: Lake, projected: str) -> None:
    if projected != "nothing":
        many_files.project()
    if projected == "a part":
        with many_files.writer("later") as writer:
            writer.append([reward(COUNT), reward(COUNT + 1)])
        known = known_of(many_files)
        assert known._tables["reward_assigned"] is not None
        identity = event_identity(reward(COUNT + 1))
        assert known.learn(identity.key_hash, identity.event_id) == identity.event_id
        return
    assert (known_of(many_files)._tables["reward_assigned"] is not None) == (projected == "all")
    assert_all_known(many_files)


def test_a_table_that_cannot_be_read_costs_time_and_no_fact(
    many_files: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    many_files.project()
    table = Path(many_files.uri) / table_path("reward_assigned")
    shutil.rmtree(table / "data")
    (table / "data").mkdir()
    assert_all_known(many_files)
    assert "landed files are read" in caplog.text


def test_a_conflict_with_a_fact_of_the_table_is_told_with_the_first_one(many_files: Lake) -> None:
    many_files.project()
    changed = reward(3, score=0.125)
    with many_files.writer("other") as writer:
        assert writer.append([changed]).conflict_count == 1
        assert writer.append([changed]).duplicate_count == 1
    with many_files.writer("next") as writer:
        assert writer.append([changed, reward(3)]).duplicate_count == 2
    many_files.project()
    [told] = many_files.scan("conflict_found").collect().to_dicts()
    assert told["first_event_id"] == event_identity(reward(3)).event_id
    assert told["other_event_id"] == event_identity(changed).event_id


def test_only_files_of_the_kind_are_read(many_files: Lake) -> None:
    known = KnownKeys(many_files.store)
    identity = event_identity(turn(0))
    known.meet("turn_completed", [identity.key_hash])
    assert known.learn(identity.key_hash, identity.event_id) is None
    assert known._first == {identity.key_hash: identity.event_id}


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.text("xyz", max_size=3))),
    st.sets(st.sampled_from("abcdefgh")),
)
def test_an_index_gives_the_rows_of_its_keys_in_their_order(
    rows: list[tuple[str, str]], keys: set[str]
) -> None:
    columns = [[key for key, _ in rows], [event for _, event in rows]]
    table = pa.table(columns, schema=pa.schema([("key_hash", pa.string()), ("event_id", pa.string())]))
    sought = sorted(keys)
    found = list(KeyIndex(table).rows_of(sought))
    assert found == [row for key in sought for row in rows if row[0] == key]
