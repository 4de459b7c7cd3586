"""The command line: exit codes, JSON on stdout, complaints on stderr."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.traces import STUDENT, lake_of_rollouts
from tracelake.cli.main import main
from tracelake.lake import Lake
from tracelake.schemas.version import TRACELAKE_VERSION


class Answer:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def tracelake(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRACELAKE_LAKE", str(tmp_path / "lake"))

    def run(*arguments: str) -> Answer:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        captured = capfd.readouterr()
        return Answer(int(stop.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def built(tracelake, tmp_path: Path) -> Lake:
    lake = lake_of_rollouts(str(tmp_path / "lake"))
    assert tracelake("build", "--student", STUDENT, "--format", "json").code == 0
    return lake


def test_version_option_prints_the_version(tracelake) -> None:
    answer = tracelake("--version")
    assert (answer.code, answer.out.split()) == (0, ["tracelake", TRACELAKE_VERSION])


def test_a_lake_is_created_once(tracelake) -> None:
    assert tracelake("init").code == 0
    again = tracelake("init", "--format", "json")
    assert again.code == 1
    assert again.data["error"]["class"] == "LakeExistsError"
    assert "LakeExistsError" in again.err


def test_a_missing_thing_is_an_error_with_a_cure(tracelake) -> None:
    answer = tracelake("query", "SELECT 1")
    assert answer.code == 1
    assert "tracelake init" in answer.err
    assert answer.out == ""


def test_an_unknown_command_or_option_is_wrong_usage(tracelake) -> None:
    assert tracelake("imports").code == 2
    assert tracelake("verify", "--depth").code == 2


def test_query_prints_rows_as_json(tracelake, built: Lake) -> None:
    answer = tracelake("query", "--format", "json", "SELECT count(*) AS n FROM turns")
    assert answer.data == [{"n": 13}]
    assert tracelake("query", "SELECT * FROM nowhere").code == 1


def test_query_without_sql_lists_tables(tracelake, built: Lake) -> None:
    tables = {row["table"]: row["rows"] for row in tracelake("query", "--format", "json").data}
    assert tables["turns"] == 13
    assert tables["turn_completed"] == 13


def test_a_pin_is_created_listed_checked_and_read(tracelake, built: Lake) -> None:
    pin = tracelake("pin", "mine", "--format", "json").data
    assert (pin["name"], pin["number"]) == ("mine", 1)
    assert tracelake("pin", "mine", "--format", "json").data["digest"] == pin["digest"]
    assert [row["digest"] for row in tracelake("pins", "--format", "json").data] == [pin["digest"]]
    assert tracelake("pins", "--check", "mine@1").code == 0
    rows = tracelake(
        "query", "--at", "mine@1", "--format", "json", "SELECT count(*) AS n FROM preference_pairs"
    ).data
    assert rows == [{"n": pin["tables"]["preference_pairs"]["row_count"]}]


def test_a_pin_that_is_not_there_fails_and_a_changed_one_is_a_failed_check(
    tracelake, built: Lake, tmp_path: Path
) -> None:
    assert tracelake("pins", "--check", "mine@1").code == 1
    tracelake("pin", "mine")
    manifest = tmp_path / "lake" / "pins" / "mine" / "000001.json"
    manifest.write_text(re.sub(r'"row_count": \d+', '"row_count": 99', manifest.read_text(), count=1))
    answer = tracelake("pins", "--check", "mine@1")
    assert answer.code == 3
    assert "PinChangedError" in answer.err


def test_verify_is_quiet_about_a_healthy_lake_and_fails_on_a_flipped_bit(
    tracelake, built: Lake, tmp_path: Path
) -> None:
    assert tracelake("verify", "--deep", "--format", "json").data["ok"] is True
    landed = next((tmp_path / "lake" / "events").rglob("*.parquet"))
    data = bytearray(landed.read_bytes())
    data[len(data) // 2] ^= 1
    landed.write_bytes(data)
    answer = tracelake("verify", "--format", "json")
    assert answer.code == 3
    assert landed.name in answer.data["problems"][0]


def test_doctor_finds_this_installation_well(tracelake) -> None:
    findings = tracelake("doctor", "--format", "json").data
    assert {row["status"] for row in findings} <= {"PASS", "WARN"}
    assert {"python", "store", "lake"} <= {row["what"] for row in findings}


def test_the_board_lists_the_program_without_a_lake(tracelake) -> None:
    rows = {row["id"]: row for row in tracelake("spikes", "--format", "json").data}
    assert rows["002a-trace-collection-trl"]["status"] == "BLOCKED"
    assert rows["001-teacher-replay-cost"]["status"] == "OPEN"
    assert rows["004-small-world"]["status"] == "OPEN"


def test_an_experiment_with_a_typo_is_refused_naming_the_key(tracelake, built: Lake, tmp_path: Path) -> None:
    text = Path("examples/experiments/wiki-search-replay.toml").read_text()
    path = tmp_path / "typo.toml"
    path.write_text(text.replace("pair_weight", "pair_wieght"))
    answer = tracelake("train", str(path))
    assert answer.code == 1
    assert "pair_wieght" in answer.err


def test_training_without_its_pin_is_refused(tracelake, built: Lake, tmp_path: Path) -> None:
    answer = tracelake(
        "train", "examples/experiments/wiki-search-replay.toml", "--runs", str(tmp_path / "runs")
    )
    assert answer.code == 1
    assert "wiki@1" in answer.err


def test_a_blocked_experiment_says_what_is_missing(tracelake, built: Lake) -> None:
    answer = tracelake("train", "examples/experiments/003-pairs-from-disagreement.toml")
    assert answer.code == 1
    assert "matched null" in answer.err
