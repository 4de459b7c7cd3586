"""`tracelake import` on bad input: a clear message, an exit code, and the good files are still imported."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

GOOD = {
    "task_id": 0,
    "reward": 1.0,
    "info": {"task": {"user_id": "u", "actions": [], "instruction": "i", "outputs": []}, "source": "user"},
    "traj": [
        {"role": "system", "content": "policy"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "###STOP###"},
    ],
    "trial": 0,
}
BAD = {
    "truncated.json": json.dumps([GOOD]).encode()[:-20],
    "pointer.json": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
    "deep.json": b"[" * 100_000 + b"]" * 100_000,
    "surrogate.json": json.dumps([GOOD]).replace("hello", "\\ud800").encode(),
    "nan.json": json.dumps([GOOD]).replace("1.0", "NaN").encode(),
    "binary.json": bytes(range(256)) * 10,
    "empty.json": b"",
}


def tracelake_import(lake: Path, *paths: Path | str) -> tuple[int, dict[str, Any], str]:
    command = [
        sys.executable,
        "-m",
        "tracelake.cli.main",
        "import",
        "--lake",
        str(lake),
        "--format",
        "json",
        *map(str, paths),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def test_every_bad_file_is_refused_and_the_good_file_is_imported(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    folder.mkdir()
    (folder / "good.json").write_text(json.dumps([GOOD]))
    for name, data in BAD.items():
        (folder / name).write_bytes(data)
    files = sorted(folder.iterdir())
    code, report, _ = tracelake_import(tmp_path / "lake", *files)
    assert report["rollouts"] == 1
    assert {Path(refusal["path"]).name for refusal in report["refused"]} == set(BAD)
    assert all(refusal["reason"] for refusal in report["refused"])
    # Like cp: it does what it can, and fails if a named file cannot be read.
    assert code == 1
    again = tracelake_import(tmp_path / "lake", *files)[1]
    assert again["new_events"] == 0
    assert again["conflicts"] == 0


def test_bad_files_found_in_a_folder_are_reported_and_do_not_fail_it(tmp_path: Path) -> None:
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "good.json").write_text(json.dumps([GOOD]))
    (tmp_path / "traces" / "truncated.json").write_bytes(BAD["truncated.json"])
    code, report, _ = tracelake_import(tmp_path / "lake", tmp_path / "traces")
    assert code == 0
    assert report["rollouts"] == 1
    assert len(report["refused"]) == 1


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_file_alone_fails(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(BAD[name])
    code, report, _ = tracelake_import(tmp_path / "lake", path)
    assert code == 1
    assert len(report["refused"]) >= 1


def test_a_missing_file_and_an_empty_folder_fail_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nowhere.json", tmp_path / "empty"):
        code, report, err = tracelake_import(tmp_path / "lake", path)
        assert code == 1
        assert path.name in err + json.dumps(report)
    assert not (tmp_path / "lake").exists()


def command_of(lake: Path, *arguments: Path | str) -> list[str]:
    return [sys.executable, "-m", "tracelake.cli.main", "import", "--lake", str(lake), *map(str, arguments)]


def test_a_dry_run_creates_no_lake(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(json.dumps([GOOD]))
    lake = tmp_path / "lake"
    code, report, _ = tracelake_import(lake, tmp_path / "good.json", "--dry-run")
    assert (code, report["dry_run"], report["rollouts"]) == (0, True, 1)
    assert report["new_events"] > 0
    assert not lake.exists()


def test_totals_come_first_and_long_lists_are_cut(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    (traces / "good.json").write_text(json.dumps([GOOD]))
    for index in range(30):
        (traces / f"other{index}.json").write_text("{}")
    command = command_of(tmp_path / "lake", traces)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("1 files, 1 rollouts")
    assert "and 10 more: --verbose" in done.stdout
    whole = subprocess.run([*command, "--verbose"], capture_output=True, text=True, timeout=120)
    assert "other29.json" in whole.stdout
    assert "more: --verbose" not in whole.stdout


def test_an_interrupt_leaves_an_import_that_continues(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    rows = [{**GOOD, "task_id": index} for index in range(6000)]
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(rows))
    running = subprocess.Popen(
        command_of(lake, path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (lake / "lake.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "Give the same command again" in err
    code, report, _ = tracelake_import(lake, path)
    assert (code, report["rollouts"], report["conflicts"]) == (0, 6000, 0)


def test_an_unknown_format_name_is_a_usage_error(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tracelake.cli.main",
        "import",
        "--from",
        "nonsense",
        "--lake",
        str(tmp_path / "lake"),
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "mini-swe-agent" in done.stderr


def test_a_changed_file_under_the_same_keys_is_a_conflict_and_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "airline" / "good.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([GOOD]))
    assert tracelake_import(tmp_path / "lake", path)[1]["new_events"] > 0
    path.write_text(json.dumps([GOOD]).replace('"reward": 1.0', '"reward": 0.5'))
    code, report, _ = tracelake_import(tmp_path / "lake", path)
    assert code == 0
    assert report["conflicts"] == 1
    assert report["new_events"] == 0
