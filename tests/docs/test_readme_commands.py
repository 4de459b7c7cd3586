"""The README's first hour, run as it stands, on real traces."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def first_hour() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## A first hour.*?```sh\n(.*?)```", text, re.DOTALL)
    assert block
    lines = [line.split("  #")[0].strip() for line in block[1].splitlines()]
    return [line for line in lines if line.startswith("tracelake ")]


@pytest.mark.realdata
def test_the_first_hour_runs(real_traces: Callable[[str], Path], tmp_path: Path) -> None:
    commands = first_hour()
    assert len(commands) >= 6
    environment = os.environ | {"TRACELAKE_LAKE": str(tmp_path / "lake")}
    for command in commands:
        command = command.replace("path/to/traces", str(real_traces("verifiers")))
        if command.startswith("tracelake train"):
            command += f" --runs {tmp_path / 'runs'}"
        done = subprocess.run(
            f"{ROOT / '.venv' / 'bin'}/{command}" if (ROOT / ".venv").is_dir() else command,
            shell=True,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
