"""Goal: an audit reports nothing for a healthy lake, and every damage of a damaged one."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import lance
import polars as pl
import pytest

from tests.lake.facts import of_three_kinds, reward, turn
from tracelake.lake import Lake
from tracelake.lake.landed.writing import land, landed_file
from tracelake.lake.layout import EVENTS, parse_landed_path, table_path
from tracelake.lake.tables import torn_manifests
from tracelake.lake.tables.derived import Derivation
from tracelake.lake.tables.lance_errors import panics_as_errors
from tracelake.lake.writing.rows import EventRow, event_rows_to_table
from tracelake.schemas.events.event import event_identity

KIND = "reward_assigned"
FLIPS = 6
DERIVATION = Derivation(key=("id",), code_version="1")


@pytest.fixture
def healthy_lake(fresh_lake: Lake) -> Lake:
    """Two epochs, a duplicate, a conflict, tables, a derived table and a pin."""
    with fresh_lake.writer("one") as writer:
        for index in range(3):
            writer.append(of_three_kinds([index]))
            writer.flush()
    with fresh_lake.writer("two") as writer:
        writer.append(
            [*of_three_kinds([2, 3]), reward(0, 0.0), turn(9, sampling_logprobs=[-0.1], completion_ids=[1])]
        )
    fresh_lake.project()
    fresh_lake.derive("pairs", pl.DataFrame({"id": [1, 2]}), DERIVATION)
    fresh_lake.pin("p", [KIND, "pairs"])
    return fresh_lake


def files(lake: Lake, kind: str = KIND) -> list[Path]:
    return [Path(lake.store.location(path)) for path in lake.store.list(f"{EVENTS}/kind={kind}")]


def problems(lake: Lake, *, deep: bool = False) -> str:
    audit = lake.verify(deep=deep)
    assert audit.ok == (not audit.problems)
    return "\n".join(audit.problems)


@pytest.mark.parametrize("deep", [False, True])
def test_a_healthy_lake_is_counted_and_has_no_problem(healthy_lake: Lake, deep: bool) -> None:
    audit = healthy_lake.verify(deep=deep)
    assert audit.problems == ()
    assert (audit.landed_files, audit.landed_events, audit.tables, audit.pins) == (13, 15, 5, 1)
    assert audit.deep is deep


def test_an_empty_lake_and_an_unprojected_lake_are_healthy(fresh_lake: Lake) -> None:
    assert fresh_lake.verify(deep=True).ok
    with fresh_lake.writer("run") as writer:
        writer.append(of_three_kinds([0]))
    assert fresh_lake.verify(deep=True).ok


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_flipped_bit_in_a_landed_file_is_reported(healthy_lake: Lake, position: int) -> None:
    path = files(healthy_lake)[0]
    data = bytearray(path.read_bytes())
    data[position] ^= 4
    path.write_bytes(data)
    found = problems(healthy_lake)
    assert path.name in found
    assert "damaged" in found
    assert f"table {KIND}: 1 events are in no readable file" in found


def test_a_deleted_landed_file_is_reported_by_its_gap_and_its_orphans(healthy_lake: Lake) -> None:
    path = files(healthy_lake)[1]
    name = parse_landed_path(str(path)[str(path).index(EVENTS) :])
    path.unlink()
    found = problems(healthy_lake)
    assert (
        f"writer {name.writer_epoch}: 1 sequence numbers are in no readable file, first {name.first_seq}"
        in found
    )
    assert f"table {KIND}: 1 events are in no readable file" in found


def test_a_gap_is_reported_before_any_projection(fresh_lake: Lake) -> None:
    with fresh_lake.writer("run") as writer:
        for index in range(3):
            writer.append([reward(index)])
            writer.flush()
    files(fresh_lake)[1].unlink()
    assert "1 sequence numbers are in no readable file, first 1" in problems(fresh_lake)


def test_the_missing_only_file_of_a_kind_is_reported(healthy_lake: Lake) -> None:
    for path in files(healthy_lake, "conflict_found"):
        path.unlink()
    assert "table conflict_found: 1 events are in no readable file" in problems(healthy_lake)


def test_a_file_copied_into_another_epoch_is_reported(healthy_lake: Lake) -> None:
    path = files(healthy_lake)[0]
    folder = path.parents[1] / "20990101T000000000000-copied"
    folder.mkdir()
    (folder / path.name).write_bytes(path.read_bytes())
    assert "copied" in problems(healthy_lake)


def test_a_foreign_file_among_the_landed_files_is_reported(healthy_lake: Lake) -> None:
    stray = files(healthy_lake)[0].with_name("notes.parquet")
    stray.write_bytes(b"")
    found = problems(healthy_lake)
    assert found.count("notes.parquet") == 1


def location(lake: Lake, name: str = KIND) -> str:
    return lake.store.location(table_path(name))


def test_a_foreign_row_in_a_table_is_reported(healthy_lake: Lake) -> None:
    identity = event_identity(reward(77))
    rows = lance.dataset(location(healthy_lake)).to_table().slice(0, 1).to_pylist()
    rows[0] |= {"event_id": identity.event_id, "key_hash": identity.key_hash, "rollout_id": "r77"}
    lance.write_dataset(
        rows, location(healthy_lake), schema=lance.dataset(location(healthy_lake)).schema, mode="append"
    )
    assert f"table {KIND}: 1 events are in no readable file" in problems(healthy_lake)
    assert identity.event_id in problems(healthy_lake)


def test_a_duplicate_row_and_a_deleted_row_are_reported(healthy_lake: Lake) -> None:
    dataset = lance.dataset(location(healthy_lake))
    lance.write_dataset(dataset.to_table().slice(0, 1), location(healthy_lake), mode="append")
    assert f"table {KIND}: 6 rows, 5 distinct events" in problems(healthy_lake)
    lost = event_identity(reward(1)).event_id
    lance.dataset(location(healthy_lake)).delete(f"event_id = '{lost}'")
    assert f"1 events that its cursor has passed are not in it, first {lost}" in problems(healthy_lake)


def test_a_deep_audit_reports_a_changed_value_in_a_table(healthy_lake: Lake) -> None:
    changed = event_identity(reward(1)).event_id
    lance.dataset(location(healthy_lake)).update({"score": "0.125"}, where=f"event_id = '{changed}'")
    assert problems(healthy_lake) == ""
    assert f"table {KIND}: event {changed} does not hash to its own id" in problems(healthy_lake, deep=True)


def test_a_deep_audit_reports_changed_rows_of_a_derived_table(healthy_lake: Lake) -> None:
    lance.dataset(location(healthy_lake, "pairs")).update({"id": "7"}, where="id = 1")
    assert problems(healthy_lake) == ""
    assert "table pairs: its rows are not those that were derived" in problems(healthy_lake, deep=True)


@pytest.mark.parametrize("forged", [{"score": 0.125}, {"score": float("nan")}], ids=str)
def test_a_deep_audit_reports_a_forged_landed_file(healthy_lake: Lake, forged: dict[str, float]) -> None:
    path = files(healthy_lake)[0]
    first_seq = int(path.name.split("-")[0])
    identity = event_identity(reward(0))
    row = EventRow(reward(0).model_copy(update=forged), identity, "live", None, None)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    table = event_rows_to_table(
        KIND, [row], first_seq, run_id="one", epoch=path.parent.name, recorded_at=moment
    )
    path.unlink()
    land(healthy_lake.store, landed_file(table))
    assert "had landed and is missing" in problems(healthy_lake)
    assert f"event {identity.event_id} does not hash to its own id" in problems(healthy_lake, deep=True)


DAMAGES: dict[str, Callable[[Lake], None]] = {
    "a manifest of a pin": lambda lake: Path(lake.store.location("pins/p/000001.json")).write_text("{}"),
    "a stray pin": lambda lake: lake.store.put_new("pins/notes.json", b"{}"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_is_reported_and_hides_no_other_pin(healthy_lake: Lake, damage: str) -> None:
    healthy_lake.pin("other", ["pairs"])
    DAMAGES[damage](healthy_lake)
    lance.dataset(location(healthy_lake, "pairs")).tags.delete("pin-other-1")
    for path in Path(location(healthy_lake, "pairs")).rglob("*.lance"):
        path.unlink()
    found = problems(healthy_lake, deep=True)
    assert "manifest pins/" in found
    assert "pin other@1" in found


def test_an_audit_during_writes_and_projections_raises_no_false_alarm(fresh_lake: Lake) -> None:
    done = threading.Event()

    def work() -> None:
        with fresh_lake.writer("run") as writer:
            for index in range(40):
                writer.append(of_three_kinds([index]))
                if index % 5 == 0:
                    fresh_lake.project()
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    found: list[str] = []
    while not done.is_set():
        found.extend(fresh_lake.verify().problems)
    worker.join()
    assert found == []


def contents(lake: Lake) -> object:
    """Everything that a reader gets: rows and pins."""
    rows = {
        name: lake.scan(name).collect().sort(pl.first()).to_dict(as_series=False) for name in lake.tables()
    }
    return repr((rows, lake.pins(), [lake.open_pin(pin.reference).pin for pin in lake.pins()]))


PLACES = {
    "a landed file": f"{EVENTS}/**/*.parquet",
    "a data file": "tables/*.lance/data/*.lance",
    "a version": "tables/*.lance/_versions/*.manifest",
    "a pin": "pins/**/*.json",
    "the log": "log/*.txt",
    "a tag": "tables/*.lance/_refs/tags/*.json",
}


@pytest.mark.parametrize("place", PLACES)
def test_every_flipped_bit_is_found_or_changes_no_contents(
    healthy_lake: Lake, tmp_path: Path, place: str
) -> None:
    before, draw = contents(healthy_lake), random.Random(place)
    backup = tmp_path / "backup"
    shutil.copytree(healthy_lake.uri, backup)
    missed: list[str] = []
    for _ in range(FLIPS):
        path = draw.choice(sorted(Path(healthy_lake.uri).glob(PLACES[place])))
        data = bytearray(path.read_bytes())
        at, bit = draw.randrange(len(data)), draw.randrange(8)
        data[at] ^= 1 << bit
        path.write_bytes(data)
        torn_manifests.forget_checked_tables()
        audit = healthy_lake.verify(deep=True)
        assert path.exists(), "an audit must not move files"
        if audit.ok and _read_now(healthy_lake) != before:
            missed.append(f"{path.name} byte {at} bit {bit}")
        shutil.rmtree(healthy_lake.uri)
        shutil.copytree(backup, healthy_lake.uri)
    assert missed == []


def _read_now(lake: Lake) -> object:
    """`contents`, with panics as errors."""
    with panics_as_errors("the lake"):
        return contents(lake)


def test_a_table_with_columns_of_different_lengths_is_reported(fresh_lake: Lake) -> None:
    rows = pl.DataFrame({"id": list("abcde"), "score": [0.1, 0.2, 0.3, 0.4, 0.5]})
    fresh_lake.derive("scores", rows, DERIVATION)
    [path] = Path(fresh_lake.store.location(table_path("scores")), "data").iterdir()
    data = path.read_bytes()
    unequal = 0
    # For each column, one byte of the file is its row count.
    for at in (at for at, byte in enumerate(data) if byte == rows.height):
        path.write_bytes(data[:at] + bytes([rows.height + 8]) + data[at + 1 :])
        found = problems(fresh_lake, deep=True)
        unequal += "differing lengths" in found
        assert found or fresh_lake.scan("scores").collect().sort("id").equals(rows)
    assert unequal == len(rows.columns)


def test_dependents_of_a_damaged_file_are_reported(healthy_lake: Lake) -> None:
    frame = pl.DataFrame({"id": [1]})
    healthy_lake.derive("scored", frame, Derivation(key=("id",), code_version="1", inputs={KIND: "digest"}))
    healthy_lake.derive("ranked", frame, Derivation(key=("id",), code_version="1", inputs={"scored": "d"}))
    healthy_lake.pin("r", ["ranked"])
    path = files(healthy_lake)[0]
    path.write_bytes(path.read_bytes()[:-1])
    found = problems(healthy_lake, deep=True)
    assert f"(on which depend: tables {KIND}, ranked, scored; pins p@1, r@1)" in found
