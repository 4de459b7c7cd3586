"""Goal: a process that loses a race starts over, whichever file of the table disappeared.

Method: processes commit to one table as fast as they can while cleanups remove all versions but the newest;
then the same with functions that fail as Lance was seen to fail.
"""

from __future__ import annotations

import multiprocessing
import threading
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from tracelake.lake.maintenance.maintain import remove_old_versions
from tracelake.lake.tables.commits import append_with_cursor, create_table, open_table
from tracelake.lake.tables.lance_errors import RACES_MAX, lost_race, retry_on_conflict
from tracelake.schemas.errors import CommitContendedError, TracelakeError

SCHEMA = pa.schema([("number", pa.int64())])
COMMITS = 120
GONE = OSError("Dataset at path lake/t.lance/_versions/7.manifest was not found: Not found: …/7.manifest")
CONFLICT = OSError("Retryable commit conflict for version 3: This Merge was preempted by Merge at version 3.")
OTHER = OSError("Permission denied (os error 13)")


def commit_often(location: str, first: int) -> None:
    for number in range(first, first + COMMITS):
        committed = None
        while committed is None:
            dataset = open_table(location)
            assert dataset is not None
            committed = append_with_cursor(
                dataset, pa.table({"number": [number]}, SCHEMA), {"writer": number}
            )


def test_racing_commits_and_cleanups_lose_and_duplicate_no_row(tmp_path: Path) -> None:
    location = str(tmp_path / "t.lance")
    create_table(location, SCHEMA)
    spawn = multiprocessing.get_context("spawn")
    tasks = [spawn.Process(target=commit_often, args=(location, first)) for first in (0, 1000)]
    done = threading.Event()
    problems: list[Exception] = []

    def clean_up() -> None:
        while not done.is_set():
            try:
                dataset = open_table(location)
                assert dataset is not None
                remove_old_versions(dataset, timedelta(0))
            except (OSError, ValueError, TracelakeError) as error:
                problems.append(error)

    cleaners = [threading.Thread(target=clean_up) for _ in range(2)]
    for task in (*tasks, *cleaners):
        task.start()
    for task in tasks:
        task.join()
    done.set()
    for cleaner in cleaners:
        cleaner.join()
    assert [task.exitcode for task in tasks] == [0, 0]
    assert problems == []
    dataset = open_table(location)
    assert dataset is not None
    numbers = sorted(dataset.to_table()["number"].to_pylist())
    assert numbers == [*range(COMMITS), *range(1000, 1000 + COMMITS)]


def test_lost_races_are_recognised_by_their_error_texts() -> None:
    assert lost_race(GONE)
    assert lost_race(CONFLICT)
    assert not lost_race(OTHER)
    assert not lost_race(OSError("Not found: lake/t.lance/data/1.lance"))


def test_an_attempt_is_repeated_until_no_race_is_lost() -> None:
    answers: list[Exception | int] = [GONE, GONE, 7]

    def attempt() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retry_on_conflict("an attempt", attempt) == 7
    answers.append(OTHER)
    with pytest.raises(OSError, match="Permission denied"):
        retry_on_conflict("an attempt", attempt)
    answers.extend([GONE] * RACES_MAX)
    with pytest.raises(CommitContendedError, match=f"lost {RACES_MAX} races"):
        retry_on_conflict("an attempt", attempt)
    assert answers == []
