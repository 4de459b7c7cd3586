"""Goal: a large file contains the written bytes, whatever its length and whatever the file system allows.

Method: real files of lengths around blocks and pieces; descriptors that refuse to be written directly.
"""

from __future__ import annotations

import os
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tracelake.lake.stores.direct_write import BLOCK_BYTES, DIRECT_FROM_BYTES, PIECE_BYTES, write_large

LENGTHS = [
    0,
    1,
    DIRECT_FROM_BYTES - 1,
    DIRECT_FROM_BYTES,
    DIRECT_FROM_BYTES + 1,
    PIECE_BYTES + BLOCK_BYTES,
    3 * PIECE_BYTES - 1,
    3 * PIECE_BYTES + 5 * BLOCK_BYTES + 17,
]


def data_of(length: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(length)


def written(path: Path, data: bytes, already: bytes = b"") -> bytes:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.write(descriptor, already)
        write_large(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path.read_bytes()


@pytest.mark.parametrize("length", LENGTHS)
def test_a_file_of_any_length_contains_the_written_bytes(tmp_path: Path, length: int) -> None:
    data = data_of(length)
    assert written(tmp_path / "file", data) == data


def test_a_view_that_begins_anywhere_in_memory_is_written(tmp_path: Path) -> None:
    data = data_of(2 * PIECE_BYTES + 1)
    descriptor = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    write_large(descriptor, memoryview(data)[1:])
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == data[1:]


def test_a_refused_unaligned_write_is_done_normally(tmp_path: Path) -> None:
    data = data_of(2 * PIECE_BYTES)
    assert written(tmp_path / "file", data, already=b"x") == b"x" + data


def test_a_descriptor_without_direct_writes_is_written_normally() -> None:
    data = data_of(2 * PIECE_BYTES + 3)
    sender, receiver = socket.socketpair()
    with sender, receiver, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(write_large, sender.fileno(), data)
        found = bytearray()
        while len(found) < len(data):
            found += receiver.recv(2**20)
        sent.result()
    assert found == data


def test_threads_write_their_own_files(tmp_path: Path) -> None:
    def round_trip(number: int) -> bool:
        data = data_of(PIECE_BYTES + number * 1000, seed=number)
        return written(tmp_path / str(number), data) == data

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(round_trip, range(24)))


def test_a_disk_error_reaches_the_caller(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        write_large(descriptor, data_of(DIRECT_FROM_BYTES))
    os.close(descriptor)
