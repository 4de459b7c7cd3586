"""The real simulations of tau2-bench, counted by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tracelake.lake import Lake
from tracelake.producers.importers.import_sources import import_sources

pytestmark = pytest.mark.realdata


def test_tau2_bench(tmp_path: Path, real_traces: Callable[[str], Path]):
    folder = real_traces("tau2-bench")
    lake = Lake.create(str(tmp_path / "lake"))
    report = import_sources(lake, [folder])
    assert (report.rollouts, report.turns, report.tool_results) == (316, 4_669, 3_711)
    assert report.rewards == 217
    assert round(report.cost_usd or 0, 6) == 12.185252
    assert report.conflicts == 0
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    again = import_sources(lake, [copy])
    assert (again.new_events, again.conflicts) == (0, 0)
