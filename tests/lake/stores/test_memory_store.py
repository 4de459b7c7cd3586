"""Goal: the memory store alone: names have separate files, and nothing is left of them."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pyarrow as pa

from tracelake.lake.stores.memory_store import MemoryStore
from tracelake.lake.tables.commits import create_table


def test_two_names_have_separate_files() -> None:
    one, other = (MemoryStore(uuid.uuid4().hex) for _ in range(2))
    one.put_new("a", b"1")
    assert other.list("") == []


def test_tables_are_listed_with_the_files() -> None:
    store = MemoryStore(uuid.uuid4().hex)
    store.put_new("tables/notes.txt", b"")
    create_table(store.location("tables/t.lance"), pa.schema([("a", pa.int64())]))
    listed = store.list("tables")
    assert {path.split("/")[1] for path in listed} == {"notes.txt", "t.lance"}
    assert all(store.exists(path) and isinstance(store.read(path), bytes) for path in listed)


def test_the_folder_of_tables_is_removed_with_its_process() -> None:
    code = (
        "from tracelake.lake.stores.memory_store import MemoryStore\n"
        "print(MemoryStore('x').location('tables'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("/")
    assert not Path(done.stdout.strip()).parent.exists()
