"""Goal: the fault harness itself works: it sees each change of a file, kills there, and reports losses.

Method: a few trials of its parts on one lake; `make faults` runs the full counts.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.faults.report import BEGIN, END, Measured, write_report
from tests.faults.scenario import Context, Counts
from tests.faults.workload import WorkRecord
from tests.faults.zombies import output_problems

ROOT = Path(__file__).parents[2]
WATCH = """
import sys
from pathlib import Path
from tracelake.lake import Lake
from tests.faults.children import import_dependencies, in_child
from tests.faults.workload import WorkRecord, append_each, check_lake
from tests.faults.syscalls import KILL, watched
import_dependencies()
root = Path(sys.argv[1]) / "lake"
in_child(lambda: Lake.create(str(root)) and None)

def work(emit):
    append_each(Lake.open(str(root)), "smoke", range(9), emit)

def decide(call):
    return KILL if call.name in ("fsync", "fdatasync") and call.number > 12 else None

run = watched(work, root, decide)
assert run.killed and run.calls, run
record = WorkRecord().plus(run.lines)
found = in_child(check_lake, root, record)
assert not found.problems, found
lost = record.plus(["ack 77"])
assert "are lost" in in_child(check_lake, root, lost).problems[0]
print(len(record.acknowledged), "of", len(record.tried))
"""


def test_a_killed_writer_is_checked_and_a_loss_is_reported(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr


def test_the_command_prints_counts_and_the_seed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--only", "hostile", "--small", "--seed", "1", "--trial", "3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("hostile: 1 hostile inputs"), done.stdout
    assert "seed 1" in done.stdout


def test_the_same_seed_gives_the_same_draws_for_a_trial() -> None:
    draws = [Context(5, True, Path()).random("kills", 3).random() for _ in range(2)]
    assert draws[0] == draws[1] != Context(6, True, Path()).random("kills", 3).random()


def test_the_lines_of_a_worker_become_its_record() -> None:
    record = WorkRecord(created=False).plus(["created", "try 1 3", "ack 1 3", "try 4", "pin p@1 abc"])
    assert (record.tried, record.acknowledged) == ({1, 2, 3, 4}, {1, 2, 3})
    assert (record.pins, record.created) == ((("p@1", "abc"),), True)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["version k 2 5 a", "version k 1 4 b"], "read version 1 of k after 2"),
        (["version k 1 5 a", "version k 1 6 b"], "was read as"),
        (["version k 1 5 a", "version k 2 4 b"], "became fewer"),
        (["reopened p@1 a b"], "opened as b"),
    ],
)
def test_contradictions_between_readers_are_reported(lines: list[str], problem: str) -> None:
    assert any(problem in found for found in output_problems({"reader": lines}))


def test_a_row_of_the_report_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    row = partial(Measured, "kills", seed=1, seconds=2.0, full=True)
    write_report(page, [row(counts=Counts(10, "kills", 20, "old"))])
    write_report(page, [row(counts=Counts(1_000, "kills", 20, "new"))])
    text = page.read_text()
    assert (text[:7], text[-6:]) == ("before\n", "after\n")
    assert ("1,000 kills" in text, "old" in text) == (True, False)
