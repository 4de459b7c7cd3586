"""The real rollouts of NeMo Gym, counted by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tracelake.lake import Lake
from tracelake.producers.importers.import_sources import import_sources

pytestmark = pytest.mark.realdata


def test_nemo_gym(tmp_path: Path, real_traces: Callable[[str], Path]):
    folder = real_traces("nemo-gym")
    lake = Lake.create(str(tmp_path / "lake"))
    report = import_sources(lake, [folder])
    # 143 with output, and 6 whose response has none.
    assert (report.rollouts, report.conflicts) == (149, 0)
    assert report.tool_results == 553
    lake.project()
    ended, turns = (lake.scan(kind).collect() for kind in ("rollout_ended", "turn_completed"))
    assert ended.filter(pl.col("turn_count") > 0).height == 143
    assert turns["tool_call_count"].sum() == 804
    refused = {piece.path: piece.reason for piece in report.refused}
    assert all("no rollouts" in reason for reason in refused.values())
    assert any(path.endswith("_materialized_inputs.jsonl") for path in refused)
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    again = import_sources(lake, [copy])
    assert (again.new_events, again.conflicts) == (0, 0)
