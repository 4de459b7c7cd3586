"""Goal: a pin always opens with the same contents, or fails loudly.

Method: pins are created, then everything around them changes: late events, overwriting, compaction, cleanup,
and then the pinned bytes themselves.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import lance
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from tests.lake.facts import ended, of_three_kinds, reward
from tracelake.lake import Lake
from tracelake.lake.layout import EVENTS as LANDED
from tracelake.lake.layout import parse_pin_path, pin_path, pin_tag, table_path
from tracelake.lake.tables.derived import Derivation
from tracelake.lake.tables.tags import create_tag
from tracelake.schemas.errors import (
    BadInputError,
    CommitContendedError,
    PinChangedError,
    PinMissingError,
    TableMissingError,
)
from tracelake.schemas.events.event import event_identity

EVENTS, PAIRS = "reward_assigned", "pairs"
DERIVATION = Derivation(key=("id",), code_version="1", inputs={EVENTS: "d"})


def frame(*ids: str) -> pl.DataFrame:
    return pl.DataFrame({"id": list(ids), "text": [f"pair {name}" for name in ids]})


def add(lake: Lake, *indices: int, score: float = 1.0) -> None:
    with lake.writer("run") as writer:
        writer.append([reward(index, score) for index in indices])
    lake.project()


@pytest.fixture
def pinned_lake(fresh_lake: Lake) -> Lake:
    """An event table and a table derived from it, both in pin `p@1`."""
    add(fresh_lake, 0, 1, 2)
    fresh_lake.derive(PAIRS, frame("a", "b"), DERIVATION)
    assert fresh_lake.pin("p", [EVENTS, PAIRS]).reference == "p@1"
    return fresh_lake


def contents(lake: Lake, reference: str = "p@1") -> list[pl.DataFrame]:
    opened = lake.open_pin(reference)
    return [opened.scan(EVENTS).sort("event_id").collect(), opened.scan(PAIRS).sort("id").collect()]


def compact_and_clean(lake: Lake) -> None:
    for name in lake.tables():
        dataset = lance.dataset(lake.store.location(table_path(name)))
        dataset.optimize.compact_files()
        dataset = lance.dataset(lake.store.location(table_path(name)))
        dataset.cleanup_old_versions(older_than=timedelta(0), error_if_tagged_old_versions=False)


def test_a_pin_opens_unchanged_after_all_that_may_happen_to_a_lake(pinned_lake: Lake) -> None:
    before = contents(pinned_lake)
    pin = pinned_lake.open_pin("p@1").pin
    add(pinned_lake, 3, 4)
    add(pinned_lake, 0, score=0.0)
    pinned_lake.derive(PAIRS, frame("c"), DERIVATION)
    add(pinned_lake, 5)
    compact_and_clean(pinned_lake)
    assert len(lance.dataset(pinned_lake.store.location(table_path(PAIRS))).versions()) == 2
    for now, then in zip(contents(pinned_lake), before, strict=True):
        assert_frame_equal(now, then)
    assert pinned_lake.open_pin("p@1").pin == pin
    assert_frame_equal(pinned_lake.scan(PAIRS, at="p@1").sort("id").collect(), before[1])
    assert pinned_lake.state(PAIRS).row_count == 1
    assert pinned_lake.verify(deep=True).ok


def test_the_same_contents_are_the_same_pin(pinned_lake: Lake) -> None:
    first = pinned_lake.pin("p", [PAIRS, EVENTS, PAIRS])
    assert first.reference == "p@1"
    pinned_lake.project()
    compact_and_clean(pinned_lake)
    assert pinned_lake.pin("p", [EVENTS, PAIRS]) == first
    pinned_lake.derive(PAIRS, frame("c"), DERIVATION)
    second = pinned_lake.pin("p", [EVENTS, PAIRS])
    assert (second.number, second.digest == first.digest) == (2, False)
    pinned_lake.derive(PAIRS, frame("a", "b"), DERIVATION)
    assert pinned_lake.pin("p", [EVENTS, PAIRS]) == first
    other = pinned_lake.pin("other", [EVENTS, PAIRS])
    assert (other.reference, other.digest) == ("other@1", first.digest)


def test_lakes_with_the_same_events_create_pins_of_the_same_digest(pinned_lake: Lake, tmp_path: Path) -> None:
    again = Lake.create(str(tmp_path / "again"))
    for index in (2, 0, 1):
        add(again, index)
    again.derive(PAIRS, frame("b", "a"), DERIVATION)
    pins = [lake.pin("p", [EVENTS, PAIRS]) for lake in (pinned_lake, again)]
    assert pins[0].digest == pins[1].digest
    assert pins[0].tables[EVENTS].version != pins[1].tables[EVENTS].version


def test_a_late_reward_gives_another_pin(pinned_lake: Lake) -> None:
    add(pinned_lake, 9)
    second = pinned_lake.pin("p", [EVENTS, PAIRS])
    assert second.reference == "p@2"
    assert second.ledger[EVENTS].landed == 4
    assert pinned_lake.open_pin("p@1").pin.ledger[EVENTS].landed == 3
    assert [pin.reference for pin in pinned_lake.pins()] == ["p@1", "p@2"]
    assert pinned_lake.open_pin("p").pin == second


def test_events_in_conflict_are_counted_and_left_out(pinned_lake: Lake) -> None:
    add(pinned_lake, 0, score=0.0)
    pin = pinned_lake.pin("p", [EVENTS])
    conflicting = sorted(event_identity(reward(0, score)).event_id for score in (0.0, 1.0))
    assert pin.tables[EVENTS].quarantined == tuple(conflicting)
    assert pin.ledger[EVENTS].conflicting == 1
    rollouts = pinned_lake.open_pin("p@2").scan(EVENTS).collect()["rollout_id"]
    assert sorted(rollouts) == ["r1", "r2"]
    assert sorted(contents(pinned_lake)[0]["rollout_id"]) == ["r0", "r1", "r2"]


def test_the_ledger_covers_the_kinds_behind_derived_tables(fresh_lake: Lake) -> None:
    with fresh_lake.writer("run") as writer:
        writer.append(of_three_kinds(range(2)))
    fresh_lake.project()
    fresh_lake.derive("turns", frame("a"), DERIVATION.model_copy(update={"inputs": {"turn_completed": "d"}}))
    fresh_lake.derive(
        PAIRS, frame("a"), DERIVATION.model_copy(update={"inputs": {"turns": "d", "rollout_ended": "e"}})
    )
    pin = fresh_lake.pin("p", [PAIRS])
    assert {kind: line.landed for kind, line in pin.ledger.items()} == {
        "turn_completed": 2,
        "rollout_ended": 2,
    }
    assert set(pin.schema_versions) == set(pin.ledger)


def test_a_pin_without_tables_or_of_missing_tables_is_refused(pinned_lake: Lake) -> None:
    with pytest.raises(BadInputError, match="a pin needs tables"):
        pinned_lake.pin("q", [])
    with pytest.raises(TableMissingError, match="absent"):
        pinned_lake.pin("q", [PAIRS, "absent"])
    for name in ("../q", "q@1", "a..b", ""):
        with pytest.raises(BadInputError):
            pinned_lake.pin(name, [PAIRS])
    assert [pin.reference for pin in pinned_lake.pins()] == ["p@1"]


def test_an_unknown_pin_and_an_unpinned_table_are_not_found(pinned_lake: Lake) -> None:
    for reference in ("p@2", "p@0", "q@1", "q"):
        with pytest.raises(PinMissingError, match=r"p@1"):
            pinned_lake.open_pin(reference)
    with pytest.raises(PinMissingError, match="reward_assigned"):
        pinned_lake.open_pin("p@1").scan("turns")


def manifest(lake: Lake) -> Path:
    return Path(lake.store.location(pin_path("p", 1)))


def test_every_changed_byte_of_a_manifest_is_detected_or_changes_nothing(pinned_lake: Lake) -> None:
    path, pin = manifest(pinned_lake), pinned_lake.open_pin("p@1").pin
    data = path.read_bytes()
    undetected: list[int] = []
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        try:
            same = pinned_lake.pins() == [pin]
        except PinChangedError:
            continue
        if not same:
            undetected.append(position)
    assert undetected == []


@pytest.mark.parametrize("change", ["cut", "emptied", "of another pin", "with a key too many"])
def test_a_wrong_manifest_is_refused_with_its_path(pinned_lake: Lake, change: str) -> None:
    path = manifest(pinned_lake)
    data = path.read_bytes()
    fields = json.loads(data)
    path.write_bytes(
        {
            "cut": data[:-10],
            "emptied": b"",
            "of another pin": json.dumps({**fields, "number": 7}).encode(),
            "with a key too many": json.dumps({**fields, "note": ""}).encode(),
        }[change]
    )
    for look in (
        lambda: pinned_lake.open_pin("p@1"),
        pinned_lake.pins,
        lambda: pinned_lake.pin("p", [PAIRS]),
    ):
        with pytest.raises(PinChangedError, match=r"p/000001\.json"):
            look()


def rewrite(lake: Lake, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace a table by another one with as many versions, as a careless copy does."""
    location = lake.store.location(table_path(name))
    dataset = lance.dataset(location)
    rows, version = change(dataset.to_table()), dataset.version
    shutil.rmtree(location)
    for _ in range(version):
        lance.write_dataset(rows.replace_schema_metadata(dataset.schema.metadata), location, mode="overwrite")


def with_column(name: str, values: list[object]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        index = table.column_names.index(name)
        return table.set_column(
            index, table.schema.field(name), pa.array(values, table.schema.field(name).type)
        )

    return change


CHANGES: dict[str, tuple[str, Callable[[pa.Table], pa.Table]]] = {
    "a value of a derived table": (PAIRS, with_column("text", ["pair a", "pair x"])),
    "a null in a derived table": (PAIRS, with_column("text", ["pair a", None])),
    "a row less in a derived table": (PAIRS, lambda table: table.slice(1)),
    "a column more in a derived table": (PAIRS, lambda table: table.append_column("more", [[1, 2]])),
    "no column in a derived table": (PAIRS, lambda table: table.drop_columns(["id"])),
    "a row twice in an event table": (
        EVENTS,
        lambda table: pa.concat_tables([table, table.slice(1)]).slice(1),
    ),
    "a row less in an event table": (EVENTS, lambda table: table.slice(1)),
    "a score in an event table": (EVENTS, with_column("score", [1.0, 1.0, 0.5])),
    "the envelope in an event table": (EVENTS, with_column("run_id", ["run", "run", "other"])),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_table_is_detected(pinned_lake: Lake, change: str) -> None:
    name, apply = CHANGES[change]
    rewrite(pinned_lake, name, lambda table: table)
    pinned_lake.open_pin("p@1")
    rewrite(pinned_lake, name, apply)
    with pytest.raises(PinChangedError, match=rf"{name} of pin p@1"):
        pinned_lake.open_pin("p@1")
    assert any(name in problem for problem in pinned_lake.verify(deep=True).problems)


def test_a_foreign_table_is_detected(pinned_lake: Lake) -> None:
    location = pinned_lake.store.location(table_path(PAIRS))
    shutil.rmtree(location)
    lance.write_dataset(frame("a", "b").to_arrow(), location)
    with pytest.raises(PinChangedError, match="pairs"):
        pinned_lake.open_pin("p@1")


@pytest.mark.parametrize("name", [EVENTS, PAIRS])
@pytest.mark.parametrize("files", ["*.lance", "*.manifest"])
def test_lost_files_of_a_pinned_version_are_detected(pinned_lake: Lake, name: str, files: str) -> None:
    for path in Path(pinned_lake.store.location(table_path(name))).rglob(files):
        path.unlink()
    with pytest.raises(PinChangedError, match=name):
        pinned_lake.open_pin("p@1")
    assert not pinned_lake.verify().ok or not pinned_lake.verify(deep=True).ok


def test_a_removed_pinned_version_is_detected_and_can_be_pinned_again(
    pinned_lake: Lake,
) -> None:
    pinned_lake.derive(PAIRS, frame("c"), DERIVATION)
    dataset = lance.dataset(pinned_lake.store.location(table_path(PAIRS)))
    dataset.tags.delete(pin_tag("p", 1))
    compact_and_clean(pinned_lake)
    with pytest.raises(PinChangedError, match=r"pairs of pin p@1 cannot be read.*no version 1"):
        pinned_lake.open_pin("p@1")
    assert not pinned_lake.verify().ok
    pinned_lake.derive(PAIRS, frame("a", "b"), DERIVATION)
    assert pinned_lake.pin("p", [EVENTS, PAIRS]).reference == "p@2"
    assert contents(pinned_lake, "p@2")[1]["id"].to_list() == ["a", "b"]


def test_rows_that_do_not_match_their_digest_are_not_pinned(pinned_lake: Lake) -> None:
    rewrite(pinned_lake, PAIRS, with_column("text", ["pair a", "pair x"]))
    with pytest.raises(PinChangedError, match="not what was derived"):
        pinned_lake.pin("q", [PAIRS])


def test_a_number_with_a_tag_and_no_manifest_is_skipped(pinned_lake: Lake) -> None:
    location = pinned_lake.store.location(table_path(PAIRS))
    assert create_tag(lance.dataset(location), pin_tag("p", 2), 1)
    pinned_lake.derive(PAIRS, frame("c"), DERIVATION)
    assert pinned_lake.pin("p", [EVENTS, PAIRS]).reference == "p@3"
    pinned_lake.derive(PAIRS, frame("d"), DERIVATION)
    assert pinned_lake.pin("p", [EVENTS, PAIRS]).reference == "p@4"
    assert [pin.number for pin in pinned_lake.pins()] == [1, 3, 4]


def test_versions_that_cannot_be_tagged_end_in_a_typed_error(pinned_lake: Lake) -> None:
    pinned_lake.derive(PAIRS, frame("c"), DERIVATION)
    dataset = lance.dataset(pinned_lake.store.location(table_path(PAIRS)))
    for number in range(2, 200):
        dataset.tags.create(pin_tag("p", number), 1)
    with pytest.raises(CommitContendedError, match="no free number"):
        pinned_lake.pin("p", [PAIRS])


def create_pins(uri: str, contents_of: int) -> None:
    lake = Lake.open(uri)
    for _ in range(3):
        lake.pin("raced", [EVENTS if contents_of else PAIRS])


def test_racing_processes_create_one_pin_per_contents(pinned_lake: Lake) -> None:
    spawn = multiprocessing.get_context("spawn")
    tasks = [spawn.Process(target=create_pins, args=(pinned_lake.uri, number % 2)) for number in range(3)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join(timeout=120)
    assert [task.exitcode for task in tasks] == [0, 0, 0]
    raced = [pin for pin in pinned_lake.pins() if pin.name == "raced"]
    assert sorted(list(pin.tables) for pin in raced) == [[PAIRS], [EVENTS]]
    for pin in raced:
        pinned_lake.open_pin(pin.reference)


def test_a_manifest_path_contains_name_and_number() -> None:
    assert parse_pin_path(pin_path("a.b-1", 12)) == ("a.b-1", 12)
    for path in (
        "pins/a/12.json",
        "pins/a/x.json",
        "pins/a/b/000001.json",
        "pins/000001.json",
        "pins/.a/000001.json",
    ):
        with pytest.raises(BadInputError):
            parse_pin_path(path)


def test_an_empty_table_can_be_pinned(fresh_lake: Lake) -> None:
    fresh_lake.derive(PAIRS, frame().cast(pl.String), DERIVATION)
    assert fresh_lake.pin("p", [PAIRS]).tables[PAIRS].row_count == 0
    assert fresh_lake.pin("p", [PAIRS]).reference == "p@1"
    assert fresh_lake.open_pin("p@1").scan(PAIRS).collect().height == 0


def test_events_of_another_kind_do_not_change_the_pin(pinned_lake: Lake) -> None:
    with pinned_lake.writer("run") as writer:
        writer.append([ended(0)])
    pinned_lake.project()
    assert pinned_lake.pin("p", [EVENTS, PAIRS]).reference == "p@1"


def test_a_manifest_without_its_seal_is_refused(pinned_lake: Lake) -> None:
    path = manifest(pinned_lake)
    fields = json.loads(path.read_bytes())
    for change in ({"seal": None}, {"landed": None}, {"manifest_format": 1}, {"manifest_format": 3}):
        path.write_bytes(json.dumps({**fields, **change}).encode())
        with pytest.raises(PinChangedError):
            pinned_lake.open_pin("p@1")


def test_a_second_pin_of_the_same_contents_is_the_same_pin_whatever_else_landed(pinned_lake: Lake) -> None:
    before = pinned_lake.open_pin("p@1").pin
    with pinned_lake.writer("more") as writer:
        writer.append([ended(99)])
    assert before.landed.size == len(pinned_lake.store.list(LANDED)) - 1
    assert pinned_lake.pin("p", list(before.tables)) == before
