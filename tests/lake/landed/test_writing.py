"""Goal: landed events are read back unchanged, by any Parquet reader too, and damage is always detected.

Method: events of every kind go through a landed file; then its bytes and its name are changed.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.event_strategies import events_of
from tests.lake.facts import reward
from tracelake.lake.landed.listing import drop_files_after_gaps
from tracelake.lake.landed.reading import read_envelopes, read_landed
from tracelake.lake.landed.writing import LandedFile, land, landed_file
from tracelake.lake.layout import LandedName, landed_path, parse_landed_path
from tracelake.lake.stores.local_store import LocalStore
from tracelake.lake.writing.rows import EventRow, event_rows_to_table
from tracelake.schemas.errors import BadInputError, CorruptFileError, EventInvalidError
from tracelake.schemas.events.columns import arrow_schema, payload_columns
from tracelake.schemas.events.event import Event, event_identity, row_identity
from tracelake.schemas.events.kinds import EVENT_CLASSES, parse_event

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
EPOCH = "20260102T030405678901-abc"


def file_of(events: list[Event], first_seq: int = 0) -> LandedFile:
    rows = [EventRow(event, event_identity(event), "imported", "a.jsonl", None) for event in events]
    return landed_file(
        event_rows_to_table(events[0].KIND, rows, first_seq, run_id="run", epoch=EPOCH, recorded_at=MOMENT)
    )


@pytest.mark.parametrize("cls", EVENT_CLASSES, ids=lambda cls: cls.KIND)
@given(data=st.data())
@settings(max_examples=6)
def test_events_of_every_kind_are_read_back_with_the_same_fields_and_identity(
    tmp_path_factory: pytest.TempPathFactory, cls: type[Event], data: st.DataObject
) -> None:
    events = data.draw(st.lists(events_of(cls), min_size=1, max_size=4))
    store = LocalStore(tmp_path_factory.mktemp("landed"))
    file = file_of(events, first_seq=7)
    land(store, file)
    rows = read_landed(store, file.path)
    assert rows.schema.equals(arrow_schema(cls.KIND))
    assert rows["writer_seq"].to_pylist() == list(range(7, 7 + len(events)))
    for event, row in zip(events, rows.to_pylist(), strict=True):
        fields = {name: row[name] for name in payload_columns(cls)}
        assert parse_event({**fields, "kind": cls.KIND}) == event
        assert row_identity(cls, fields).event_id == row["event_id"] == event_identity(event).event_id


def test_a_landed_file_describes_itself_and_is_plain_parquet() -> None:
    file = file_of([reward(index) for index in range(3)], first_seq=5)
    parquet = pq.ParquetFile(pa.BufferReader(file.data))
    notes = parquet.schema_arrow.metadata
    assert notes[b"tracelake.kind"] == b"reward_assigned"
    assert notes[b"tracelake.schema_version"] == b"1"
    assert (notes[b"tracelake.first_seq"], notes[b"tracelake.last_seq"]) == (b"5", b"7")
    columns = [parquet.metadata.row_group(0).column(index) for index in range(parquet.metadata.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    assert parquet.read()["rollout_id"].to_pylist() == ["r0", "r1", "r2"]


def test_the_same_rows_give_the_same_file() -> None:
    assert file_of([reward(0)]) == file_of([reward(0)])
    assert file_of([reward(0)]) != file_of([reward(0)], first_seq=1)


def test_landing_a_file_again_succeeds(tmp_path: Path) -> None:
    store, file = LocalStore(tmp_path), file_of([reward(0)])
    land(store, file)
    land(store, file)
    assert store.list("") == [file.path]


def test_landing_over_other_bytes_of_the_same_name_fails(tmp_path: Path) -> None:
    store, file = LocalStore(tmp_path), file_of([reward(0)])
    store.put_new(file.path, file.data[:-1])
    with pytest.raises(CorruptFileError, match="damaged"):
        land(store, file)


def test_every_flipped_byte_is_detected(tmp_path: Path) -> None:
    store, file = LocalStore(tmp_path), file_of([reward(index) for index in range(3)])
    land(store, file)
    for position in range(0, len(file.data), 97):
        damaged = bytearray(file.data)
        damaged[position] ^= 1 << position % 8
        (tmp_path / file.path).write_bytes(damaged)
        for columns in (None, ["event_id"]):
            with pytest.raises(CorruptFileError, match="damaged") as caught:
                read_landed(store, file.path, columns)
            assert file.path in str(caught.value)


def test_envelopes_of_a_damaged_file_are_unchanged_or_a_typed_error(tmp_path: Path) -> None:
    store, file = LocalStore(tmp_path), file_of([reward(0), reward(1)])
    land(store, file)
    columns = ["key_hash", "event_id"]
    whole = read_envelopes(store, file.path, columns)
    for position in range(0, len(file.data), 3):
        damaged = bytearray(file.data)
        damaged[position] ^= 1 << position % 8
        (tmp_path / file.path).write_bytes(damaged)
        try:
            assert read_envelopes(store, file.path, columns) == whole
        except CorruptFileError:
            continue


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_truncated_file_is_detected(tmp_path: Path, cut: int) -> None:
    store, file = LocalStore(tmp_path), file_of([reward(0)])
    land(store, file)
    (tmp_path / file.path).write_bytes(file.data[:cut])
    with pytest.raises(CorruptFileError):
        read_landed(store, file.path)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not Parquet at all" * 100])
def test_a_foreign_file_with_a_matching_hash_is_detected(tmp_path: Path, data: bytes) -> None:
    path = landed_path(LandedName("reward_assigned", EPOCH, 0, hashlib.sha256(data).hexdigest()))
    store = LocalStore(tmp_path)
    store.put_new(path, data)
    with pytest.raises(CorruptFileError, match="is not a landed file"):
        read_landed(store, path)


def test_a_file_under_another_kind_is_refused(tmp_path: Path) -> None:
    store, file = LocalStore(tmp_path), file_of([reward(0)])
    moved = file.path.replace("kind=reward_assigned", "kind=rollout_ended")
    store.put_new(moved, file.data)
    with pytest.raises(EventInvalidError, match="unknown columns"):
        read_landed(store, moved)


@given(
    st.sampled_from([cls.KIND for cls in EVENT_CLASSES]),
    st.integers(0, 10**15),
    st.binary(min_size=32, max_size=32),
)
def test_a_path_is_parsed_into_the_name_that_it_was_built_from(kind: str, seq: int, digest: bytes) -> None:
    name = LandedName(kind, EPOCH, seq, digest.hex())
    assert parse_landed_path(landed_path(name)) == name


@pytest.mark.parametrize(
    "path",
    [
        "events/v2/kind=a/e/0-short.parquet",
        f"events/v2/kind=a/e/x-{'0' * 64}.parquet",
        f"events/v2/kind=a/e/{'0' * 64}.parquet",
        f"events/v2/kind=a/0-{'0' * 64}.parquet",
        f"events/v2/kind=a/e/f/0-{'0' * 64}.parquet",
        f"events/v2/kind=a/e/0-{'0' * 64}.json",
        f"events/v2/kind=a/e/0-{'0' * 64}",
        "",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(BadInputError, match="not a landed file"):
        parse_landed_path(path)


def test_a_missed_file_hides_only_the_later_files_of_its_epoch() -> None:
    def path(epoch: str, seq: int) -> str:
        return landed_path(LandedName("reward_assigned", epoch, seq, "0" * 64))

    shown = [path("a", 0), path("a", 20), path("b", 0)]
    again = [path("a", 0), path("a", 10), path("a", 20), path("a", 30), path("b", 0), path("c", 0)]
    assert drop_files_after_gaps(shown, again) == [path("a", 0), path("a", 10), path("a", 20), path("b", 0)]
    assert drop_files_after_gaps([], again) == []
