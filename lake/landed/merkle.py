"""Merkle trees after RFC 6962, section 2: roots, inclusion proofs, consistency proofs.

A leaf's hash is SHA-256(0x00 ‖ leaf), a node's SHA-256(0x01 ‖ left ‖ right); the left subtree of n leaves has
the largest power of two below n. The empty tree's root is SHA-256 of nothing.

**An inclusion proof** shows that a leaf stands at its place below a root, **a consistency proof** that a
larger tree begins with all leaves of a smaller one. Whoever verifies needs the roots and no leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

Hash = bytes
Leaves = Sequence[bytes]


def leaf_hash(leaf: bytes) -> Hash:
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: Hash, right: Hash) -> Hash:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Leaves) -> Hash:
    return _root([leaf_hash(leaf) for leaf in leaves])


def inclusion_proof(leaves: Leaves, index: int) -> list[Hash]:
    """Siblings from the leaf upwards. Raises IndexError."""
    if not 0 <= index < len(leaves):
        raise IndexError(index)
    return _path([leaf_hash(leaf) for leaf in leaves], index)


def includes(leaf: bytes, index: int, size: int, proof: Sequence[Hash], root_hash: Hash) -> bool:
    """Whether the proof shows the leaf at the index of the tree of this size and root."""
    if not 0 <= index < size:
        return False
    found, node, last = leaf_hash(leaf), index, size - 1
    for sibling in proof:
        if last == 0:
            return False
        if node % 2 or node == last:
            found = node_hash(sibling, found)
            while node % 2 == 0 and node:
                node, last = node // 2, last // 2
        else:
            found = node_hash(found, sibling)
        node, last = node // 2, last // 2
    return last == 0 and found == root_hash


def consistency_proof(leaves: Leaves, old_size: int) -> list[Hash]:
    """That the tree of all leaves begins with the tree of the first `old_size`. Raises IndexError."""
    if not 0 <= old_size <= len(leaves):
        raise IndexError(old_size)
    if old_size in (0, len(leaves)):
        return []
    return _subproof([leaf_hash(leaf) for leaf in leaves], old_size, whole=True)


def is_consistent(old_size: int, old_root: Hash, size: int, root_hash: Hash, proof: Sequence[Hash]) -> bool:
    """Whether the proof shows that the tree of `size` begins with all leaves of the one of `old_size`."""
    if not 0 <= old_size <= size:
        return False
    if old_size == size:
        return not proof and old_root == root_hash
    if old_size == 0:
        return not proof and old_root == root([])
    # The old root itself begins the path if the old tree is a whole subtree of the new one.
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        return False
    node, last = old_size - 1, size - 1
    while node % 2:
        node, last = node // 2, last // 2
    old_found = new_found = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node % 2 or node == last:
            old_found, new_found = node_hash(sibling, old_found), node_hash(sibling, new_found)
            while node % 2 == 0 and node:
                node, last = node // 2, last // 2
        else:
            new_found = node_hash(new_found, sibling)
        node, last = node // 2, last // 2
    return last == 0 and old_found == old_root and new_found == root_hash


def _split(size: int) -> int:
    """The largest power of two below the size."""
    return 1 << ((size - 1).bit_length() - 1)


def _root(hashes: Sequence[Hash]) -> Hash:
    """From the leaves up: what has no sibling goes up as it is, which gives the tree of the RFC."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    level = list(hashes)
    while len(level) > 1:
        pairs = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def _path(hashes: Sequence[Hash], index: int) -> list[Hash]:
    if len(hashes) == 1:
        return []
    split = _split(len(hashes))
    if index < split:
        return [*_path(hashes[:split], index), _root(hashes[split:])]
    return [*_path(hashes[split:], index - split), _root(hashes[:split])]


def _subproof(hashes: Sequence[Hash], old_size: int, *, whole: bool) -> list[Hash]:
    if old_size == len(hashes):
        return [] if whole else [_root(hashes)]
    split = _split(len(hashes))
    if old_size <= split:
        return [*_subproof(hashes[:split], old_size, whole=whole), _root(hashes[split:])]
    return [*_subproof(hashes[split:], old_size - split, whole=False), _root(hashes[:split])]
