"""Streams that are compressed with gzip, zstd, xz or bzip2, recognised by their first bytes.

**Bounded**: a stream that expands beyond measure raises while it is read (`expansion.py`).
**Typed**: damaged data raise SourceFormatError, whatever the library raises.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

import pyarrow as pa

from tracelake.producers.importers.content import CHUNK_BYTES
from tracelake.producers.importers.expansion import Expansion
from tracelake.schemas.errors import SourceFormatError

XZ_MEMORY_MAX = 256 * 2**20
# What damaged data make the libraries raise.
_ERRORS = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException, MemoryError)


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


def decompressed(head: bytes, file: BinaryIO) -> BinaryIO | None:
    """The decompressed stream of a file that begins with `head`; null if it is not compressed."""
    for magic, name, open_reader in _COMPRESSIONS:
        if head.startswith(magic):
            return io.BufferedReader(_Decompressed(file, name, open_reader), CHUNK_BYTES)
    return None


class _Decompressed(io.RawIOBase):
    def __init__(self, file: BinaryIO, name: str, open_reader: Callable[[BinaryIO], _Reader]) -> None:
        self._file = file
        self._name = name
        self._expansion = Expansion()
        try:
            self._reader = open_reader(file)
        except _ERRORS as error:
            raise self._damaged(error) from error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            data = self._reader.read(len(buffer))
        except SourceFormatError:
            raise
        except _ERRORS as error:
            raise self._damaged(error) from error
        self._expansion.add(len(data), self._file.tell())
        buffer[: len(data)] = data
        return len(data)

    def _damaged(self, error: Exception) -> SourceFormatError:
        return SourceFormatError(
            f"damaged {self._name} data",
            got=f"{type(error).__name__} after {self._file.tell()} bytes",
            expected="a whole compressed file",
            cure="Copy it again.",
        )


class _XzReader:
    """Like `lzma.LZMAFile`, with a bound on its memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decompressor: lzma.LZMADecompressor | None = None
        self._unused = b""

    def read(self, size: int, /) -> bytes:
        while True:
            if self._decompressor is None or self._decompressor.eof:
                unused = self._decompressor.unused_data if self._decompressor else b""
                # Streams may follow each other, with zeros between them.
                unused = unused.lstrip(b"\0") or self._file.read(CHUNK_BYTES).lstrip(b"\0")
                if not unused:
                    return b""
                self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_MAX)
                data = self._decompressor.decompress(unused, size)
            elif self._decompressor.needs_input:
                chunk = self._file.read(CHUNK_BYTES)
                if not chunk:
                    raise EOFError
                data = self._decompressor.decompress(chunk, size)
            else:
                data = self._decompressor.decompress(b"", size)
            if data:
                return data


def _zstd(file: BinaryIO) -> _Reader:
    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")


_COMPRESSIONS: tuple[tuple[bytes, str, Callable[[BinaryIO], _Reader]], ...] = (
    (b"\x1f\x8b", "gzip", lambda file: gzip.GzipFile(fileobj=file)),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    (b"\xfd7zXZ\x00", "xz", _XzReader),
    (b"BZh", "bzip2", bz2.BZ2File),
)
