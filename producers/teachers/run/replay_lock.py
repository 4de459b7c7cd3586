"""One replay at a time per lake: two would buy the same answers, and spend one budget twice.

**A local lake uses a kernel lock**: it ends with its process, however that ends.
**A remote lake uses an object that only one process can create.** It outlives a killed process;
`--break-lock` removes it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import orjson

from tracelake.lake import Lake
from tracelake.lake.stores.store import ObjectStore, is_local
from tracelake.schemas.errors import LakeError, LakeMissingError, ReplayRunningError

LOCAL_NAME = "replay.lock"
OBJECT = "locks/replay.json"


@contextmanager
def replay_lock(lake: Lake, replay_id: str, *, breaks: bool = False) -> Iterator[None]:
    """Locked during the `with`; `breaks` removes the object of a dead process. Raises ReplayRunningError."""
    store = lake.store
    if is_local(store):
        with _file_lock(Path(store.uri) / LOCAL_NAME, replay_id):
            yield
    else:
        with _object_lock(store, replay_id, breaks=breaks):
            yield


@contextmanager
def _file_lock(path: Path, replay_id: str) -> Iterator[None]:
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _locked_by(file.read(), "Wait for it, or stop it.") from error
        file.truncate()
        file.write(_holder(replay_id))
        file.flush()
        yield


@contextmanager
def _object_lock(store: ObjectStore, replay_id: str, *, breaks: bool) -> Iterator[None]:
    if breaks:
        store.delete(OBJECT)
    mine = _holder(replay_id)
    if not store.put_new(OBJECT, mine):
        holder = b""
        with suppress(LakeMissingError):
            holder = store.read(OBJECT)
        raise _locked_by(holder, "Wait for it; if it is dead, run again with --break-lock.")
    try:
        yield
    finally:
        with suppress(LakeError):
            if store.read(OBJECT) == mine:
                store.delete(OBJECT)


def _holder(replay_id: str) -> bytes:
    who = {
        "replay": replay_id,
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "token": uuid.uuid4().hex,
    }
    return orjson.dumps(who)


def _locked_by(holder: bytes, cure: str) -> ReplayRunningError:
    return ReplayRunningError(
        "another replay works on this lake",
        got=holder.decode(errors="replace"),
        expected="one at a time",
        cure=cure,
    )
