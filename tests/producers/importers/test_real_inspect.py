"""Real logs of Inspect: each is read, or refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tracelake.lake import Lake
from tracelake.producers.importers.import_sources import import_sources

pytestmark = pytest.mark.realdata


def test_inspect(tmp_path: Path, real_traces: Callable[[str], Path]):
    folder = real_traces("inspect-ai")
    lake = Lake.create(str(tmp_path / "lake"))
    report = import_sources(lake, [folder])
    logs = [path for path in folder.rglob("*") if path.suffix in (".eval", ".json")]
    assert report.files == len(logs) == 15
    assert (report.rollouts, report.turns, report.tool_results) == (27, 31, 5)
    # Three logs are there twice: as a zip and as JSON, or under two names.
    assert (report.rollouts_by_outcome.new, report.conflicts) == (24, 0)
    ((path, reason),) = [(piece.path, piece.reason) for piece in report.refused]
    assert path.endswith("no-samples.json")
    assert "without samples" in reason
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    again = import_sources(lake, [copy])
    assert (again.new_events, again.conflicts) == (0, 0)
