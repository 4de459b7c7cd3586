"""Goal: a listing that reads only what changed shows what one that reads everything shows."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from tests.lake.facts import of_three_kinds, reward
from tests.lake.store_wrappers import CountingStore
from tracelake.lake import Lake
from tracelake.lake.landed.listing import without_gaps, landed_by_kind, parsed_name, landed_files_of
from tracelake.lake.layout import EVENTS, kind_prefix
from tracelake.lake.stores.local_store import LocalStore

KINDS = ["turn_completed", "reward_assigned", "rollout_ended"]


def settle(lake: Lake) -> None:
    """Folders look as if nothing had landed in them for long."""
    past = time.time() - 60
    for folder in Path(lake.store.location(EVENTS)).rglob("*"):
        if folder.is_dir():
            os.utime(folder, (past, past))


def same(lake: Lake) -> bool:
    whole = {kind: lake.store.list(kind_prefix(kind)) for kind in KINDS}
    return landed_by_kind(lake.store) == {kind: whole[kind] for kind in landed_by_kind(lake.store)} and all(
        landed_files_of(lake.store, kind) == whole[kind] for kind in KINDS
    )


def test_what_lands_after_a_listing_is_in_the_next(fresh_lake: Lake) -> None:
    assert landed_by_kind(fresh_lake.store) == {}
    with fresh_lake.writer("one") as one, fresh_lake.writer("other") as other:
        for index in range(4):
            for writer in (one, other)[index % 2 :]:
                writer.append(of_three_kinds([index]))
                writer.flush()
                assert same(fresh_lake)
            settle(fresh_lake)
            assert same(fresh_lake)
    assert sum(map(len, landed_by_kind(fresh_lake.store).values())) == len(fresh_lake.store.list(EVENTS))


def test_what_is_gone_is_not_shown(fresh_lake: Lake) -> None:
    with fresh_lake.writer("one") as writer:
        writer.append(of_three_kinds(range(2)))
    settle(fresh_lake)
    assert same(fresh_lake)
    path = fresh_lake.store.list(kind_prefix(KINDS[0]))[0]
    Path(fresh_lake.store.location(path)).unlink()
    assert same(fresh_lake)
    shutil.rmtree(fresh_lake.store.location(kind_prefix(KINDS[1])))
    assert same(fresh_lake)
    assert landed_by_kind(fresh_lake.store, [KINDS[1]]) == {KINDS[1]: []}


def test_only_a_file_before_which_nothing_can_be_missing_is_taken_without_a_second_listing(
    fresh_lake: Lake,
) -> None:
    with fresh_lake.writer("run") as writer:
        for index in range(3):
            writer.append([reward(2 * index), reward(2 * index + 1)])
            writer.flush()
    for store in (CountingStore(LocalStore(Path(fresh_lake.uri))), fresh_lake.store):
        files = landed_files_of(store, "reward_assigned")
        epoch = parsed_name(files[0]).writer_epoch
        for shown, cursor, ahead, listing_count in (
            (files[:1], {}, files[:1], 0),
            (files[1:2], {epoch: 1}, files[1:2], 0),
            (files[1:2], {}, files[:2], 1),
            (files[2:], {epoch: 1}, files[1:], 1),
            (files, {}, files, 1),
        ):
            before = store.listing_count if isinstance(store, CountingStore) else 0
            assert without_gaps(store, "reward_assigned", shown, cursor) == ahead
            if isinstance(store, CountingStore):
                assert store.listing_count - before == listing_count
