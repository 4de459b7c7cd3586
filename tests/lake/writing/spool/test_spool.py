"""Goal: acknowledged events are on disk, and events on disk land exactly once, whichever process seals them.

Method: writers are abandoned, segments are cut and damaged at every byte, and recoveries are repeated.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.event_strategies import EVENTS as ANY_EVENTS
from tests.event_strategies import events_of
from tests.lake.facts import landed_ids, of_three_kinds, reward, turn
from tests.lake.landed.test_writing import MOMENT
from tracelake.lake import Lake
from tracelake.lake.landed.writing import landed_file
from tracelake.lake.layout import EVENTS
from tracelake.lake.stores.local_store import LocalStore
from tracelake.lake.writing.deduplicate import Origin, PreparedEvent
from tracelake.lake.writing.rows import EventRow, event_rows_to_table
from tracelake.lake.writing.spool.recovery import TORN_FOLDER, recover
from tracelake.lake.writing.spool.sealing import spooled_events_to_tables
from tracelake.lake.writing.spool.segment import (
    END,
    Frame,
    SegmentHead,
    event_frame,
    head_frame,
    mark_frames,
    read_segment,
    segment_mark,
)
from tracelake.lake.writing.spool.spool import SEGMENT_SUFFIX, SPARE_SUFFIX, SPARES_MAX, Spool
from tracelake.lake.writing.writer import Writer
from tracelake.schemas.errors import CorruptFileError, SpoolError
from tracelake.schemas.events.columns import arrow_schema, payload_columns
from tracelake.schemas.events.event import Event, canonical_event, event_identity
from tracelake.schemas.events.kinds import EVENT_CLASSES, parse_event

ORIGIN = Origin("imported", "a.jsonl", "ab" * 32)
HEAD = SegmentHead("20260102T030405678901-abc", "run", 7, 3)


def frames_of(events: list[Event]) -> list[Frame]:
    accepted = [
        PreparedEvent(event, canonical_event(type(event), event.__dict__), ORIGIN) for event in events
    ]
    return [event_frame(item.to_spooled(MOMENT)) for item in accepted]


def segment_of(events: list[Event], head: SegmentHead = HEAD) -> bytes:
    """A segment without `END`."""
    return b"".join([*head_frame(head), *mark_frames(segment_mark(head), frames_of(events))])


@contextmanager
def abandoned(lake: Lake, events: list[Event]) -> Iterator[list[Path]]:
    """The segments of a writer that acknowledged events and crashed: its lock is released."""
    writer = lake.writer("dead")
    writer.append(events)
    spool = writer._spool
    assert spool is not None
    spool.release(empty=False)
    yield sorted(spool.folder.glob(f"*{SEGMENT_SUFFIX}"))


@pytest.mark.parametrize("cls", EVENT_CLASSES, ids=lambda cls: cls.KIND)
@given(data=st.data())
@settings(max_examples=5)
def test_a_sealed_segment_contains_the_spooled_events(
    tmp_path_factory: pytest.TempPathFactory, cls: type[Event], data: st.DataObject
) -> None:
    events = data.draw(st.lists(events_of(cls), min_size=1, max_size=4))
    read = read_segment(segment_of(events))
    assert read.head == HEAD
    assert read.torn_byte_count == 0
    [table] = spooled_events_to_tables(HEAD, read.events, arrow_schema)
    rows = table.to_pylist()
    assert [row["writer_seq"] for row in rows] == list(range(7, 7 + len(events)))
    for event, row in zip(events, rows, strict=True):
        fields = {name: row[name] for name in payload_columns(cls)}
        assert parse_event({**fields, "kind": cls.KIND}) == event
        assert row["event_id"] == event_identity(event).event_id
        assert (row["provenance"], row["source_uri"], row["source_hash"]) == ORIGIN
        assert row["recorded_at"] == MOMENT


@given(st.lists(ANY_EVENTS, max_size=6))
@settings(max_examples=20)
def test_sealing_is_a_function_of_the_bytes_and_numbers_kind_by_kind(events: list[Event]) -> None:
    read = read_segment(segment_of(events))
    first, second = (
        [
            landed_file(table)
            for table in spooled_events_to_tables(HEAD, read_segment(segment_of(events)).events, arrow_schema)
        ]
        for _ in range(2)
    )
    assert first == second
    numbers = [
        seq
        for table in spooled_events_to_tables(HEAD, read.events, arrow_schema)
        for seq in table["writer_seq"].to_pylist()
    ]
    assert numbers == list(range(7, 7 + len(events)))


def test_a_cut_segment_contains_the_frames_before_the_cut() -> None:
    events: list[Event] = [reward(0), turn(1), reward(2)]
    whole = segment_of(events)
    ends = [len(segment_of(events[:count])) for count in range(4)]
    for cut in range(len(whole) + 1):
        read = read_segment(whole[:cut])
        count = sum(end <= cut for end in ends) - 1
        assert len(read.events) == max(count, 0)
        assert (read.head is not None) == (count >= 0)
        assert read.whole_byte_count + read.torn_byte_count == cut


def test_zeros_end_a_segment_and_bytes_behind_them_are_ignored() -> None:
    events: list[Event] = [reward(0), turn(1), reward(2)]
    whole = segment_of(events)
    other = segment_of([reward(number) for number in range(9)], HEAD._replace(first_seq=0, number=2))
    for behind in (b"", bytes(4096), END + other, END + other[len(whole) + len(END) :]):
        read = read_segment(whole + behind, number=3)
        assert (len(read.events), read.whole_byte_count) == (3, len(whole))
        assert (read.torn_byte_count, read.damaged_count) == (0, 0)
    # Without zeros a write was begun.
    read = read_segment(whole + b"x" + other)
    assert (len(read.events), read.torn_byte_count) == (3, 1 + len(other))


@given(st.lists(ANY_EVENTS, min_size=1, max_size=4), st.lists(ANY_EVENTS, max_size=4), st.data())
@settings(max_examples=40)
def test_an_overwritten_file_contains_frames_of_the_new_segment_only(
    old: list[Event], new: list[Event], data: st.DataObject
) -> None:
    before = segment_of(old, HEAD._replace(first_seq=0, number=2)) + END
    after = segment_of(new) + END
    cut = data.draw(st.integers(0, len(after)))
    read = read_segment(after[:cut] + before[cut:], number=3)
    if read.head is not None:
        ids = [event.identity for event in read.events]
        assert ids == [event_identity(event) for event in new[: len(ids)]]
        assert read.damaged_count == 0
        assert len(ids) == len(new) or cut < len(after)
    else:
        assert cut < len(b"".join(head_frame(HEAD)))


def test_a_file_whose_new_segment_was_not_begun_is_empty(fresh_lake: Lake) -> None:
    with abandoned(fresh_lake, [reward(0)]) as [segment]:
        segment.rename(segment.with_name("000001.segment"))
    assert recover(fresh_lake.store) == (1, 0, 0)
    assert landed_ids(fresh_lake.store) == []
    assert list((Path(fresh_lake.uri) / "spool").iterdir()) == []


def test_a_segment_of_a_later_version_is_left_where_it_is(fresh_lake: Lake) -> None:
    body = orjson.dumps([9, "anything", "that", "comes"])
    folder = Path(fresh_lake.uri) / "spool" / "epoch"
    folder.mkdir(parents=True)
    segment = folder / "000000.segment"
    segment.write_bytes(Struct("<II").pack(len(body), zlib.crc32(body)) + body)
    with pytest.raises(CorruptFileError, match="version 9"):
        recover(fresh_lake.store)
    assert segment.exists()


def test_no_flipped_bit_of_a_segment_passes() -> None:
    events: list[Event] = [reward(0), reward(1)]
    whole = segment_of(events)
    true_ids = [event_identity(event).event_id for event in events]
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        read = read_segment(bytes(damaged))
        ids = [event.identity.event_id for event in read.events]
        assert set(ids) < set(true_ids)
        assert read.torn_byte_count or read.damaged_count


def test_events_behind_a_damaged_frame_land_and_the_audit_reports_the_damage(fresh_lake: Lake) -> None:
    with abandoned(fresh_lake, [reward(0), reward(1), reward(2)]) as [segment]:
        data = bytearray(segment.read_bytes())
        data[data.index(b'"r1"') + 1] ^= 1
        segment.write_bytes(data)
    recover(fresh_lake.store)
    assert sorted(landed_ids(fresh_lake.store)) == sorted(
        event_identity(reward(index)).event_id for index in (0, 2)
    )
    [aside] = (Path(fresh_lake.uri) / TORN_FOLDER).iterdir()
    assert aside.read_bytes() == data
    fresh_lake.project()
    [problem] = fresh_lake.verify().problems
    assert "acknowledged events that were damaged before they landed" in problem


def test_repeated_recoveries_land_acknowledged_events_once(fresh_lake: Lake) -> None:
    events = of_three_kinds(range(3))
    with abandoned(fresh_lake, events) as [segment]:
        data = segment.read_bytes()
        folder = segment.parent
    assert landed_ids(fresh_lake.store) == []
    found = recover(fresh_lake.store)
    assert (found.segment_count, found.event_count, found.torn_byte_count) == (1, 9, 0)
    assert sorted(landed_ids(fresh_lake.store)) == sorted(event_identity(event).event_id for event in events)
    assert not folder.exists()
    before = fresh_lake.store.list(EVENTS)
    # As if the recovery was interrupted between landing and removing the segment.
    folder.mkdir()
    segment.write_bytes(data)
    assert recover(fresh_lake.store).event_count == 9
    assert fresh_lake.store.list(EVENTS) == before
    assert recover(fresh_lake.store) == (0, 0, 0)
    with fresh_lake.writer("again") as writer:
        assert writer.append(events).duplicate_count == 9


def test_a_torn_tail_is_set_aside_and_logged(fresh_lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    with abandoned(fresh_lake, of_three_kinds(range(2))) as [segment], segment.open("rb+") as tail:
        tail.seek(-len(END), os.SEEK_END)
        tail.write(b"half a frame")
    assert recover(fresh_lake.store).torn_byte_count == 12
    assert len(landed_ids(fresh_lake.store)) == 6
    [aside] = (Path(fresh_lake.uri) / TORN_FOLDER).iterdir()
    assert aside.read_bytes() == b"half a frame"
    assert "12 torn bytes, never acknowledged" in caplog.text


def test_rows_landed_by_another_library_version_do_not_land_again(fresh_lake: Lake) -> None:
    with abandoned(fresh_lake, [reward(0), reward(1)]) as [segment]:
        read = read_segment(segment.read_bytes())
    assert read.head is not None
    [table] = spooled_events_to_tables(read.head, read.events, arrow_schema)
    other = landed_file(
        table.replace_schema_metadata({**(table.schema.metadata or {}), b"written_by": b"another"})
    )
    fresh_lake.store.put_new(other.path, other.data)
    recover(fresh_lake.store)
    assert fresh_lake.store.list(EVENTS) == [other.path]


def test_a_living_writer_is_left_alone(fresh_lake: Lake) -> None:
    with fresh_lake.writer("alive") as writer:
        writer.append([reward(0)])
        assert recover(fresh_lake.store) == (0, 0, 0)
        assert landed_ids(fresh_lake.store) == []
        assert Lake.open(fresh_lake.uri).writer("other").append([reward(1)]).new_count == 1
    assert event_identity(reward(0)).event_id in landed_ids(fresh_lake.store)


def test_a_lake_projects_acknowledged_events_of_its_own_writers(fresh_lake: Lake) -> None:
    with fresh_lake.writer("alive") as writer:
        writer.append([reward(0)])
        assert fresh_lake.project() == {"reward_assigned": 1}
        writer.append([reward(1)])
        assert fresh_lake.project() == {"reward_assigned": 1}


def test_threads_that_share_a_writer_share_its_syncs_and_lose_nothing(fresh_lake: Lake) -> None:
    with fresh_lake.writer("shared") as writer:
        threads = [
            threading.Thread(
                target=lambda start=start: [writer.append([reward(start + n)]) for n in range(25)]
            )
            for start in range(0, 200, 25)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(landed_ids(fresh_lake.store)) == sorted(
        event_identity(reward(index)).event_id for index in range(200)
    )
    assert fresh_lake.verify(deep=True).ok


def test_full_segments_are_sealed_while_the_writer_goes_on(fresh_lake: Lake) -> None:
    with Writer(fresh_lake.store, "long", segment_bytes=2000) as writer:
        for index in range(60):
            writer.append([reward(index)])
    assert len(fresh_lake.store.list(EVENTS)) > 5
    assert len(landed_ids(fresh_lake.store)) == 60
    assert list((Path(fresh_lake.uri) / "spool").iterdir()) == []
    assert fresh_lake.verify(deep=True).ok


def test_files_of_landed_segments_are_reused(fresh_lake: Lake) -> None:
    def files() -> dict[int, str]:
        folders = [path for path in (Path(fresh_lake.uri) / "spool").iterdir() if path.is_dir()]
        return {path.stat().st_ino: path.suffix for path in folders[0].iterdir() if path.name != "lock"}

    with Writer(fresh_lake.store, "long") as writer:
        seen: set[int] = set()
        for index in range(30):
            writer.append([reward(index), turn(index)])
            assert list(files().values()).count(SEGMENT_SUFFIX) == 1
            writer.land_spooled()
            assert set(files().values()) == {SPARE_SUFFIX}
            seen |= files().keys()
        assert len(seen) <= SPARES_MAX
    assert len(landed_ids(fresh_lake.store)) == 60
    assert list((Path(fresh_lake.uri) / "spool").iterdir()) == []
    assert fresh_lake.verify(deep=True).ok


def test_acknowledged_events_in_a_reused_file_are_recovered(fresh_lake: Lake) -> None:
    writer = fresh_lake.writer("dies")
    for index in range(5):
        writer.append([reward(10 * index + number) for number in range(9 - index)])
        if index < 4:
            writer.land_spooled()
    spool = writer._spool
    assert spool is not None
    spool.release(empty=False)
    [segment] = spool.folder.glob(f"*{SEGMENT_SUFFIX}")
    assert segment.stat().st_size > 1000
    found = recover(fresh_lake.store)
    assert (found.segment_count, found.event_count, found.torn_byte_count) == (1, 5, 0)
    assert len(landed_ids(fresh_lake.store)) == 9 + 8 + 7 + 6 + 5
    assert list((Path(fresh_lake.uri) / "spool").iterdir()) == []


def test_a_failing_sync_ends_the_writer_and_acknowledged_events_are_recovered(fresh_lake: Lake) -> None:
    writer = fresh_lake.writer("failing")
    writer.append([reward(0)])
    spool = writer._spool
    assert spool is not None
    assert spool._segment is not None
    # The file is closed under the writer, as if the disk had gone away.
    os.close(spool._segment.fileno())
    with pytest.raises(SpoolError, match="could not be made durable"):
        writer.append([reward(1)])
    with pytest.raises(Exception, match="closed"):
        writer.append([reward(2)])
    with fresh_lake.writer("next") as again:
        assert again.append([reward(0)]).duplicate_count == 1
        assert again.append([reward(1), reward(2)]).new_count == 2
    assert len(landed_ids(fresh_lake.store)) == 3


def test_a_spool_folder_gets_its_name_once_it_is_locked(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "epoch", "run")
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["epoch"]
    store = LocalStore(tmp_path)
    assert recover(store) == (0, 0, 0)
    spool.release(empty=True)
    assert list((tmp_path / "spool").iterdir()) == []


def test_spooled_and_directly_landed_events_have_the_same_columns() -> None:
    event = turn(0, new_prompt_ids=[1, 2], sampling_logprobs=[-0.5], completion_mask=[True, False])
    canonical = canonical_event(type(event), event.__dict__)
    row = EventRow(event, canonical.identity, *ORIGIN, None, canonical.byte_count)
    direct = event_rows_to_table(event.KIND, [row], 7, run_id="run", epoch=HEAD.epoch, recorded_at=MOMENT)
    [sealed] = spooled_events_to_tables(HEAD, read_segment(segment_of([event])).events, arrow_schema)
    assert sealed.equals(direct)
    assert landed_file(sealed) == landed_file(direct)
