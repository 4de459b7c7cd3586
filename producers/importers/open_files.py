"""Opens the files of an import, in order: local ones directly, remote ones through a copy if they are large.

**Never hangs, never follows a link**: a local file is opened without waiting, and must be a regular file.
A file full of holes, which takes no room and has no end, is refused.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, NamedTuple, Protocol, cast

from tracelake.producers.importers.content import CHUNK_BYTES, WHOLE_BYTES_MAX, Content
from tracelake.producers.importers.find_files import FoundFile
from tracelake.schemas.errors import SourceFormatError

READ_AHEAD = 4
COPIED_BYTES_MAX = 16 * 2**30
"""Of one remote file, or one member of an archive, that is copied to the disk."""
HOLES_RATIO_MAX = 250
BLOCK_BYTES = 512
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class OpenedFile(NamedTuple):
    """A file with its content, or with the error of opening it."""

    file: FoundFile
    content: Content | None
    error: Exception | None = None


def open_files(files: Iterable[FoundFile]) -> Iterator[OpenedFile]:
    """In order; a thread reads the next few remote ones ahead."""
    reader: ThreadPoolExecutor | None = None
    ahead: deque[Future[OpenedFile]] = deque()
    try:
        for file in files:
            if file.is_local:
                yield from _results(ahead, left_count=0)
                yield _open(file)
                continue
            reader = reader or ThreadPoolExecutor(max_workers=1, thread_name_prefix="read")
            ahead.append(reader.submit(_open, file))
            yield from _results(ahead, left_count=READ_AHEAD)
        yield from _results(ahead, left_count=0)
    finally:
        if reader is not None:
            reader.shutdown(cancel_futures=True)


def _results(ahead: deque[Future[OpenedFile]], *, left_count: int) -> Iterator[OpenedFile]:
    while len(ahead) > left_count:
        yield ahead.popleft().result()


def _open(file: FoundFile) -> OpenedFile:
    try:
        content = open_local(file.path) if file.is_local else _open_remote(file)
        return OpenedFile(file, content)
    except (OSError, ValueError, MemoryError) as error:
        return OpenedFile(file, None, error)


def open_local(path: str) -> Content:
    """A regular file, never through a link. Raises OSError or SourceFormatError."""
    descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW)
    file = os.fdopen(descriptor, "rb", buffering=0)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise SourceFormatError("no regular file", got="a pipe, a socket, a device or a folder")
    if status.st_size <= WHOLE_BYTES_MAX:
        with file:
            return Content(file.read(status.st_size))
    if status.st_blocks * BLOCK_BYTES * HOLES_RATIO_MAX < status.st_size:
        file.close()
        raise SourceFormatError(
            "a file that is almost all holes",
            got=f"{status.st_size} bytes in {status.st_blocks * BLOCK_BYTES} on the disk",
            expected="a recorded trace",
            cure="Copy what was recorded to a file of its own.",
        )
    return Content(None, cast(BinaryIO, file), status.st_size)


def _open_remote(file: FoundFile) -> Content:
    with file.filesystem.open(file.path, "rb") as stream:
        return copied(stream)


def copied(stream: Readable) -> Content:
    """The rest of a stream that can be read once: in memory, or on the disk if it is large. Raises OSError or
    SourceFormatError."""
    data = _read_up_to(stream, WHOLE_BYTES_MAX + 1)
    if len(data) <= WHOLE_BYTES_MAX:
        return Content(data)
    # It has no name, and ends with the content that holds it.
    file = tempfile.TemporaryFile("w+b", prefix="tracelake-", buffering=0)  # noqa: SIM115
    byte_count = 0
    chunk = data
    while chunk:
        byte_count += len(chunk)
        if byte_count > COPIED_BYTES_MAX:
            file.close()
            raise SourceFormatError(
                "a file too large to copy",
                got=f"more than {COPIED_BYTES_MAX} bytes",
                expected=f"{COPIED_BYTES_MAX} at most",
                cure="Split it, or decompress it and import the local file.",
            )
        _write_all(file, chunk)
        chunk = stream.read(CHUNK_BYTES)
    return Content(None, cast(BinaryIO, file), byte_count)


def _read_up_to(stream: Readable, byte_count: int) -> bytes:
    parts: list[bytes] = []
    while byte_count > 0 and (part := stream.read(min(byte_count, CHUNK_BYTES))):
        parts.append(part)
        byte_count -= len(part)
    return b"".join(parts)


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
