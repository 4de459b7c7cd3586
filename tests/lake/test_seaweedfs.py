"""Goal: a server that dies during appends loses no acknowledged event.

Method: a lake on SeaweedFS, which is killed with SIGKILL and started again while a writer goes on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lake.facts import landed_ids, of_three_kinds, table_ids
from tests.s3_servers import environment
from tests.seaweedfs import BUCKET, SeaweedFS, weed
from tracelake.lake import Lake
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.errors import StoreUnavailableError
from tracelake.schemas.events.event import event_identity

pytestmark = [pytest.mark.slow, pytest.mark.skipif(weed() is None, reason="SeaweedFS is not installed")]
BATCHES = 40
KILL_AFTER = (10, 25)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeaweedFS]:
    server = SeaweedFS(tmp_path / "weed")
    for name, value in environment(server.endpoint).items():
        monkeypatch.setenv(name, value)
    try:
        yield server.start()
    finally:
        server.stop()


def append(lake: Lake, batches: range, acknowledged: list[str]) -> None:
    """Append batch by batch until all are acknowledged; a failed writer is replaced."""
    waiting = [of_three_kinds([batch]) for batch in batches]
    while waiting:
        with contextlib.suppress(StoreUnavailableError), lake.writer("run") as writer:
            while waiting:
                writer.append(waiting[0])
                acknowledged += [event_identity(event).event_id for event in waiting.pop(0)]


def test_acknowledged_events_survive_a_killed_server(server: SeaweedFS) -> None:
    lake = Lake.create(f"s3://{BUCKET}/lake")
    acknowledged: list[str] = []
    appending = threading.Thread(target=append, args=(lake, range(BATCHES), acknowledged))
    appending.start()
    for count in KILL_AFTER:
        while len(acknowledged) < 3 * count and appending.is_alive():
            time.sleep(0.01)
        server.kill()
        server.start()
    appending.join()
    assert len(acknowledged) == 3 * BATCHES
    assert set(acknowledged) <= set(landed_ids(lake.store))
    lake.project()
    found = [event_id for kind in lake.tables() for event_id in table_ids(lake, kind)]
    assert sorted(found) == sorted(acknowledged)
    assert _create_twice(lake.store) == [True, False]
    assert lake.verify(deep=True).ok


def _create_twice(store: ObjectStore) -> list[bool]:
    return [store.put_new("notes/a", b"same") for _ in range(2)]
