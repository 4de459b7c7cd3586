"""The log of landed files: every one in the order in which pins met them, and the Merkle tree over it.

**Append-only**: each `log/NUMBER.txt` is created once and holds the paths that no earlier one holds, sorted,
one a line. A path says the kind, the writer's epoch, the first sequence number and the SHA-256 of the file's
bytes: a line fixes a file's contents. A line is a leaf of the tree.
**A pin's tree is the beginning of every later pin's tree**, so that what a pin saw can be neither taken away
nor changed unseen: roots differ, and a consistency proof between two pins fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from tracelake.lake.landed.merkle import root
from tracelake.lake.layout import EVENTS, LOG, log_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.pin import LandedTree


def landed_log(store: ObjectStore) -> list[str]:
    """Landed files in the order of the log; files of after the newest pin are not in it."""
    return [line for path in store.list(LOG, ".txt") for line in _lines(store, path)]


def log_landed(store: ObjectStore, shown: Sequence[str] | None = None) -> LandedTree:
    """Enter what has landed since, and give the tree."""
    entered = store.list(LOG, ".txt")
    known = [line for path in entered for line in _lines(store, path)]
    for number in count(len(entered) + 1):
        landed = store.list(EVENTS, ".parquet") if shown is None else shown
        fresh = sorted(set(landed) - set(known))
        if not fresh or store.put_new(log_path(number), "".join(f"{path}\n" for path in fresh).encode()):
            return tree_of([*known, *fresh])
        # Another pin was quicker: what it entered stands before what is left.
        known.extend(_lines(store, log_path(number)))
    raise AssertionError("a count without end has ended")


def tree_of(lines: Sequence[str]) -> LandedTree:
    return LandedTree(size=len(lines), root=root([line.encode() for line in lines]).hex())


def _lines(store: ObjectStore, path: str) -> list[str]:
    # A byte that is no text makes a line that no file has, which an audit names.
    return store.read(path).decode(errors="replace").splitlines()
