"""Goal: the log of landed files only grows, and its root shows what each pin saw.

Method: roots of trees of every small size are compared with the definition of RFC 6962 and with its known
test vectors; logs are changed and files removed.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lake.facts import of_three_kinds, reward
from tracelake.lake import Lake
from tracelake.lake.landed.log import append_to_log, landed_log, leaf_hash, merkle_root, node_hash, tree_of
from tracelake.lake.layout import EVENTS, log_path


def write(lake: Lake, index: int) -> None:
    with lake.writer("run") as writer:
        writer.append(of_three_kinds([index]))


def create_pin(lake: Lake, index: int, name: str = "p"):
    write(lake, index)
    lake.project()
    return lake.pin(name, lake.tables())


def test_every_pin_saw_the_beginning_of_the_log(fresh_lake: Lake) -> None:
    pins = [create_pin(fresh_lake, index) for index in range(4)]
    log = landed_log(fresh_lake.store)
    assert sorted(log) == fresh_lake.store.list(EVENTS)
    assert [pin.landed for pin in pins] == [tree_of(log[: pin.landed.size]) for pin in pins]
    assert [pin.landed.size for pin in pins] == [3, 6, 9, 12]


def test_unchanged_files_are_not_logged_again(fresh_lake: Lake) -> None:
    write(fresh_lake, 0)
    tree = append_to_log(fresh_lake.store)
    assert append_to_log(fresh_lake.store) == tree == tree_of(landed_log(fresh_lake.store))
    assert fresh_lake.store.list("log") == [log_path(1)]


def test_racing_pins_log_every_file_once(fresh_lake: Lake) -> None:
    for index in range(3):
        write(fresh_lake, index)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: append_to_log(fresh_lake.store), range(8)))
    log = landed_log(fresh_lake.store)
    assert sorted(log) == sorted(set(log)) == fresh_lake.store.list(EVENTS)


def test_an_audit_names_a_missing_landed_file_and_its_dependents(fresh_lake: Lake) -> None:
    create_pin(fresh_lake, 0)
    with fresh_lake.writer("last") as writer:
        writer.append([reward(9)])
    fresh_lake.project()
    fresh_lake.pin("q", ["reward_assigned"])
    # The last file of its epoch: sequence numbers show no gap.
    lost = next(path for path in reversed(landed_log(fresh_lake.store)) if "reward_assigned" in path)
    Path(fresh_lake.store.location(lost)).unlink()
    problems = "\n".join(fresh_lake.verify().problems)
    expected = f"{lost} had landed and is missing (on which depend: tables reward_assigned; pins p@1, q@1)"
    assert expected in problems


def test_an_audit_detects_a_changed_log(fresh_lake: Lake) -> None:
    create_pin(fresh_lake, 0)
    assert fresh_lake.verify(deep=True).ok
    path = Path(fresh_lake.store.location(log_path(1)))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[1], lines[0], *lines[2:]]))
    assert "pin p@1: the log of landed files has changed since" in fresh_lake.verify().problems[0]
    path.write_text("".join(lines[:-1]))
    assert "2 lines with root" in fresh_lake.verify().problems[0]
    path.unlink()
    assert "0 lines with root" in fresh_lake.verify().problems[0]


LEAVES = st.lists(st.binary(max_size=4), max_size=40)
# The eight leaves of the test vectors that Certificate Transparency's implementations share.
VECTORS = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
)]  # fmt: skip


def defined_root(leaves: list[bytes]) -> bytes:
    """MTH of section 2.1 of the RFC, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(defined_root(leaves[:split]), defined_root(leaves[split:]))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ],
)
def test_roots_match_the_shared_vectors(size: int, expected: str) -> None:
    assert merkle_root(VECTORS[:size]).hex() == expected


@given(LEAVES)
def test_the_root_matches_the_definition_of_the_rfc(leaves: list[bytes]) -> None:
    assert merkle_root(leaves) == defined_root(leaves)
