"""The log of landed files: all of them in the order in which pins first saw them, and its Merkle root.

**Append-only**: each `log/NUMBER.txt` is created once and lists the paths that no earlier file lists, sorted,
one per line. A path contains kind, epoch, first sequence number and the SHA-256 of the file: a line fixes a
file's contents.
**Every pin's lines are the beginning of every later pin's lines.** A pin stores the count and the root of its
lines, so a landed file that it saw can neither disappear nor change unnoticed.
**The tree follows RFC 6962, section 2**: a line is a leaf with the hash SHA-256(0x00 ‖ leaf), a node has
SHA-256(0x01 ‖ left ‖ right), and the left subtree of n leaves has the largest power of two below n. The empty
tree's root is the SHA-256 of nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import count

from tracelake.lake.layout import EVENTS, LOG, log_path
from tracelake.lake.stores.store import ObjectStore
from tracelake.schemas.pin import LandedTree


def landed_log(store: ObjectStore) -> list[str]:
    """Landed files in the order of the log, without those that landed after the newest pin."""
    return [line for path in store.list(LOG, ".txt") for line in _lines(store, path)]


def append_to_log(store: ObjectStore) -> LandedTree:
    """Append the files that have landed since, and return the tree over all lines."""
    log_files = store.list(LOG, ".txt")
    known = [line for path in log_files for line in _lines(store, path)]
    for number in count(len(log_files) + 1):
        new = sorted(set(store.list(EVENTS, ".parquet")) - set(known))
        if not new or store.put_new(log_path(number), "".join(f"{path}\n" for path in new).encode()):
            return tree_of([*known, *new])
        # Another pin created this log file first: its lines come before ours.
        known.extend(_lines(store, log_path(number)))
    raise AssertionError("unreachable")


def tree_of(lines: Sequence[str]) -> LandedTree:
    return LandedTree(size=len(lines), root=merkle_root([line.encode() for line in lines]).hex())


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Built from the leaves up: a node without a sibling moves up unchanged, which gives the RFC's tree."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = [leaf_hash(leaf) for leaf in leaves]
    while len(level) > 1:
        parents = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = parents + level[len(parents) * 2 :]
    return level[0]


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _lines(store: ObjectStore, path: str) -> list[str]:
    # Undecodable bytes become a line that names no file, which an audit reports.
    return store.read(path).decode(errors="replace").splitlines()
