"""Goal: the local store alone: no incomplete file gets a name, and no temporary file is left or listed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tracelake.lake.stores.local_store import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "root")


def test_no_temporary_file_is_left_or_listed(store: LocalStore, tmp_path: Path) -> None:
    store.put_new("f/a.json", b"1")
    store.put_new("f/a.json", b"2")
    assert os.listdir(tmp_path / "root" / "f") == ["a.json"]
    (tmp_path / "root" / "f" / ".b.json.0123.tmp").write_bytes(b"half")
    (tmp_path / "root" / "f" / ".hidden.json").write_bytes(b"half")
    assert store.list("f") == ["f/a.json"]


def test_a_write_that_fails_leaves_no_name(store: LocalStore, tmp_path: Path) -> None:
    store.put_new("folder/a", b"")
    with pytest.raises(OSError, match="folder/a"):
        store.put_new("folder/a/b", b"the parent is a file")
    assert store.list("folder") == ["folder/a"]
    assert os.listdir(tmp_path / "root" / "folder") == ["a"]
