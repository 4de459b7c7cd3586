"""Goal: the fault harness itself works: it sees each change of a file, kills there, and tells what is broken.

Method: a few trials of its parts on one lake; the counts are `make faults`' matter.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.faults.history import Told
from tests.faults.report import BEGIN, END, Measured, write_report
from tests.faults.scenario import Context, Counts
from tests.faults.zombies import history_problems

ROOT = Path(__file__).parents[2]
WATCH = """
import sys
from pathlib import Path
from tracelake.lake import Lake
from tests.faults.children import imported, in_child
from tests.faults.history import Told, append_each, checked
from tests.faults.syscalls import KILL, watched
imported()
root = Path(sys.argv[1]) / "lake"
in_child(lambda: Lake.create(str(root)) and None)

def work(say):
    append_each(Lake.open(str(root)), "smoke", range(9), say)

def decide(call):
    return KILL if call.name in ("fsync", "fdatasync") and call.number > 12 else None

outcome = watched(work, root, decide)
assert outcome.killed and outcome.calls, outcome
told = Told().plus(outcome.said)
found = in_child(checked, root, told)
assert not found.problems, found
lost = told.plus(["ack 77"])
assert "are lost" in in_child(checked, root, lost).problems[0]
print(len(told.acknowledged), "of", len(told.tried))
"""


def test_a_killed_writer_is_seen_checked_and_a_loss_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr


def test_the_command_says_counts_and_the_seed() -> None:
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


def test_the_same_seed_draws_the_same_for_a_trial() -> None:
    draws = [Context(5, True, Path()).random("kills", 3).random() for _ in range(2)]
    assert draws[0] == draws[1] != Context(6, True, Path()).random("kills", 3).random()


def test_what_was_said_is_told() -> None:
    told = Told(created=False).plus(["created", "try 1 3", "ack 1 3", "try 4", "pin p@1 abc"])
    assert (told.tried, told.acknowledged) == ({1, 2, 3, 4}, {1, 2, 3})
    assert (told.pins, told.created) == ((("p@1", "abc"),), True)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["version k 2 5 a", "version k 1 4 b"], "read version 1 of k after 2"),
        (["version k 1 5 a", "version k 1 6 b"], "was read as"),
        (["version k 1 5 a", "version k 2 4 b"], "became fewer"),
        (["reopened p@1 a b"], "opened as b"),
    ],
)
def test_a_history_that_can_not_be_is_told(lines: list[str], problem: str) -> None:
    assert any(problem in told for told in history_problems({"reader": lines}))


def test_a_row_of_the_report_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    row = partial(Measured, "kills", seed=1, seconds=2.0, full=True)
    write_report(page, [row(counts=Counts(10, "kills", 20, "old"))])
    write_report(page, [row(counts=Counts(1_000, "kills", 20, "new"))])
    text = page.read_text()
    assert (text[:7], text[-6:]) == ("before\n", "after\n")
    assert ("1,000 kills" in text, "old" in text) == (True, False)
