"""Goal: an event table rebuilt from landed files is the same table, and keeps every pin whose files are
intact."""

from __future__ import annotations

import os
from pathlib import Path

import lance
import pytest

from tests.lake.facts import digests, of_three_kinds, reward, table_ids
from tracelake.lake import Lake
from tracelake.lake.layout import table_path
from tracelake.lake.tables import torn_manifests
from tracelake.schemas.errors import BadInputError, CorruptFileError, PinChangedError

KIND = "reward_assigned"


@pytest.fixture
def lake(fresh_lake: Lake) -> Lake:
    """Two epochs that share events, projected in two commits, and a pin."""
    for run in (0, 1):
        with fresh_lake.writer("run") as writer:
            writer.append(of_three_kinds(range(run, run + 3)))
        fresh_lake.project()
    fresh_lake.pin("p", fresh_lake.tables())
    return fresh_lake


def folder(lake: Lake) -> Path:
    return Path(lake.store.location(table_path(KIND)))


def test_rebuilt_tables_are_the_same_and_keep_their_pins_and_cursor(lake: Lake) -> None:
    before, pin = digests(lake), lake.open_pin("p@1").pin
    rebuilt = lake.rebuild()
    assert {each.table: (each.row_count, each.digest) for each in rebuilt} == before == digests(lake)
    assert all(each.digest == each.digest_before and not each.broken_pins for each in rebuilt)
    assert lake.open_pin("p@1").pin == pin
    assert set(lake.project().values()) == {0}
    assert lake.pin("p", lake.tables()) == pin
    with lake.writer("more") as writer:
        writer.append([reward(77)])
    assert lake.project()[KIND] == 1
    assert lake.verify(deep=True).problems == ()


def test_a_damaged_row_is_gone_after_a_rebuild(lake: Lake) -> None:
    before = table_ids(lake, KIND)
    lance.dataset(str(folder(lake))).update({"score": "0.5"}, where="rollout_id = 'r1'")
    assert not lake.verify(deep=True).ok
    [rebuilt] = lake.rebuild([KIND])
    assert rebuilt.quarantined_at is None
    assert lake.verify(deep=True).ok
    assert table_ids(lake, KIND) == before


def test_a_lost_table_is_created_again(lake: Lake, tmp_path: Path) -> None:
    before = digests(lake)
    folder(lake).rename(tmp_path / "lost")
    [rebuilt] = lake.rebuild([KIND])
    assert rebuilt.digest_before is None
    assert rebuilt.broken_pins == ("p@1",)
    assert digests(lake) == before
    assert lake.project()[KIND] == 0


def test_broken_pins_are_reported_and_a_new_pin_has_the_same_digest(
    lake: Lake,
) -> None:
    digest = lake.open_pin("p@1").pin.digest
    for path in (folder(lake) / "_versions").glob("*.manifest"):
        os.truncate(path, 0)
    torn_manifests.forget_checked_tables()
    [rebuilt] = lake.rebuild([KIND])
    assert rebuilt.broken_pins == ("p@1",)
    with pytest.raises(PinChangedError):
        lake.open_pin("p@1")
    assert any("pin p@1" in problem for problem in lake.verify(deep=True).problems)
    again = lake.pin("p", lake.tables())
    assert (again.number, again.digest) == (2, digest)
    assert lake.open_pin("p@2").pin == again


def test_a_damaged_landed_file_leaves_the_table_unchanged(lake: Lake) -> None:
    before = digests(lake)
    path = next(path for path in Path(lake.uri).rglob("*.parquet") if KIND in str(path))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match="damaged"):
        lake.rebuild([KIND])
    assert digests(lake) == before


def test_only_event_tables_can_be_rebuilt(lake: Lake) -> None:
    with pytest.raises(BadInputError, match="only event tables"):
        lake.rebuild(["pairs"])
