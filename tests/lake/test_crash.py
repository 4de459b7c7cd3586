"""Goal: a killed process loses no acknowledged event and duplicates none.

Method: a writer and projectors in separate processes, killed without warning while they work.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lake.facts import landed_ids, landed_seqs, of_three_kinds, table_ids
from tracelake.lake import Lake
from tracelake.schemas.events.event import event_identity

ROOT = Path(__file__).parents[2]
WRITE = """
import sys
from tracelake.lake import Lake
from tests.lake.facts import of_three_kinds
with Lake.open(sys.argv[1]).writer("killed") as writer:
    for index in range(10_000):
        writer.append(of_three_kinds([index]))
        print(index, flush=True)
"""
PROJECT = """
import sys
from tracelake.lake import Lake
lake = Lake.open(sys.argv[1])
print("ready", flush=True)
while True:
    lake.project()
"""


def started(script: str, lake: Lake) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, lake.uri], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def read_and_kill(worker: subprocess.Popen[str], line_count: int) -> list[str]:
    """Lines that the worker printed before it was killed."""
    assert worker.stdout is not None
    lines = [worker.stdout.readline() for _ in range(line_count)]
    worker.kill()
    lines += worker.stdout.readlines()
    worker.wait()
    worker.stdout.close()
    return lines


@pytest.mark.parametrize("line_count", [1, 4, 17])
def test_acknowledged_events_of_a_killed_writer_land_and_a_retry_lands_the_rest_once(
    fresh_lake: Lake, line_count: int
) -> None:
    lines = read_and_kill(started(WRITE, fresh_lake), line_count)
    acknowledged = of_three_kinds(range(len([line for line in lines if line.endswith("\n")])))
    Lake.open(fresh_lake.uri)
    assert {event_identity(event).event_id for event in acknowledged} <= set(landed_ids(fresh_lake.store))
    for numbers in landed_seqs(fresh_lake.store).values():
        assert numbers == list(range(len(numbers)))
    assert fresh_lake.verify(deep=True).ok
    with fresh_lake.writer("retry") as writer:
        writer.append(of_three_kinds(range(line_count + 30)))
    fresh_lake.project()
    ids = [event_id for kind in fresh_lake.tables() for event_id in table_ids(fresh_lake, kind)]
    assert len(ids) == len(set(ids)) == len(set(landed_ids(fresh_lake.store)))
    assert fresh_lake.verify(deep=True).ok


def test_killed_projectors_lose_and_duplicate_no_row(fresh_lake: Lake) -> None:
    expected = 0
    for _ in range(3):
        workers = [started(PROJECT, fresh_lake) for _ in range(2)]
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
        with fresh_lake.writer("run") as writer:
            for _ in range(8):
                writer.append(of_three_kinds([expected]))
                expected += 1
        for worker in workers:
            read_and_kill(worker, 0)
    fresh_lake.project()
    for kind in ("turn_completed", "reward_assigned", "rollout_ended"):
        ids = table_ids(fresh_lake, kind)
        assert len(ids) == len(set(ids)) == expected
    assert fresh_lake.verify(deep=True).ok
