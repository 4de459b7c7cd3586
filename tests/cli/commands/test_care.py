"""`tracelake maintain` and `tracelake rebuild`: what they say, and their exit codes."""

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
from tracelake.lake.tables import care

KINDS = ["reward_assigned", "rollout_ended", "turn_completed"]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    made = Lake.create(str(tmp_path / "lake"))
    monkeypatch.setenv("TRACELAKE_LAKE", made.uri)
    for index in range(2):
        with made.writer("run") as writer:
            writer.append(of_three_kinds([index]))
        made.project()
    made.pin("p", KINDS)
    return made


def run(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit code, and stdout as JSON where it was asked for."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out = capfd.readouterr().out
    return int(stop.value.code or 0), json.loads(out) if "json" in arguments and out else out


def test_maintain_tells_what_it_did_to_each_table(lake: Lake, capfd: pytest.CaptureFixture[str]) -> None:
    code, done = run(capfd, "maintain", "--format", "json")
    assert code == 0
    assert [each["table"] for each in done] == KINDS
    assert [each["fragment_counts"] for each in done] == [[2, 1]] * 3
    code, text = run(capfd, "maintain", "reward_assigned")
    assert code == 0
    assert "reward_assigned" in text
    assert "turn_completed" not in text
    assert lake.verify(deep=True).ok


def test_maintain_of_what_is_not_there_fails(lake: Lake, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(capfd, "maintain", "absent")[0] == 1


def test_rebuild_tells_that_nothing_changed(lake: Lake, capfd: pytest.CaptureFixture[str]) -> None:
    code, done = run(capfd, "rebuild", "--format", "json")
    assert code == 0
    assert sorted(each["table"] for each in done) == KINDS
    assert all(each["digest"] == each["digest_before"] for each in done)
    code, text = run(capfd, "rebuild", "reward_assigned")
    assert code == 0
    assert "2 rows" in text
    assert "as before" in text


def test_rebuild_names_the_pins_that_are_lost(lake: Lake, capfd: pytest.CaptureFixture[str]) -> None:
    for path in Path(lake.store.location(table_path(KINDS[0])), "_versions").glob("*.manifest"):
        os.truncate(path, 0)
    care.forget_tables()
    code, text = run(capfd, "rebuild", KINDS[0])
    assert code == 3
    assert "pins that cannot be opened: p@1" in text
