"""Goal: the log of landed files only grows, and what a pin saw can be proved for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lake.facts import of_three_kinds, reward
from tracelake.lake import Lake
from tracelake.lake.landed.log import landed_log, log_landed, tree_of
from tracelake.lake.landed.merkle import consistency_proof, includes, inclusion_proof, is_consistent
from tracelake.lake.layout import EVENTS, log_path


def write(lake: Lake, index: int) -> None:
    with lake.writer("run") as writer:
        writer.append(of_three_kinds([index]))


def pinned(lake: Lake, index: int, name: str = "p"):
    write(lake, index)
    lake.project()
    return lake.pin(name, lake.tables())


def test_a_pin_proves_which_files_it_saw_and_that_no_later_pin_forgot_one(fresh_lake: Lake) -> None:
    pins = [pinned(fresh_lake, index) for index in range(4)]
    leaves = [line.encode() for line in landed_log(fresh_lake.store)]
    assert sorted(line.decode() for line in leaves) == fresh_lake.store.list(EVENTS)
    for pin in pins:
        size, root = pin.landed.size, bytes.fromhex(pin.landed.root)
        for index in range(size):
            assert includes(leaves[index], index, size, inclusion_proof(leaves[:size], index), root)
    first, last = pins[0].landed, pins[-1].landed
    assert is_consistent(
        first.size,
        bytes.fromhex(first.root),
        last.size,
        bytes.fromhex(last.root),
        consistency_proof(leaves, first.size),
    )


def test_what_has_not_changed_is_not_entered_again(fresh_lake: Lake) -> None:
    write(fresh_lake, 0)
    tree = log_landed(fresh_lake.store)
    assert log_landed(fresh_lake.store) == tree == tree_of(landed_log(fresh_lake.store))
    assert fresh_lake.store.list("log") == [log_path(1)]


def test_pins_that_race_enter_every_file_once(fresh_lake: Lake) -> None:
    for index in range(3):
        write(fresh_lake, index)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: log_landed(fresh_lake.store), range(8)))
    log = landed_log(fresh_lake.store)
    assert sorted(log) == sorted(set(log)) == fresh_lake.store.list(EVENTS)


def test_an_audit_names_a_landed_file_that_was_taken_away_and_what_depends_on_it(fresh_lake: Lake) -> None:
    pinned(fresh_lake, 0)
    with fresh_lake.writer("last") as writer:
        writer.append([reward(9)])
    fresh_lake.project()
    fresh_lake.pin("q", ["reward_assigned"])
    # The last file of its epoch: no gap in the sequence numbers tells of it.
    lost = next(path for path in reversed(landed_log(fresh_lake.store)) if "reward_assigned" in path)
    Path(fresh_lake.store.location(lost)).unlink()
    told = "\n".join(fresh_lake.verify().problems)
    assert (
        f"{lost} had landed and is missing (on which depend: tables reward_assigned; pins p@1, q@1)" in told
    )


def test_an_audit_names_a_log_that_was_changed(fresh_lake: Lake) -> None:
    pinned(fresh_lake, 0)
    assert fresh_lake.verify(deep=True).ok
    path = Path(fresh_lake.store.location(log_path(1)))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[1], lines[0], *lines[2:]]))
    assert "pin p@1: the log of landed files is not the one of its time" in fresh_lake.verify().problems[0]
    path.write_text("".join(lines[:-1]))
    assert "2 lines with root" in fresh_lake.verify().problems[0]
    path.unlink()
    assert "0 lines with root" in fresh_lake.verify().problems[0]
