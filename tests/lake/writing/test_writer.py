"""Goal: events land once, however often and in whatever order they are delivered, and no acknowledged one is
lost.

Method: deliveries are shuffled, repeated and cut; then the store fails at every put in turn.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.event_strategies import EVENTS as ANY_EVENTS
from tests.lake.facts import digests, ended, landed_ids, landed_seqs, of_three_kinds, reward, table_ids, turn
from tests.lake.store_wrappers import FullStore
from tracelake.lake import Lake
from tracelake.lake.layout import EVENTS, parse_landed_path
from tracelake.lake.stores.local_store import LocalStore
from tracelake.lake.writing.deduplicate import Origin, Receipt, read_or_create_redaction_key
from tracelake.lake.writing.writer import Writer
from tracelake.schemas.errors import EventInvalidError, LakeError
from tracelake.schemas.events.event import Event, event_identity
from tracelake.schemas.events.lake_events import ConflictFound


def ids_of(events: list[Event]) -> list[str]:
    return sorted({event_identity(event).event_id for event in events})


def test_a_second_delivery_is_all_duplicates_and_lands_nothing(fresh_lake: Lake) -> None:
    events = of_three_kinds(range(4))
    with fresh_lake.writer("one") as writer:
        assert writer.append(events) == Receipt(12, 0, 0)
        assert writer.append(events) == Receipt(0, 12, 0)
        assert writer.append([*events, ended(9), ended(9)]) == Receipt(1, 13, 0)
    with fresh_lake.writer("two") as writer:
        assert writer.append(events) == Receipt(0, 12, 0)
    assert Counter(landed_ids(fresh_lake.store)).most_common(1)[0][1] == 1
    assert sorted(landed_ids(fresh_lake.store)) == ids_of([*events, ended(9)])


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[Event]]:
    """Every event of a few rollouts at least once, in any order, repeated and cut anywhere."""
    events = of_three_kinds(range(3))
    repeats = draw(st.lists(st.sampled_from(events), max_size=6))
    order = draw(st.permutations(events + repeats))
    cuts = sorted(draw(st.sets(st.integers(0, len(order)), max_size=4)) | {0, len(order)})
    return [order[start:end] for start, end in pairwise(cuts)]


def delivered(folder: Path, parts: list[list[Event]], *, reopen: bool) -> Lake:
    lake = Lake.create(str(folder / "lake"))
    writer = lake.writer("run")
    for part in parts:
        writer.append(part)
        if reopen:
            writer.close()
            writer = lake.writer("run")
    writer.close()
    return lake


@pytest.fixture(scope="module")
def delivered_once(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = delivered(tmp_path_factory.mktemp("once"), [of_three_kinds(range(3))], reopen=False)
    lake.project()
    return lake


@given(deliveries(), st.booleans())
@settings(max_examples=8)
def test_shuffled_repeated_and_cut_deliveries_make_the_same_tables(
    tmp_path_factory: pytest.TempPathFactory, delivered_once: Lake, parts: list[list[Event]], reopen: bool
) -> None:
    lake = delivered(tmp_path_factory.mktemp("again"), parts, reopen=reopen)
    lake.project()
    assert digests(lake) == digests(delivered_once)
    assert lake.pin("p", lake.tables()).digest == delivered_once.pin("p", lake.tables()).digest
    assert lake.verify(deep=True).ok


@given(st.lists(ANY_EVENTS, max_size=8))
@settings(max_examples=30)
def test_receipts_add_up_and_nothing_is_dropped(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event]
) -> None:
    lake = delivered(tmp_path_factory.mktemp("any"), [], reopen=False)
    total = Counter[str]()
    with lake.writer("run") as writer:
        for part in (events[::2], events[1::2], events):
            receipt = writer.append(part)
            assert sum(receipt) == len(part)
            total.update(receipt._asdict())
    landed = landed_ids(lake.store)
    conflicts = landed_ids(lake.store, ConflictFound.KIND)
    given_conflicts = ids_of([event for event in events if isinstance(event, ConflictFound)])
    assert set(ids_of(events)) <= set(landed)
    assert len(landed) == total["new_count"] + 2 * total["conflict_count"]
    assert len(conflicts) == total["conflict_count"] + len(given_conflicts)


def test_two_payloads_under_one_key_both_land_with_a_conflict(fresh_lake: Lake) -> None:
    with fresh_lake.writer("one") as writer:
        assert writer.append([reward(0, 1.0), reward(1)]) == Receipt(2, 0, 0)
        assert writer.append([reward(0, 0.0)]) == Receipt(0, 0, 1)
        # Both payloads are known now: neither is a conflict again.
        assert writer.append([reward(0, 0.0), reward(0, 1.0)]) == Receipt(0, 2, 0)
        assert writer.append([reward(0, 0.5)]) == Receipt(0, 0, 1)
    fresh_lake.project()
    assert len(table_ids(fresh_lake, "reward_assigned")) == 4
    conflicts = fresh_lake.scan("conflict_found").collect().to_dicts()
    first = event_identity(reward(0, 1.0))
    assert {row["other_event_id"] for row in conflicts} == set(ids_of([reward(0, 0.0), reward(0, 0.5)]))
    assert {row["first_event_id"] for row in conflicts} == {first.event_id}
    assert {row["conflict_key_hash"] for row in conflicts} == {first.key_hash}
    assert {(row["conflict_kind"], row["rollout_id"]) for row in conflicts} == {("reward_assigned", "r0")}
    assert {row["provenance"] for row in conflicts} == {"derived"}


def test_a_second_import_of_a_changed_source_is_all_duplicates(fresh_lake: Lake) -> None:
    changed = [reward(index, index / 7) for index in range(5)]
    for events, receipt in [
        ([reward(index) for index in range(5)], Receipt(5, 0, 0)),
        (changed, Receipt(0, 0, 5)),
        (changed, Receipt(0, 5, 0)),
    ]:
        with fresh_lake.writer("import") as writer:
            assert writer.append(events) == receipt
    assert len(landed_ids(fresh_lake.store, "conflict_found")) == 5


def test_a_given_conflict_is_not_found_again(fresh_lake: Lake) -> None:
    first, other = event_identity(reward(0)), event_identity(reward(0, 0.0))
    conflict = ConflictFound(
        conflict_kind="reward_assigned",
        conflict_key_hash=first.key_hash,
        first_event_id=first.event_id,
        other_event_id=other.event_id,
        rollout_id="r0",
    )
    with fresh_lake.writer("run") as writer:
        assert writer.append([conflict, reward(0), reward(0, 0.0)]) == Receipt(2, 0, 1)
    assert len(landed_ids(fresh_lake.store, "conflict_found")) == 1


def test_an_envelope_names_run_writer_and_source(fresh_lake: Lake) -> None:
    with fresh_lake.writer("import-7") as writer:
        writer.append([reward(0)], Origin("imported", "traces/a.jsonl", "ab" * 32))
        writer.append([reward(1)])
    fresh_lake.project()
    rows = fresh_lake.scan("reward_assigned").sort("rollout_id").collect().to_dicts()
    assert [(row["provenance"], row["source_uri"]) for row in rows] == [
        ("imported", "traces/a.jsonl"),
        ("live", None),
    ]
    assert {(row["run_id"], row["kind"], row["schema_version"]) for row in rows} == {
        ("import-7", "reward_assigned", 1)
    }
    assert rows[0]["recorded_at"].tzinfo is not None
    assert len({row["writer_epoch"] for row in rows}) == 1


def test_sequence_numbers_are_contiguous_over_kinds_and_flushes(fresh_lake: Lake) -> None:
    with fresh_lake.writer("run") as writer:
        for start in range(0, 9, 3):
            writer.add(of_three_kinds(range(start, start + 2)))
            writer.add([reward(start, 5.0)])
            writer.start_flush()
        writer.flush()
        writer.flush()
    [numbers] = landed_seqs(fresh_lake.store).values()
    assert numbers == list(range(len(landed_ids(fresh_lake.store))))
    assert len(numbers) == 3 * (6 + 2)


def test_a_landed_file_is_named_by_its_bytes_its_kind_and_its_first_number(fresh_lake: Lake) -> None:
    with fresh_lake.writer("run") as writer:
        writer.append(of_three_kinds(range(3)))
        writer.flush()
        writer.append([turn(7)])
    paths = fresh_lake.store.list(EVENTS)
    assert len(paths) == 4
    numbers = landed_seqs(fresh_lake.store)
    for path in paths:
        name = parse_landed_path(path)
        assert hashlib.sha256(fresh_lake.store.read(path)).hexdigest() == name.sha256
        assert name.first_seq in numbers[name.writer_epoch]
    assert sorted(parse_landed_path(path).first_seq for path in paths) == [0, 3, 6, 9]


def parts() -> list[list[Event]]:
    """Three deliveries, a conflict among them."""
    return [
        of_three_kinds(range(2)),
        [*of_three_kinds(range(2, 4)), reward(0, 0.25)],
        of_three_kinds(range(4, 6)),
    ]


def deliver_until_it_fails(writer: Writer) -> list[Event]:
    """Events that were acknowledged."""
    acknowledged: list[Event] = []
    for part in parts():
        try:
            writer.append(part)
        except OSError:
            with pytest.raises(LakeError, match="closed"):
                writer.append(part)
            writer.close()
            break
        acknowledged += part
    return acknowledged


PUTS_IN_ALL = 3 + 4 + 3


@pytest.mark.parametrize("after_write", [False, True], ids=["not written", "written, then an error"])
@pytest.mark.parametrize("takes", range(PUTS_IN_ALL + 1))
def test_a_failing_put_loses_no_acknowledged_event_and_a_retry_lands_the_rest_once(
    tmp_path: Path, takes: int, after_write: bool
) -> None:
    local = LocalStore(tmp_path)
    read_or_create_redaction_key(local)
    failing = FullStore(local, takes, after_write=after_write)
    acknowledged = deliver_until_it_fails(Lake(failing).writer("run"))
    assert (takes == PUTS_IN_ALL) == (len(acknowledged) == sum(map(len, parts())))
    assert set(ids_of(acknowledged)) <= set(landed_ids(local))
    for numbers in landed_seqs(local).values():
        assert numbers == list(range(len(numbers))), "what landed of an epoch is its beginning"

    lake = Lake(local)
    with lake.writer("retry") as writer:
        for part in parts():
            writer.append(part)
    everything = ids_of([event for part in parts() for event in part])
    lake.project()
    tables = [
        event_id for kind in lake.tables() if kind != "conflict_found" for event_id in table_ids(lake, kind)
    ]
    assert sorted(tables) == everything
    assert len(table_ids(lake, "conflict_found")) == 1
    assert set(Counter(landed_ids(local)).values()) == {1}
    assert lake.verify(deep=True).ok


@pytest.mark.parametrize("takes", range(6))
def test_files_land_in_the_order_of_their_numbers(tmp_path: Path, takes: int) -> None:
    local = LocalStore(tmp_path)
    read_or_create_redaction_key(local)
    failing = FullStore(local, takes)
    writer = Lake(failing).writer("run")
    writer.add([*of_three_kinds(range(2)), reward(0, 0.25)])
    with pytest.raises(OSError, match="no space") if takes < 5 else nullcontext():
        writer.close()
    numbers = [parse_landed_path(path).first_seq for path in failing.put_paths if path.startswith(EVENTS)]
    assert numbers == [0, 2, 5, 7][:takes]


def test_an_event_that_cannot_be_named_leaves_nothing_of_its_call(fresh_lake: Lake) -> None:
    def hostile() -> Iterator[Event]:
        yield reward(1)
        yield reward(2, float("nan"))

    with fresh_lake.writer("run") as writer:
        writer.add([reward(0)])
        with pytest.raises(EventInvalidError):
            writer.append(hostile())
        assert writer.append([reward(1)]) == Receipt(1, 0, 0)
    assert sorted(landed_ids(fresh_lake.store)) == ids_of([reward(0), reward(1)])


def test_queued_events_land_when_the_block_ends_and_a_closed_writer_refuses(fresh_lake: Lake) -> None:
    def add_and_fail(writer: Writer) -> None:
        with writer:
            writer.add([reward(0)])
            raise KeyError("something else")

    writer = fresh_lake.writer("run")
    with pytest.raises(KeyError):
        add_and_fail(writer)
    assert landed_ids(fresh_lake.store) == ids_of([reward(0)])
    writer.close()
    with pytest.raises(LakeError, match="closed"):
        writer.add([reward(1)])


def test_an_epoch_is_one_opening_and_sorts_by_time(fresh_lake: Lake) -> None:
    for index in range(3):
        with fresh_lake.writer("run") as writer:
            writer.append([reward(index)])
    epochs = sorted(landed_seqs(fresh_lake.store))
    assert len(epochs) == 3
    order: list[Any] = [
        fresh_lake.store.list(f"{EVENTS}/kind=reward_assigned/{epoch}")[0] for epoch in epochs
    ]
    assert order == sorted(order)


def test_an_empty_delivery_lands_no_file(fresh_lake: Lake) -> None:
    with fresh_lake.writer("run") as writer:
        assert writer.append([]) == Receipt(0, 0, 0)
    assert fresh_lake.store.list(EVENTS) == []
    assert fresh_lake.project() == {}
    assert fresh_lake.tables() == []
