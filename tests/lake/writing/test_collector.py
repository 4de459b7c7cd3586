"""Goal: a trainer never waits for the lake, and every event dropped for that is counted.

Method: a queue that is too small, a store that fails, and several threads at once.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.lake.facts import landed_ids, reward
from tests.lake.store_wrappers import FullStore
from tracelake.lake import Lake
from tracelake.lake.stores.local_store import LocalStore
from tracelake.lake.writing.collector import Collector
from tracelake.lake.writing.writer import Writer
from tracelake.schemas.errors import LakeError


class SlowStore(FullStore):
    """Takes no file before `go` is set."""

    def __init__(self, inner: LocalStore) -> None:
        super().__init__(inner, takes=1000)
        self.go = threading.Event()

    def put_new(self, path: str, data: bytes | memoryview) -> bool:
        self.go.wait(20)
        return super().put_new(path, data)


def test_collected_events_are_durable_after_drain_and_after_close(fresh_lake: Lake) -> None:
    with fresh_lake.collector("trainer") as collector:
        assert collector.put(reward(index) for index in range(40))
        collector.drain()
        assert fresh_lake.project() == {"reward_assigned": 40}
        assert collector.put([reward(99)])
    assert len(landed_ids(fresh_lake.store)) == 41
    assert collector.lost_count == 0


def test_several_threads_may_put(fresh_lake: Lake) -> None:
    with fresh_lake.collector("trainer") as collector:
        threads = [
            threading.Thread(target=collector.put, args=([reward(start + n) for n in range(50)],))
            for start in range(0, 200, 50)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(landed_ids(fresh_lake.store)) == 200


def test_a_full_queue_drops_at_once_and_the_ledger_counts_the_losses(tmp_path: Path) -> None:
    local = LocalStore(tmp_path)
    slow = SlowStore(local)
    collector = Collector(Writer(slow, "trainer"), queued_max=5)
    taken = [collector.put([reward(index)]) for index in range(30)]
    assert not all(taken)
    lost = taken.count(False)
    assert collector.lost_count == lost
    slow.go.set()
    collector.close()
    assert len(landed_ids(local)) == 30 - lost
    [line] = Lake(local).ledger().lines
    assert (line.given, line.landed, line.lost) == (30, 30 - lost, lost)


def test_drain_and_close_raise_the_error_of_a_failing_store_and_put_never_blocks(tmp_path: Path) -> None:
    local = LocalStore(tmp_path)
    collector = Collector(Writer(FullStore(local, takes=0), "trainer"))
    collector.put([reward(0)])
    with pytest.raises(LakeError, match="1 lost; no space left"):
        collector.drain()
    assert not collector.put([reward(1)])
    with pytest.raises(LakeError, match="2 lost"):
        collector.close()
    collector.close()
    assert not collector.put([reward(2)])
    assert landed_ids(local) == []
