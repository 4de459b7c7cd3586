"""The bytes of one source: in memory if they are few, else in an open file that is read piece by piece.

**A file is read as long as it was when it was opened**: a recording that grows meanwhile is a shorter one.
**Readers do not disturb each other**: each has its own position in the one open file.
"""

from __future__ import annotations

import hashlib
import io
import os
from typing import BinaryIO

WHOLE_BYTES_MAX = 32 * 2**20
"""A larger source stays in its file."""
CHUNK_BYTES = 2**20


class Content:
    """Bytes that can be read from the start any number of times."""

    def __init__(self, data: bytes | None, file: BinaryIO | None = None, size_bytes: int = 0) -> None:
        """`data`, or the first `size_bytes` of an open file."""
        self.data = data
        """Null for a source that stays in its file."""
        self.size_bytes = size_bytes if data is None else len(data)
        self.position = 0
        """How far the latest reader of a file is."""
        self._file = file

    def open(self) -> BinaryIO:
        if self.data is not None:
            return io.BytesIO(self.data)
        assert self._file is not None, "content is in memory or in a file"
        return io.BufferedReader(_FileReader(self, self._file), CHUNK_BYTES)

    def read(self) -> bytes:
        """All bytes; the caller has compared `size_bytes` with a bound."""
        return self.data if self.data is not None else self.open().read()

    def head(self, byte_count: int) -> bytes:
        return self.data[:byte_count] if self.data is not None else self.open().read(byte_count)

    def sha256(self) -> str:
        if self.data is not None:
            return hashlib.sha256(self.data).hexdigest()
        digest = hashlib.sha256()
        with self.open() as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()


class _FileReader(io.RawIOBase):
    """Reads a part of a file without moving the position of the file itself."""

    def __init__(self, content: Content, file: BinaryIO) -> None:
        self._content = content
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._content.size_bytes}[whence]
        if start + offset < 0:
            raise ValueError("a position before the start")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        left = min(len(buffer), self._content.size_bytes - self._position)
        if left <= 0:
            return 0
        data = os.pread(self._file.fileno(), left, self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        self._content.position = self._position
        return len(data)
