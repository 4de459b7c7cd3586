"""Does a store honour the conditions that a lake rests on? Tried, not asked.

**A store that takes a second create in silence loses facts without an error.** Some do: they ignore the
header that they do not know. Others look first and write then, which only a race shows.
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
    """Two creates, then a race of sixteen, on scratch files that are deleted if the store lets us.

    Raises StoreUnsupportedError, StoreUnavailableError.
    """
    name = f"{SCRATCH}/{uuid.uuid4().hex}"
    in_turn, raced = f"{name}-in-turn", f"{name}-raced"
    try:
        _prove_in_turn(store, in_turn)
        _prove_raced(store, raced)
    finally:
        for path in (in_turn, raced):
            _tidy(store, path)


def _prove_in_turn(store: ObjectStore, path: str) -> None:
    first, second = store.put_new(path, b"first"), store.put_new(path, b"second")
    if not first:
        raise StoreUnsupportedError(
            "the store does not own up to a file that it has just created",
            got="a refusal of the first create",
            expected="its file, with the metadata that it was sent with",
            cure=CURE,
        )
    kept = _read(store, path)
    if second or kept != b"first":
        raise StoreUnsupportedError(
            "the store ignores the condition of a create",
            got=f"second create {'taken' if second else 'refused'}, {kept!r} kept",
            expected="a refusal, and the first file",
            cure=CURE,
        )


def _prove_raced(store: ObjectStore, path: str) -> None:
    ready = threading.Barrier(RACERS)

    def put(number: int) -> bool:
        ready.wait()
        return store.put_new(path, b"%d" % number)

    with ThreadPoolExecutor(RACERS) as pool:
        won = list(pool.map(put, range(RACERS)))
    winners = [number for number, is_winner in enumerate(won) if is_winner]
    kept = _read(store, path)
    if len(winners) != 1 or kept != b"%d" % winners[0]:
        raise StoreUnsupportedError(
            "the store lets racing creates pass",
            got=f"{len(winners)} winners of {RACERS}, {kept!r} kept",
            expected="one winner, and its file",
            cure=CURE,
        )


def _read(store: ObjectStore, path: str) -> bytes:
    try:
        return store.read(path)
    except LakeMissingError:
        return b""


def _tidy(store: ObjectStore, path: str) -> None:
    """A store may forbid deletes; two scratch files are no harm then."""
    try:
        store.delete(path)
    except (StoreUnavailableError, OSError):
        return
