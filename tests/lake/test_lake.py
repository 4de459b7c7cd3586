"""Goal: a lake is made once, opened light, and says clearly where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lake.facts import of_three_kinds, reward
from tracelake.lake import Lake
from tracelake.lake.layout import FORMAT_VERSION, MARKER
from tracelake.schemas.errors import CorruptFileError, LakeError, LakeExistsError, LakeMissingError


def test_a_lake_is_made_once_and_then_opened(tmp_path: Path) -> None:
    lake = Lake.create(str(tmp_path / "a" / "b"))
    assert Lake.open(lake.uri).uri == str(tmp_path / "a" / "b")
    with pytest.raises(LakeExistsError):
        Lake.create(lake.uri)


def test_there_is_no_lake_where_none_was_made(tmp_path: Path) -> None:
    with pytest.raises(LakeMissingError, match="tracelake init"):
        Lake.open(str(tmp_path))


@pytest.mark.parametrize("marker", [b"", b"{}", b"[]", b"\xff"], ids=repr)
def test_a_damaged_marker_is_a_typed_error(tmp_path: Path, marker: bytes) -> None:
    (tmp_path / MARKER).write_bytes(marker)
    with pytest.raises(CorruptFileError, match=MARKER):
        Lake.open(str(tmp_path))


def test_a_lake_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text(json.dumps({"format_version": FORMAT_VERSION + 1}))
    with pytest.raises(LakeError, match=f"got {FORMAT_VERSION + 1}"):
        Lake.open(str(tmp_path))


def test_a_scan_is_of_now_of_a_version_or_of_a_pin(fresh_lake: Lake) -> None:
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


def test_tables_are_listed_whatever_lies_beside_them(fresh_lake: Lake, tmp_path: Path) -> None:
    with fresh_lake.writer("run") as writer:
        writer.append(of_three_kinds(range(2)))
    fresh_lake.project()
    (tmp_path / "lake" / "tables" / "notes.txt").write_text("")
    (tmp_path / "lake" / "tables" / "empty.lance").mkdir()
    assert fresh_lake.tables() == ["reward_assigned", "rollout_ended", "turn_completed"]
