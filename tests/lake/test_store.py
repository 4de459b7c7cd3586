"""Goal: a file is created once, whole, by exactly one of any number of callers, and listed where it lies."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lake.store import LocalStore, open_store
from schemas.errors import BadInputError, LakeMissingError


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "root")


@pytest.mark.parametrize("round_", range(5))
def test_one_of_sixteen_racing_threads_wins_and_its_bytes_stand(store: LocalStore, round_: int) -> None:
    ready = threading.Barrier(16)

    def put(number: int) -> bool:
        ready.wait()
        return store.put_new(f"deep/er/file-{round_}", bytes([number]) * 100_000)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(put, range(16)))
    assert won.count(True) == 1
    assert store.read(f"deep/er/file-{round_}") == bytes([won.index(True)]) * 100_000
    assert store.list("deep") == [f"deep/er/file-{round_}"]


def test_what_is_there_is_not_changed(store: LocalStore) -> None:
    assert store.put_new("a", b"first")
    assert not store.put_new("a", b"second")
    assert store.read("a") == b"first"


def test_no_temporary_file_is_left_or_listed(store: LocalStore, tmp_path: Path) -> None:
    store.put_new("f/a.json", b"1")
    store.put_new("f/a.json", b"2")
    assert os.listdir(tmp_path / "root" / "f") == ["a.json"]
    (tmp_path / "root" / "f" / ".b.json.0123.tmp").write_bytes(b"half")
    (tmp_path / "root" / "f" / ".hidden.json").write_bytes(b"half")
    assert store.list("f") == ["f/a.json"]


def test_a_listing_is_sorted_goes_down_and_takes_a_suffix(store: LocalStore) -> None:
    for path in ("x/b/2.parquet", "x/a/9.parquet", "x/a/10.parquet", "x/c.json", "xy/d.parquet"):
        store.put_new(path, b"")
    assert store.list("x", ".parquet") == ["x/a/10.parquet", "x/a/9.parquet", "x/b/2.parquet"]
    assert store.list("x") == ["x/a/10.parquet", "x/a/9.parquet", "x/b/2.parquet", "x/c.json"]
    assert store.list("nowhere") == []
    assert store.list("x/c.json") == []


def test_long_and_odd_names_are_taken(store: LocalStore) -> None:
    for name in ("n" * 200, "a b#c%20é", "日本.parquet"):
        assert store.put_new(f"f/{name}", name.encode())
        assert store.read(f"f/{name}") == name.encode()
        assert store.exists(f"f/{name}")


def test_a_missing_file_is_a_typed_error(store: LocalStore) -> None:
    assert not store.exists("a")
    with pytest.raises(LakeMissingError, match="got a/b"):
        store.read("a/b")


def test_a_write_that_fails_leaves_no_name(store: LocalStore, tmp_path: Path) -> None:
    store.put_new("folder/a", b"")
    with pytest.raises(OSError, match="folder/a"):
        store.put_new("folder/a/b", b"the parent is a file")
    assert store.list("folder") == ["folder/a"]
    assert os.listdir(tmp_path / "root" / "folder") == ["a"]


def test_addresses_are_folders_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert open_store(f"file://{tmp_path}/x").uri == open_store(f"{tmp_path}/x").uri == str(tmp_path / "x")
    assert open_store("x").uri == str(tmp_path / "x")
    assert open_store("~/x").uri == str(tmp_path / "home" / "x")
    for address in ("s3://bucket/x", "http://x", "ftp://x"):
        with pytest.raises(BadInputError, match="no store"):
            open_store(address)
