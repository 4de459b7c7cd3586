"""Goal: the doctor tells a store that loses facts from one that keeps them, and `init` refuses the first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.s3_servers import free_port, ignores_conditions, in_front_of
from tracelake.cli.doctor import Finding, examine
from tracelake.lake.stores.retries import RETRY_TIMEOUT_VARIABLE
from tracelake.schemas.errors import BadInputError

ROOT = Path(__file__).parents[2]


def found(lake: str) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(lake)}


def test_a_folder_that_may_be_written_passes_and_is_left_as_it_was(tmp_path: Path) -> None:
    findings = found(str(tmp_path / "not" / "made"))
    assert findings["store"].status == findings["disk"].status == "PASS"
    assert findings["lake"].status == "WARN"
    assert os.listdir(tmp_path) == []


def test_a_bucket_passes_and_the_disk_is_no_matter(bucket: str) -> None:
    findings = found(f"s3://{bucket}/lake")
    assert findings["store"].status == "PASS"
    assert "disk" not in findings


def test_a_server_that_is_not_there_fails(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv(RETRY_TIMEOUT_VARIABLE, "0.3")
    findings = found(f"s3://{bucket}/lake")
    assert findings["store"].status == findings["lake"].status == "FAIL"


def test_an_address_that_means_no_place_is_refused() -> None:
    with pytest.raises(BadInputError):
        examine("ftp://x")


@pytest.mark.parametrize(("command", "code"), [("init", 1), ("doctor", 3)])
def test_a_store_that_ignores_conditions_is_refused(
    bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch, command: str, code: int
) -> None:
    with in_front_of(s3_server, ignores_conditions) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tracelake.cli.main",
                command,
                "--lake",
                f"s3://{bucket}/lake",
                "--format=json",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == code, done.stderr
    assert "ignores the condition" in json.dumps(json.loads(done.stdout))
