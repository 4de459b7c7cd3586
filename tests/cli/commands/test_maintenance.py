"""`tracelake maintain` and `tracelake rebuild`: their output and exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.lake.facts import of_three_kinds
from tracelake.cli.main import main
from tracelake.lake import Lake
from tracelake.lake.layout import table_path
from tracelake.lake.tables import torn_manifests

KINDS = ["reward_assigned", "rollout_ended", "turn_completed"]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    created = Lake.create(str(tmp_path / "lake"))
    monkeypatch.setenv("TRACELAKE_LAKE", created.uri)
    for index in range(2):
        with created.writer("run") as writer:
            writer.append(of_three_kinds([index]))
        created.project()
    created.pin("p", KINDS)
    return created


def run(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit code, and stdout, parsed if it is JSON."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out = capfd.readouterr().out
    return int(stop.value.code or 0), json.loads(out) if "json" in arguments and out else out


def test_maintain_reports_its_effect_on_each_table(lake: Lake, capfd: pytest.CaptureFixture[str]) -> None:
    code, done = run(capfd, "maintain", "--format", "json")
    assert code == 0
    assert [each["table"] for each in done] == KINDS
    assert [each["fragment_counts"] for each in done] == [[2, 1]] * 3
    code, text = run(capfd, "maintain", "reward_assigned")
    assert code == 0
    assert "reward_assigned" in text
    assert "turn_completed" not in text
    assert lake.verify(deep=True).ok


def test_maintain_of_a_missing_table_fails(lake: Lake, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(capfd, "maintain", "absent")[0] == 1


def test_rebuild_reports_unchanged_tables(lake: Lake, capfd: pytest.CaptureFixture[str]) -> None:
    code, done = run(capfd, "rebuild", "--format", "json")
    assert code == 0
    assert sorted(each["table"] for each in done) == KINDS
    assert all(each["digest"] == each["digest_before"] for each in done)
    code, text = run(capfd, "rebuild", "reward_assigned")
    assert code == 0
    assert "2 rows" in text
    assert "unchanged" in text


def test_rebuild_names_broken_pins(lake: Lake, capfd: pytest.CaptureFixture[str]) -> None:
    for path in Path(lake.store.location(table_path(KINDS[0])), "_versions").glob("*.manifest"):
        os.truncate(path, 0)
    torn_manifests.forget_checked_tables()
    code, text = run(capfd, "rebuild", KINDS[0])
    assert code == 3
    assert "pins that cannot be opened: p@1" in text
