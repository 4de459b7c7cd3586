"""Goal: what a command prints for people can be read on any screen, whatever a model said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    {"model": "deepseek/deepseek-chat", "turns": 10551, "recomputed": 8.5734},
    {"model": "[red]none", "turns": None, "recomputed": 0.5},
]
PRINTED = (
    f"from tracelake.cli.output import print_rows; print_rows({ROWS!r}, {list(ROWS[0])!r}, title='costs')"
)


def printed_at(width: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PRINTED],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": str(width)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_row_is_one_line_on_a_wide_screen() -> None:
    lines = printed_at(80)
    assert lines[0].strip() == "costs"
    [line] = [line for line in lines if "deepseek/deepseek-chat" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "deepseek/deepseek-chat",
        "10551",
        "8.5734",
    ]


def test_a_row_is_a_record_on_a_narrow_screen() -> None:
    lines = printed_at(40)
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert cells == [
        ["model", "deepseek/deepseek-chat"],
        ["turns", "10551"],
        ["recomputed", "8.5734"],
        ["model", "[red]none"],
        ["turns", "–"],
        ["recomputed", "0.5"],
    ]
    assert max(map(len, lines)) <= 40
