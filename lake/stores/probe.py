"""Tests whether a store has the conditional writes that a lake needs.

**A store that silently accepts a second create loses facts without an error.** Some stores do: they ignore a
header that they do not know. Others check first and write then, which only a race reveals.
"""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.errors import LakeMissingError, StoreUnavailableError, StoreUnsupportedError

SCRATCH = "probe"
RACERS = 16
CURE = "Use a store with conditional writes (If-None-Match), or a local folder."


def check_conditional_writes(store: ObjectStore) -> None:
    """Two creates in turn, then a race of sixteen, on scratch files that are deleted if the store allows it.

    Raises StoreUnsupportedError, StoreUnavailableError.
    """
    name = f"{SCRATCH}/{uuid.uuid4().hex}"
    in_turn, raced = f"{name}-in-turn", f"{name}-raced"
    try:
        _check_second_create(store, in_turn)
        _check_race(store, raced)
    finally:
        for path in (in_turn, raced):
            _delete_scratch(store, path)


def _check_second_create(store: ObjectStore, path: str) -> None:
    first, second = store.put_new(path, b"first"), store.put_new(path, b"second")
    if not first:
        raise StoreUnsupportedError(
            "the store denies a file that it has just created",
            got="the first create was refused",
            expected="a created file, with the metadata that was sent",
            cure=CURE,
        )
    found = _read(store, path)
    if second or found != b"first":
        raise StoreUnsupportedError(
            "the store ignores the condition of a create",
            got=f"second create {'accepted' if second else 'refused'}, the file is {found!r}",
            expected="a refusal, and the first file unchanged",
            cure=CURE,
        )


def _check_race(store: ObjectStore, path: str) -> None:
    ready = threading.Barrier(RACERS)

    def put(number: int) -> bool:
        ready.wait()
        return store.put_new(path, b"%d" % number)

    with ThreadPoolExecutor(RACERS) as pool:
        won = list(pool.map(put, range(RACERS)))
    winners = [number for number, is_winner in enumerate(won) if is_winner]
    found = _read(store, path)
    if len(winners) != 1 or found != b"%d" % winners[0]:
        raise StoreUnsupportedError(
            "the store accepts racing creates",
            got=f"{len(winners)} winners of {RACERS}, the file is {found!r}",
            expected="one winner, and its file",
            cure=CURE,
        )


def _read(store: ObjectStore, path: str) -> bytes:
    try:
        return store.read(path)
    except LakeMissingError:
        return b""


def _delete_scratch(store: ObjectStore, path: str) -> None:
    """A store may forbid deletes. Two scratch files do no harm."""
    try:
        store.delete(path)
    except (StoreUnavailableError, OSError):
        return
