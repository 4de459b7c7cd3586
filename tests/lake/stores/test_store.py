"""Goal: in every store, exactly one of any number of callers creates a file, whole, and it is listed."""

from __future__ import annotations

import copy
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.s3_servers import PAGE_KEYS
from tracelake.lake.stores.location import Location
from tracelake.lake.stores.store import ObjectStore, open_store
from tracelake.schemas.errors import BadInputError, LakeMissingError

PLACES = ("local", "memory", "s3")


@pytest.fixture(params=PLACES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        return open_store(f"s3://{request.getfixturevalue('bucket')}/team.a/env=x_1")
    return open_store(str(tmp_path / "root") if request.param == "local" else f"memory://{uuid.uuid4().hex}")


@pytest.mark.parametrize("round_", range(3))
def test_one_of_sixteen_racing_threads_wins_and_its_bytes_stay(store: ObjectStore, round_: int) -> None:
    ready = threading.Barrier(16)

    def put(number: int) -> bool:
        ready.wait()
        return store.put_new(f"deep/er/file-{round_}", bytes([number]) * 100_000)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(put, range(16)))
    assert won.count(True) == 1
    assert store.read(f"deep/er/file-{round_}") == bytes([won.index(True)]) * 100_000
    assert store.list("deep") == [f"deep/er/file-{round_}"]


def test_only_one_of_several_callers_with_equal_bytes_creates_the_file(store: ObjectStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: store.put_new("same", b"same"), range(8))).count(True) == 1


def test_an_existing_file_is_never_changed(store: ObjectStore) -> None:
    assert store.put_new("a", b"first")
    assert not store.put_new("a", b"second")
    assert not store.put_new("a", b"first")
    assert store.read("a") == b"first"


def test_a_large_file_is_created_whole_and_once(store: ObjectStore) -> None:
    large = bytes(range(256)) * 2**16
    assert store.put_new("large", large)
    assert not store.put_new("large", large[::-1])
    assert store.read("large") == large


def test_a_listing_is_sorted_recursive_and_filtered_by_suffix(store: ObjectStore) -> None:
    for path in ("x/b/2.parquet", "x/a/9.parquet", "x/a/10.parquet", "x/c.json", "xy/d.parquet"):
        store.put_new(path, b"")
    assert store.list("x", ".parquet") == ["x/a/10.parquet", "x/a/9.parquet", "x/b/2.parquet"]
    assert store.list("x") == ["x/a/10.parquet", "x/a/9.parquet", "x/b/2.parquet", "x/c.json"]
    assert store.list("nowhere") == []
    assert store.list("x/c.json") == []


def test_a_listing_has_more_than_one_page(store: ObjectStore) -> None:
    paths = [f"many/{number:04d}" for number in range(2 * PAGE_KEYS + 1)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda path: store.put_new(path, b""), paths))
    assert store.list("many") == paths


def test_long_and_odd_names_are_taken(store: ObjectStore) -> None:
    names = ("n" * 200, "a b#c%20é", "日本.parquet", "a+b&c=d", "~'x'")
    for name in names:
        assert store.put_new(f"f/{name}", name.encode())
        assert store.read(f"f/{name}") == name.encode()
        assert store.exists(f"f/{name}")
    assert store.list("f") == sorted(f"f/{name}" for name in names)


def test_a_missing_file_is_a_typed_error(store: ObjectStore) -> None:
    assert not store.exists("a")
    with pytest.raises(LakeMissingError, match="got a/b"):
        store.read("a/b")


def test_a_deleted_file_may_be_created_again(store: ObjectStore) -> None:
    store.delete("a")
    assert store.put_new("a", b"1")
    store.delete("a")
    assert not store.exists("a")
    assert store.put_new("a", b"2")


def test_an_address_opens_the_same_files_again(store: ObjectStore) -> None:
    store.put_new("a", b"1")
    again = open_store(store.uri)
    assert (again.uri, again.read("a"), again.list("")) == (store.uri, b"1", ["a"])


def test_spellings_of_one_address_open_the_same_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_store(f"file://{tmp_path}/x").uri == open_store(f"{tmp_path}/x").uri == str(tmp_path / "x")
    assert open_store("x").uri == str(tmp_path / "x")
    assert open_store("~/x").uri == str(tmp_path / "home" / "x")
    assert open_store("s3://bucket/x//y/").uri == "s3://bucket/x/y"
    assert open_store("s3://bucket").uri == "s3://bucket"
    for address in ("http://x", "ftp://x", "gs://bucket/x"):
        with pytest.raises(BadInputError, match="no store"):
            open_store(address)


def test_only_a_local_store_has_a_spool_folder(store: ObjectStore) -> None:
    assert (store.spool_folder is None) == ("://" in store.uri)


def test_a_location_shows_its_address_only() -> None:
    location = Location("s3://b/x", {"aws_endpoint": "http://h"})
    assert (location, repr(location), f"{location}") == ("s3://b/x", "'s3://b/x'", "s3://b/x")
    again = copy.deepcopy(location)
    assert (again, again.options) == (location, location.options)
