"""Goal: a writer knows every event of the lake, from landed files or from a table.

Method: lakes of many small files, projected to any extent; duplicates, conflicts and drawn rows.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lake.facts import reward, turn
from tracelake.lake import Lake
from tracelake.lake.layout import table_path
from tracelake.lake.writing.deduplicate import Receipt
from tracelake.lake.writing.key_index import KeyIndex
from tracelake.lake.writing.known_keys import FILES_READ_MAX, KnownKeys
from tracelake.schemas.events.event import event_identity

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
    known.load("reward_assigned", [event_identity(reward(index)).key_hash for index in range(COUNT + 2)])
    return known


def assert_all_known(lake: Lake) -> None:
    with lake.writer("again") as writer:
        receipt = writer.append([reward(index) for index in range(COUNT + 2)])
        assert (receipt.new_count, receipt.duplicate_count, receipt.conflict_count) == (2, COUNT, 0)
        assert list(writer.first_seen_ids().values()) == [
            event_identity(reward(COUNT + each)).event_id for each in range(2)
        ]


@pytest.mark.parametrize("projected", ["nothing", "all"])
def test_keys_are_loaded_from_files_or_from_the_table(many_files: Lake, projected: str) -> None:
    if projected == "all":
        many_files.project()
        # A projected file is not read.
        next(Path(many_files.uri).glob("events/**/*.parquet")).write_bytes(b"no landed file")
    assert_all_known(many_files)


def test_keys_are_loaded_from_the_table_and_from_unprojected_files(many_files: Lake) -> None:
    many_files.project()
    with many_files.writer("later") as writer:
        writer.append([reward(COUNT), reward(COUNT + 1)])
    known = known_of(many_files)
    assert [len(index) for index in known._from_lake["reward_assigned"]] == [COUNT, 2]
    identity = event_identity(reward(COUNT + 1))
    assert known.add_first(identity.key_hash, identity.event_id) == identity.event_id


@pytest.mark.parametrize(("recent_max", "index_rows_max"), [(8, 16), (4, 1024), (1, 1)])
def test_a_writer_knows_its_oldest_events(
    fresh_lake: Lake, monkeypatch: pytest.MonkeyPatch, recent_max: int, index_rows_max: int
) -> None:
    monkeypatch.setattr("tracelake.lake.writing.known_keys.RECENT_MAX", recent_max)
    monkeypatch.setattr("tracelake.lake.writing.known_keys.INDEX_ROWS_MAX", index_rows_max)
    changed = reward(1, score=0.25)
    with fresh_lake.writer("long") as writer:
        for start in range(0, 64, 4):
            assert writer.append(map(reward, range(start, start + 4))).new_count == 4
        for again in range(2):
            # Twice under one key: the second is known from then on.
            assert writer.append([changed]) == Receipt(0, again, 1 - again)
            assert writer.append(map(reward, range(66))) == Receipt(2 - 2 * again, 64 + 2 * again, 0)
        identities = [event_identity(reward(index)) for index in range(66)]
        expected = {each.key_hash: each.event_id for each in identities}
        assert {key: event for key, event in writer.first_seen_ids().items() if key in expected} == expected
    with fresh_lake.writer("next") as writer:
        assert writer.append([changed, *map(reward, range(66))]) == Receipt(0, 67, 0)


def test_without_a_readable_table_all_keys_come_from_files(
    many_files: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    many_files.project()
    table = Path(many_files.uri) / table_path("reward_assigned")
    shutil.rmtree(table / "data")
    (table / "data").mkdir()
    assert_all_known(many_files)
    assert "reading landed files instead" in caplog.text


def test_a_conflict_with_an_event_of_the_table_names_it_as_the_first(many_files: Lake) -> None:
    many_files.project()
    changed = reward(3, score=0.125)
    with many_files.writer("other") as writer:
        assert writer.append([changed]).conflict_count == 1
        assert writer.append([changed]).duplicate_count == 1
    with many_files.writer("next") as writer:
        assert writer.append([changed, reward(3)]).duplicate_count == 2
    many_files.project()
    [conflict] = many_files.scan("conflict_found").collect().to_dicts()
    assert conflict["first_event_id"] == event_identity(reward(3)).event_id
    assert conflict["other_event_id"] == event_identity(changed).event_id


def test_only_files_of_the_kind_are_read(many_files: Lake) -> None:
    known = KnownKeys(many_files.store)
    identity = event_identity(turn(0))
    known.load("turn_completed", [identity.key_hash])
    assert known.add_first(identity.key_hash, identity.event_id) is None
    assert known.first_seen_ids() == {identity.key_hash: identity.event_id}
    assert list(known._from_lake) == ["turn_completed"]


def hash_of_letter(letter: str, prefix: str) -> str:
    """Many hashes share a prefix."""
    return prefix * 8 + hashlib.sha256(letter.encode()).hexdigest()[16:]


HASHES = st.builds(hash_of_letter, st.sampled_from("abcdef"), st.sampled_from(["00", "7f", "ff"]))
ROWS = st.lists(st.tuples(HASHES, HASHES))


@given(ROWS, ROWS, st.sets(HASHES))
def test_an_index_returns_the_rows_of_a_key_in_their_order(
    older: list[tuple[str, str]], newer: list[tuple[str, str]], keys: set[str]
) -> None:
    def index_of(rows: list[tuple[str, str]]) -> KeyIndex:
        columns = [[key for key, _ in rows], [event for _, event in rows]]
        schema = pa.schema([("key_hash", pa.string()), ("event_id", pa.string())])
        # In two chunks, one of which is cut out of a longer one.
        table = pa.table(columns, schema=schema)
        return KeyIndex.of_table(pa.concat_tables([table.slice(0, 1), table.slice(1)]))

    index, rows = index_of(older).with_rows_of(index_of(newer)), older + newer
    assert len(index) == len(rows)
    assert sorted(index.rows()) == sorted(rows)
    sought = sorted(keys)
    assert list(index.rows_of(sought)) == [row for key in sought for row in rows if row[0] == key]


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "00" * 33])
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        KeyIndex.of_table(pa.table({"key_hash": [text], "event_id": ["00" * 32]}))
