"""Goal: a lake is created once and opened fast, scans read what they promise, and a missing lake is
reported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.lake.facts import of_three_kinds, reward
from tracelake.lake import Lake
from tracelake.lake.layout import FORMAT_VERSION, MARKER, table_path
from tracelake.lake.projection.project import table_schema
from tracelake.lake.tables.commits import create_table
from tracelake.schemas.errors import (
    BadInputError,
    CorruptFileError,
    LakeError,
    LakeExistsError,
    LakeMissingError,
)
from tracelake.schemas.events.kinds import CLASS_OF_KIND


def test_a_lake_is_created_once_and_then_opened(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path / "a" / "b"))
    assert Lake.open(lake.uri).uri == str(tmp_path / "a" / "b")
    with pytest.raises(LakeExistsError):
        Lake.create(lake.uri)


def test_no_lake_is_created_over_the_files_of_another(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path))
    with lake.writer("run") as writer:
        writer.append(of_three_kinds(range(2)))
    text = (tmp_path / MARKER).read_text()
    (tmp_path / MARKER).unlink()
    with pytest.raises(LakeExistsError, match=r"Restore lake\.json") as refused:
        Lake.create(str(tmp_path))
    # The cure works as it is written.
    assert text in str(refused.value)
    assert not (tmp_path / MARKER).exists()
    (tmp_path / MARKER).write_text(text)
    assert Lake.open(str(tmp_path)).project()["turn_completed"] == 2


def test_foreign_files_do_not_prevent_a_new_lake(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert Lake.create(str(tmp_path)).project() == {}


def test_a_missing_lake_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(LakeMissingError, match="tracelake init"):
        Lake.open(str(tmp_path))


@pytest.mark.parametrize("marker", [b"", b"{}", b"[]", b"\xff"], ids=repr)
def test_a_damaged_marker_is_a_typed_error(tmp_path: Path, marker: bytes) -> None:
    (tmp_path / MARKER).write_bytes(marker)
    with pytest.raises(CorruptFileError, match=MARKER):
        Lake.open(str(tmp_path))


@pytest.mark.parametrize(
    ("version", "cure"),
    [
        (1, "an older format; got 1; expected 2. Create a new lake and import the traces again."),
        (FORMAT_VERSION + 1, "a newer format; got 3; expected 2. Upgrade tracelake."),
    ],
)
def test_a_lake_of_another_format_is_refused_with_a_cure(tmp_path: Path, version: int, cure: str) -> None:
    (tmp_path / MARKER).write_text(json.dumps({"format_version": version}))
    with pytest.raises(LakeError, match=re.escape(cure)):
        Lake.open(str(tmp_path))


@pytest.mark.parametrize("version", [2.0, True, "2", None])
def test_a_format_that_is_no_whole_number_is_damage(tmp_path: Path, version: object) -> None:
    (tmp_path / MARKER).write_text(json.dumps({"format_version": version}))
    with pytest.raises(CorruptFileError, match="a whole number as format"):
        Lake.open(str(tmp_path))


def test_a_scan_reads_the_newest_version_a_version_or_a_pin(fresh_lake: Lake) -> None:
    with fresh_lake.writer("run") as writer:
        writer.append(of_three_kinds(range(2)))
    fresh_lake.project()
    version = fresh_lake.state("reward_assigned").version
    fresh_lake.pin("p", ["reward_assigned"])
    with fresh_lake.writer("run") as writer:
        writer.append([reward(5)])
    fresh_lake.project()
    heights = [
        fresh_lake.scan("reward_assigned", at=at).collect().height for at in (None, version, "p@1", "p")
    ]
    assert heights == [3, 2, 2, 2]


def test_a_fresh_scan_projects_its_own_kind(fresh_lake: Lake) -> None:
    with fresh_lake.writer("run") as writer:
        writer.append(of_three_kinds(range(2)))
        assert fresh_lake.scan("reward_assigned", fresh=True).collect().height == 2
        writer.append([reward(5)])
        assert fresh_lake.scan("reward_assigned").collect().height == 2
        assert fresh_lake.scan("reward_assigned", fresh=True).collect().height == 3
    assert fresh_lake.tables() == ["reward_assigned"]


@pytest.mark.parametrize("kind", CLASS_OF_KIND)
def test_an_event_table_that_does_not_exist_yet_is_empty_and_typed(fresh_lake: Lake, kind: str) -> None:
    missing = fresh_lake.scan(kind, fresh=True).collect()
    assert (missing.height, fresh_lake.tables()) == (0, [])
    create_table(fresh_lake.store.location(table_path(kind)), table_schema(kind))
    assert fresh_lake.scan(kind).collect().schema == missing.schema


@pytest.mark.parametrize(
    ("table", "at"), [("pairs", None), ("reward_assigned", 1), ("reward_assigned", "p@1")]
)
def test_only_the_newest_version_of_an_event_table_can_be_fresh(
    fresh_lake: Lake, table: str, at: int | str | None
) -> None:
    with pytest.raises(BadInputError, match="fresh"):
        fresh_lake.scan(table, at, fresh=True)


def test_foreign_files_are_not_listed_as_tables(fresh_lake: Lake, tmp_path: Path) -> None:
    with fresh_lake.writer("run") as writer:
        writer.append(of_three_kinds(range(2)))
    fresh_lake.project()
    (tmp_path / "lake" / "tables" / "notes.txt").write_text("")
    (tmp_path / "lake" / "tables" / "empty.lance").mkdir()
    assert fresh_lake.tables() == ["reward_assigned", "rollout_ended", "turn_completed"]
