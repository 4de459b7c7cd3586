"""`tracelake export`: what it prints, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.in_process import commands_on
from tests.consumers.exports.export_lake import export_lake


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return export_lake(str(tmp_path_factory.mktemp("lake") / "lake")).uri


def test_rows_and_withheld_answers_are_printed(
    uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = commands_on(uri, capfd)
    answer = run("export", "pairs", "--to", "trl-dpo", "--out", str(tmp_path / "one"))
    assert answer.code == 0
    assert "withheld 2 pairs of b-closed: its terms forbid distillation" in answer.out
    assert "withheld 2 pairs of teacher-c: its terms are unknown" in answer.out
    arguments = ("--include-withheld", "b-closed", "--include-withheld", "teacher-c", "--format", "json")
    named = run("export", "pairs@1", "--to", "trl-dpo", "--out", str(tmp_path / "two"), *arguments)
    assert named.data["rows"] == {"L1": 3, "L0": 3}
    assert named.data["withheld"] == []


def test_wrong_targets_pins_and_folders_have_their_exit_codes(
    uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = commands_on(uri, capfd)
    out = str(tmp_path / "out")
    assert run("export", "pairs", "--to", "csv", "--out", out).code == 2
    assert run("export", "pairs", "--out", out).code == 2
    assert "no such pin" in run("export", "none", "--to", "hf", "--out", out).err
    assert run("export", "pairs", "--to", "jsonl", "--out", out).code == 1
    assert run("export", "pairs", "--to", "hf", "--out", out).code == 0
    assert "must be new or empty" in run("export", "pairs", "--to", "hf", "--out", out).err


def test_a_secret_is_a_failed_check(
    uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "You work in a shell.")
    answer = commands_on(uri, capfd)("export", "traces", "--to", "jsonl", "--out", str(tmp_path / "out"))
    assert answer.code == 3
    assert "turns.jsonl/line 1/" in answer.err
