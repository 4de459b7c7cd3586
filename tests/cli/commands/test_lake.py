"""`tracelake ledger`: figures for people and for programs, and an exit code for an unbalanced ledger."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lake.facts import reward
from tracelake.cli.main import main
from tracelake.lake import Lake
from tracelake.lake.layout import EVENTS


def test_the_exit_code_says_whether_the_ledger_balances(
    fresh_lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    with fresh_lake.writer("run-a") as writer:
        writer.append([reward(0), reward(0), reward(1)])
    with pytest.raises(SystemExit) as ended:
        main(["ledger", "--lake", fresh_lake.uri, "--format", "json"])
    assert ended.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    [line] = printed["lines"]
    assert printed["ok"]
    assert (line["run_id"], line["given"], line["landed"], line["duplicate"]) == ("run-a", 3, 2, 1)

    [path] = fresh_lake.store.list(EVENTS)
    (Path(fresh_lake.uri) / path).unlink()
    with pytest.raises(SystemExit) as ended:
        main(["ledger", "--lake", fresh_lake.uri])
    assert ended.value.code == 3
    assert "2 events under 1 KiB are counted as landed and 0 have landed" in capsys.readouterr().out
