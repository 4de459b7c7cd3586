"""Goal: a projector that skips finished epochs still sees every landed file behind its cursor.

Method: listings are compared with a walk over all files, while writers land, close, and files disappear.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.lake.facts import of_three_kinds, reward
from tests.lake.store_wrappers import CountingStore
from tracelake.lake import Lake
from tracelake.lake.landed.listing import (
    files_past,
    files_to_project,
    landed_files_of,
    landed_past,
    parsed_name,
    without_gaps,
)
from tracelake.lake.layout import EVENTS, kind_prefix
from tracelake.lake.stores.local_store import LocalStore

KINDS = ["turn_completed", "reward_assigned", "rollout_ended"]
KIND = "reward_assigned"


def assert_complete(lake: Lake, cursor: dict[str, int]) -> None:
    """Every kind's listing behind the cursor matches a walk over all files; also for other kinds of store."""
    for kind in KINDS:
        walked = lake.store.list(kind_prefix(kind))
        assert landed_files_of(lake.store, kind) == walked
        for store in (lake.store, CountingStore(LocalStore(Path(lake.uri)))):
            assert landed_past(store, kind, cursor) == files_past(walked, cursor)
            assert landed_past(store, kind, {}) == walked


def test_files_that_land_after_a_listing_are_in_the_next(fresh_lake: Lake) -> None:
    cursor: dict[str, int] = {}
    assert files_to_project(fresh_lake.store, None) == {}
    with fresh_lake.writer("one") as one, fresh_lake.writer("other") as other:
        for index in range(4):
            for writer in (one, other)[index % 2 :]:
                writer.append(of_three_kinds([index]))
                writer.flush()
                assert_complete(fresh_lake, cursor)
            names = [parsed_name(path) for path in fresh_lake.store.list(EVENTS)]
            cursor = {
                name.writer_epoch: name.first_seq for name in sorted(names, key=lambda it: it.first_seq)
            }
            assert_complete(fresh_lake, cursor)
    # Both epochs are closed now, and their folders need no listing once they were read to their end.
    for _ in range(2):
        assert_complete(fresh_lake, cursor)
    with fresh_lake.writer("third") as third:
        third.append(of_three_kinds([9]))
    assert_complete(fresh_lake, cursor)
    counting = CountingStore(LocalStore(Path(fresh_lake.uri)))
    listed = {kind: fresh_lake.store.list(kind_prefix(kind)) for kind in KINDS}
    assert files_to_project(counting, None) == listed
    assert files_to_project(fresh_lake.store, None) == dict.fromkeys(KINDS)


def test_removed_files_are_not_listed(fresh_lake: Lake) -> None:
    with fresh_lake.writer("one") as writer:
        writer.append(of_three_kinds(range(2)))
    assert_complete(fresh_lake, {})
    path = fresh_lake.store.list(kind_prefix(KINDS[0]))[0]
    Path(fresh_lake.store.location(path)).unlink()
    assert_complete(fresh_lake, {})
    shutil.rmtree(fresh_lake.store.location(kind_prefix(KINDS[1])))
    assert_complete(fresh_lake, {})
    counting = CountingStore(LocalStore(Path(fresh_lake.uri)))
    assert files_to_project(counting, [KINDS[1]]) == {KINDS[1]: []}


def test_a_foreign_file_outside_of_the_epochs_is_not_listed(fresh_lake: Lake) -> None:
    with fresh_lake.writer("one") as writer:
        writer.append([reward(0)])
    Path(fresh_lake.store.location(f"{kind_prefix(KIND)}/foreign.parquet")).write_bytes(b"")
    assert len(landed_files_of(fresh_lake.store, KIND)) == 1
    assert fresh_lake.project() == {KIND: 1}


def test_only_a_file_that_continues_its_epoch_is_taken_without_a_second_listing(fresh_lake: Lake) -> None:
    with fresh_lake.writer("run") as writer:
        for index in range(3):
            writer.append([reward(2 * index), reward(2 * index + 1)])
            writer.flush()
    for store in (CountingStore(LocalStore(Path(fresh_lake.uri))), fresh_lake.store):
        files = landed_files_of(store, KIND)
        epoch = parsed_name(files[0]).writer_epoch
        for listing, cursor, expected, listing_count in (
            (files[:1], {}, files[:1], 0),
            (files[1:2], {epoch: 1}, files[1:2], 0),
            (files[1:2], {}, files[:2], 1),
            (files[2:], {epoch: 1}, files[1:], 1),
            (files, {}, files, 1),
        ):
            before = store.listing_count if isinstance(store, CountingStore) else 0
            assert without_gaps(store, KIND, listing, cursor) == expected
            if isinstance(store, CountingStore):
                assert store.listing_count - before == listing_count
