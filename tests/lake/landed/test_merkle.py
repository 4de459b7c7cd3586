"""Goal: proofs hold for what is so, and for nothing else.

Method: trees of every small size against the definition of RFC 6962 written down as it stands there, known
roots of its test vectors, and proofs with something changed.
"""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelake.lake.landed.merkle import (
    consistency_proof,
    includes,
    inclusion_proof,
    is_consistent,
    leaf_hash,
    node_hash,
    root,
)

LEAVES = st.lists(st.binary(max_size=4), max_size=40)
# The eight leaves of the test vectors that Certificate Transparency's implementations share.
VECTORS = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
)]  # fmt: skip


def defined(leaves: list[bytes]) -> bytes:
    """MTH of section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(defined(leaves[:split]), defined(leaves[split:]))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ],
)
def test_roots_are_those_of_the_shared_vectors(size: int, expected: str) -> None:
    assert root(VECTORS[:size]).hex() == expected


@given(LEAVES)
def test_the_root_is_as_the_rfc_defines_it(leaves: list[bytes]) -> None:
    assert root(leaves) == defined(leaves)


@given(LEAVES.filter(len), st.data())
def test_each_leaf_is_shown_to_be_where_it_is_and_nowhere_else(
    leaves: list[bytes], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof, whole = inclusion_proof(leaves, index), root(leaves)
    assert includes(leaves[index], index, len(leaves), proof, whole)
    assert not includes(leaves[index] + b"x", index, len(leaves), proof, whole)
    assert not includes(leaves[index], index, len(leaves), [*proof, whole], whole)
    assert not includes(leaves[index], len(leaves), len(leaves), proof, whole)
    if proof:
        assert not includes(leaves[index], index, len(leaves), proof[:-1], whole)
        assert not includes(leaves[index], index, len(leaves), [whole, *proof[1:]], whole)


@given(LEAVES, st.data())
def test_a_tree_is_shown_to_begin_with_every_smaller_one(leaves: list[bytes], data: st.DataObject) -> None:
    old_size = data.draw(st.integers(0, len(leaves)))
    old, new = root(leaves[:old_size]), root(leaves)
    proof = consistency_proof(leaves, old_size)
    assert is_consistent(old_size, old, len(leaves), new, proof)
    assert not is_consistent(old_size, leaf_hash(b"another"), len(leaves), new, proof)
    assert not is_consistent(old_size, old, len(leaves), new, [*proof, new])
    if old_size > 0:
        assert not is_consistent(old_size, old, len(leaves), leaf_hash(b"another"), proof)


@given(LEAVES.filter(len), st.data())
def test_a_tree_whose_past_was_changed_begins_with_no_older_one(
    leaves: list[bytes], data: st.DataObject
) -> None:
    old_size = data.draw(st.integers(1, len(leaves)))
    at = data.draw(st.integers(0, old_size - 1))
    forged = [*leaves[:at], leaves[at] + b"x", *leaves[at + 1 :]]
    old, new = root(leaves[:old_size]), root(forged)
    assert not is_consistent(old_size, old, len(forged), new, consistency_proof(forged, old_size))


def test_a_place_outside_of_the_tree_has_no_proof() -> None:
    for index in (-1, 8):
        with pytest.raises(IndexError):
            inclusion_proof(VECTORS, index)
    with pytest.raises(IndexError):
        consistency_proof(VECTORS, 9)
